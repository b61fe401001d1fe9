"""Multiple choice by likelihood: every option of a question is a branch of its picture's tree, and the likeliest is the answer.

An option's score is the log-probability of its tokens and the end token after the question's prompt. ``TOTAL`` is their sum,
what a model that may say nothing but one of the options would weigh, and the default; ``MEAN`` divides it by the number of
tokens, so that a long name is not the less likely for its length. lm-evaluation-harness calls the two acc and acc_norm (there
by characters).

Axes: P supervised tokens.
"""

import dataclasses
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from adapt.data.packing import collate
from adapt.data.template import encode_prompt, encode_turns, get_template
from adapt.errors import DataError
from adapt.evaluate.choosing import check_finite
from adapt.evaluate.prompts import Prompts, encode_tree, group
from adapt.evaluate.question import Question
from adapt.model.language import rope_threshold
from adapt.records import ChatRecord, Turn

if TYPE_CHECKING:
    from adapt.evaluate.answer import Answerer

TOTAL: Literal["total"] = "total"
MEAN: Literal["mean"] = "mean"
_TOKENS = {"cpu": 1024, "cuda": 4096}  # of a pack behind its prefix


@dataclasses.dataclass(frozen=True)
class Choice:
    """A question and the texts that may be its answer. Raises DataError for fewer than two, or one twice."""

    question: Question
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.options)) < len(self.options) or len(self.options) < 2:
            raise DataError(f"{self.question.key}: options {list(self.options)}; expected two or more different ones")

    @classmethod
    def of(cls, record: ChatRecord, root: Path, where: str = "") -> "Choice":
        """The last question of a record with ``meta.candidates``, as its truth spells them: by name, or by letter.

        Raises DataError where there are none, and where the truth is none of them.
        """
        names = record.meta.get("candidates")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(
                f"{record.id}: no list of names in meta.candidates, which evaluate.scoring=likelihood chooses from; "
                "leave the setting out for this benchmark"
            )
        truth, letters = record.turns[-1].value.strip(), tuple(string.ascii_uppercase[: len(names)])
        spelled = tuple(names)
        if truth not in spelled and len(letters) == len(names):
            # The letter may bring its name: "B. River".
            forms = [
                letters,
                *(tuple(f"{a}{mark}{b}" for a, b in zip(letters, names, strict=True)) for mark in (". ", ": ", ") ")),
            ]
            spelled = next((form for form in forms if truth in form), spelled)
        if truth not in spelled:
            raise DataError(f"{record.id}: the answer {truth!r} is none of meta.candidates, nor a letter for one: {names}")
        return cls(Question.of(record, root, where), spelled)


def choose_options(
    answerer: "Answerer", choices: Sequence[Choice], *, normalise: Literal["total", "mean"] = TOTAL
) -> Iterator[tuple[str, str, tuple[float, ...]]]:
    """Yield (key, chosen option, log-probabilities of its options in order), picture by picture.

    The log-probabilities are the sums, whatever ``normalise`` chooses by; the first of equals is chosen. Raises DataError
    where the model gives no numbers.
    """
    by_key = {choice.question.key: choice for choice in choices}
    endings = {key: _endings(answerer, choice) for key, choice in by_key.items()}
    missing = {key: len(choice.options) for key, choice in by_key.items()}
    scores = {key: [0.0] * len(choice.options) for key, choice in by_key.items()}
    parts = _parts(answerer, [choice.question for choice in choices], endings)
    for pack in _packs(parts, most_tokens(answerer)):
        for (key, option), score in _score(answerer, pack):
            scores[key][option] = score
            missing[key] -= 1
            if not missing[key]:
                lengths = [len(ids) for ids in endings[key]]
                weighed = [s / (n if normalise == MEAN else 1) for s, n in zip(scores[key], lengths, strict=True)]
                yield key, by_key[key].options[weighed.index(max(weighed))], tuple(scores[key])


def _endings(answerer: "Answerer", choice: Choice) -> list[tuple[int, ...]]:
    """The tokens of each option with the end token, as they are supervised in training."""
    template, turns = get_template(answerer.model.config.template), choice.question.turns
    start = len(encode_prompt(turns, template, answerer.tokenizer).input_ids)
    found = []
    for option in choice.options:
        encoded = encode_turns([*turns, Turn("gpt", option)], template, answerer.tokenizer)
        found.append(tuple(token for token, label in zip(encoded.input_ids, encoded.labels, strict=True) if label >= 0))
        assert encoded.input_ids[start : start + len(found[-1])] == list(found[-1])
    return found


@dataclasses.dataclass(frozen=True)
class _Part:
    """Options of the questions of a tree that are computed with its prefix: (key, number) and their tokens each."""

    prompts: Prompts
    beyond: bool
    options: tuple[tuple[str, int], ...]
    branches: tuple[tuple[int, ...], ...]
    scored: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        return self.prompts.num_prefix + sum(map(len, self.branches))


def _parts(
    answerer: "Answerer", questions: Sequence[Question], endings: Mapping[str, Sequence[tuple[int, ...]]]
) -> list[_Part]:
    """All options by tree, and by whether they reach beyond the first RoPE factors; no part of more than a pack."""
    threshold = rope_threshold(answerer.model.config.language)
    parts = []
    for shared in group(answerer, questions, 0):
        prompts = _asked_alone(shared) if len(shared.keys) == 1 else shared
        members: dict[bool, list[tuple[tuple[str, int], tuple[int, ...], int]]] = {False: [], True: []}
        for key, prompt in zip(prompts.keys, prompts.branches, strict=True):
            for number, ending in enumerate(endings[key]):
                branch = (*prompt, *ending)
                beyond = threshold is not None and prompts.num_prefix + len(branch) > threshold
                members[beyond].append(((key, number), branch, len(ending)))
        for beyond, those in members.items():
            for some in _chunks(those, most_tokens(answerer)):
                options, branches, scored = zip(*some, strict=True)
                parts.append(_Part(prompts, beyond, options, branches, scored))
    return parts


def most_tokens(answerer: "Answerer") -> int:
    """Tokens computed together, behind a prefix."""
    return _TOKENS.get(next(answerer.model.parameters()).device.type, _TOKENS["cuda"])


def _asked_alone(prompts: Prompts) -> Prompts:
    """The same tree where the whole prompt but its last token is prefix: its options then share all of it."""
    (branch,) = prompts.branches
    prefix, num_prefix = prompts.prefix + branch[:-1], prompts.num_prefix + len(branch) - 1
    return dataclasses.replace(prompts, prefix=prefix, num_prefix=num_prefix, branches=(branch[-1:],))


def _chunks(members: Sequence[Any], most: int) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    tokens = 0
    for member in members:
        tokens += len(member[1])
        if chunk and tokens > most:
            yield chunk
            chunk, tokens = [], len(member[1])
        chunk.append(member)
    if chunk:
        yield chunk


def _packs(parts: Sequence[_Part], most: int) -> Iterator[list[_Part]]:
    """Parts computed together: of one side, and of so many tokens, unless one alone has more."""
    pack: list[_Part] = []
    for part in sorted(parts, key=lambda part: part.beyond):
        tokens = sum(each.num_tokens for each in pack) + part.num_tokens
        if pack and (tokens > most or part.beyond != pack[0].beyond):
            yield pack
            pack = []
        pack.append(part)
    if pack:
        yield pack


@torch.inference_mode()
def _score(answerer: "Answerer", pack: Sequence[_Part]) -> list[tuple[tuple[str, int], float]]:
    """((key, number), log-probability) of every option of a pack."""
    model = answerer.model
    trees = [encode_tree(part.prompts, model.config, part.branches, part.scored) for part in pack]
    batch = collate(trees, model.config.image_token_id).to(next(model.parameters()).device)
    losses_P = model(batch)
    check_finite(losses_P, losses_P.dtype)
    before = np.cumsum([0, *(len(part.branches) for part in pack)])
    tree_P = batch.tree_RL.flatten()[batch.target_positions_P]
    branch_P = batch.branch_RL.flatten()[batch.target_positions_P]
    option_P = torch.from_numpy(before).to(tree_P.device)[tree_P.long()] + branch_P
    sums = torch.zeros(int(before[-1]), dtype=torch.float64, device=losses_P.device)
    sums.index_add_(0, option_P, -losses_P.double())
    return list(zip([option for part in pack for option in part.options], sums.tolist(), strict=True))
