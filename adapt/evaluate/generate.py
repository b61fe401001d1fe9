"""Answers: one prefill for each picture, then all its questions decoded together.

The prompt of a picture's questions is a message tree, as in training. The keys and values of the picture are computed and
kept once, not once for each question; at each step every branch adds one token, which sees the prefix, its own prompt and
its own answer. transformers' DynamicCache appends by concatenation, so each step copies the cache of its batch; a batch is
bounded by what the cache holds at the end.

Axes: R rows (trees), L tokens of the longest tree, B branches of the widest tree, K keys so far, P answering branches,
V vocabulary, T tokens of an answer.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from adapt import randomness, safe
from adapt.data.packing import Batch, EncodedTree, collate
from adapt.data.template import decode_answer, encode_prompt, get_template
from adapt.data.tiling import count_tiles, tile, tile_budget
from adapt.data.video import FRAME_TILES, frames_text
from adapt.errors import DataError, UsageError
from adapt.evaluate.sampling import GREEDY, Sampling
from adapt.model.config import ModelConfig
from adapt.model.language import rope_threshold
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn

if TYPE_CHECKING:
    from adapt.evaluate.answer import Answerer

# Trees decoded together: as many as keep the tiles, and the keys of prompts and answers (padding counted), within these.
BATCH_TOKENS = 16384
BATCH_TILES = 64
MAX_BRANCHES = 64
_DRAWN_TOGETHER = 32  # answers whose shares of the whole vocabulary are held at once


@dataclasses.dataclass(frozen=True)
class Question:
    """What to answer: a key, pictures (paths) and the turns up to the last human one.

    ``max_tiles`` is the largest grid of any picture, 0 for the model's own bound. Raises DataError where the turns have
    another number of places for pictures than there are pictures.
    """

    key: str
    pictures: tuple[Path, ...]
    turns: tuple[Turn, ...]
    max_tiles: int = 0

    def __post_init__(self) -> None:
        places = sum(turn.value.count(IMAGE_PLACEHOLDER) for turn in self.turns if turn.role == "human")
        if places != len(self.pictures):
            raise DataError(
                f"{self.key}: {places} {IMAGE_PLACEHOLDER} placeholder(s) for {len(self.pictures)} picture(s); expected as many"
            )

    @classmethod
    def of(cls, record: ChatRecord, root: Path) -> "Question":
        """The last question of a record; earlier turns stay as they are."""
        paths = tuple(safe.inside(root, name, record.id) for name in record.images)
        return cls(record.id, paths, record.turns[:-1], record.max_tiles)

    @classmethod
    def ask(cls, key: str, pictures: tuple[Path, ...], text: str) -> "Question":
        """One question in words; pictures without a place in it stand in front. Raises UsageError for a place too many."""
        places = text.count(IMAGE_PLACEHOLDER)
        if places > len(pictures):
            raise UsageError(
                f"the question has {places} {IMAGE_PLACEHOLDER} place(s) for {len(pictures)} picture(s); "
                "give a picture for each, or leave the word out"
            )
        return cls(key, pictures, (Turn("human", f"{IMAGE_PLACEHOLDER}\n" * (len(pictures) - places) + text),))

    @classmethod
    def watch(cls, key: str, frames: tuple[Path, ...], text: str) -> "Question":
        """One question about a video: its frames in front, a tile each. Raises UsageError for a place for a picture."""
        if IMAGE_PLACEHOLDER in text:
            raise UsageError(
                f"a question about a video has no {IMAGE_PLACEHOLDER} place: its frames stand in front; leave it out"
            )
        if not frames:
            raise UsageError("a video of no frames; give at least one")
        return cls(key, frames, (Turn("human", frames_text(len(frames)) + text),), FRAME_TILES)


@dataclasses.dataclass(frozen=True)
class _Prompts:
    """Questions of one tree: the same pictures, cut alike, and the same ids up to the last picture.

    ``own_tiles`` is the questions' bound on a picture's grid (0: none), ``num_tiles`` what the pictures take together,
    ``num_tokens`` the whole prompt with their tokens; ``side`` see _side.
    """

    pictures: tuple[Path, ...]
    own_tiles: int
    prefix: tuple[int, ...]
    keys: tuple[str, ...]
    branches: tuple[tuple[int, ...], ...]
    num_tiles: int
    num_tokens: int
    side: int


def answer_questions(
    answerer: "Answerer", questions: Sequence[Question], *, max_new_tokens: int, sampling: Sampling = GREEDY
) -> Iterator[tuple[str, str]]:
    """Yield (key, answer) of every question, picture by picture, in the order that decodes fastest.

    An answer ends at the template's end token or after ``max_new_tokens``; surrounding blanks are stripped. A Question's
    pictures are opened here: DataError names the file that cannot be. UsageError for ``max_new_tokens`` below 1.
    """
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens is {max_new_tokens}; expected 1 or more")
    for batch in _batches(_group(answerer, questions, max_new_tokens), max_new_tokens):
        yield from _decode(answerer, batch, max_new_tokens, sampling)


def _batches(trees: Sequence[_Prompts], max_new_tokens: int) -> Iterator[list[_Prompts]]:
    """Trees decoded together, of like width and then of like length, since a batch is as wide and long as its largest."""
    batch: list[_Prompts] = []
    for tree in sorted(trees, key=lambda tree: (tree.side, len(tree.branches), tree.num_tokens)):
        if batch and (batch[0].side != tree.side or not _fits([*batch, tree], max_new_tokens)):
            yield batch
            batch = []
        batch.append(tree)
    if batch:
        yield batch


def _fits(batch: Sequence[_Prompts], max_new_tokens: int) -> bool:
    """Whether the tiles and the keys at the last step stay within bounds: each step appends one key a branch to each row."""
    longest = max(tree.num_tokens for tree in batch)
    widest = max(len(tree.branches) for tree in batch)
    num_keys = len(batch) * (longest + widest * max_new_tokens)
    return num_keys <= BATCH_TOKENS and sum(tree.num_tiles for tree in batch) <= BATCH_TILES


def _group(answerer: "Answerer", questions: Sequence[Question], max_new_tokens: int) -> list[_Prompts]:
    config = answerer.model.config
    template, threshold = get_template(config.template), rope_threshold(config.language)
    cuts = dict.fromkeys((each.pictures, each.max_tiles) for each in questions)
    tiles_of = {(pictures, own): _count_tiles(pictures, own, config) for pictures, own in cuts}
    groups: dict[tuple[Any, ...], list[tuple[str, tuple[int, ...]]]] = {}
    for question in questions:
        encoded = encode_prompt(question.turns, template, answerer.tokenizer)
        prefix, branch = tuple(encoded.input_ids[: encoded.prefix_length]), tuple(encoded.input_ids[encoded.prefix_length :])
        cut = (question.pictures, question.max_tiles)
        num_prefix = len(prefix) + tiles_of[cut] * config.tokens_per_tile - len(question.pictures)
        side = _side(num_prefix + len(branch), max_new_tokens, threshold)
        own = () if question.pictures else (question.key,)
        groups.setdefault((cut, prefix, num_prefix, side, own), []).append((question.key, branch))
    trees = []
    for (cut, prefix, num_prefix, side, _), members in groups.items():
        for start in range(0, len(members), MAX_BRANCHES):
            keys, branches = zip(*members[start : start + MAX_BRANCHES], strict=True)
            num_tokens = num_prefix + sum(map(len, branches))
            pictures, own_tiles = cut
            trees.append(_Prompts(pictures, own_tiles, prefix, keys, branches, tiles_of[cut], num_tokens, side))
    return trees


def _side(num_tokens: int, max_new_tokens: int, threshold: int | None) -> int:
    """Which questions may be computed together: those of one side (see adapt.model.language.rope_threshold).

    0 stays within the threshold to its last token, threshold + 1 starts beyond it; what crosses it goes with questions of
    its own length, which cross it at the same step.
    """
    if threshold is None or num_tokens + max_new_tokens <= threshold:
        return 0
    return min(num_tokens, threshold + 1)


def _count_tiles(pictures: tuple[Path, ...], own: int, config: ModelConfig) -> int:
    """Tiles of all pictures of one question, from their headers."""
    budget = tile_budget(config.max_tiles, len(pictures), own)
    return sum(count_tiles(*safe.picture_size(path), budget, config.tile_px) for path in pictures)


def _encode(answerer: "Answerer", prompts: _Prompts) -> EncodedTree:
    config = answerer.model.config
    budget = tile_budget(config.max_tiles, len(prompts.pictures), prompts.own_tiles)
    tiles = [tile(safe.read_picture(path), budget, config.tile_px) for path in prompts.pictures]
    prefix = np.asarray(prompts.prefix, np.int64)
    times = np.ones(len(prefix), np.int64)
    times[prefix == config.image_token_id] = [len(each) * config.tokens_per_tile for each in tiles]
    branches = tuple(np.asarray(branch, np.int64) for branch in prompts.branches)
    return EncodedTree(
        prefix_ids=np.repeat(prefix, times),
        prefix_weights=np.zeros(int(times.sum())),
        branches=branches,
        branch_weights=tuple(np.zeros(len(branch)) for branch in branches),
        tiles=np.concatenate(tiles) if tiles else np.zeros((0, config.tile_px, config.tile_px, 3), np.uint8),
        keep=None,
        sources=(0,) * len(branches),
    )


@torch.inference_mode()
def _decode(
    answerer: "Answerer", waiting: Sequence[_Prompts], max_new_tokens: int, sampling: Sampling
) -> Iterator[tuple[str, str]]:
    """Prefill the trees, one a row, and decode all their branches to the end."""
    from transformers import DynamicCache

    model, tokenizer = answerer.model, answerer.tokenizer
    device = next(model.parameters()).device
    trees = [_encode(answerer, prompts) for prompts in waiting]
    batch = _stack([collate([tree], model.config.image_token_id) for tree in trees]).to(device)
    cache = DynamicCache(config=model.language.config)
    hidden_RLD = model.hidden(batch, cache)
    num_rows, length = batch.input_ids_RL.shape
    widest = max(len(tree.branches) for tree in trees)
    alive_RB, last_RB, position_RB = _starts(trees, widest)
    flat_P = (torch.arange(num_rows)[:, None] * length + last_RB).flatten().to(device)
    choose = _Chooser(sampling, [prompts.keys for prompts in waiting], widest, max_new_tokens)
    token_RB = choose(model.logits_at(hidden_RLD, flat_P).view(num_rows, widest, -1), alive_RB.to(device))
    prompt_mask_RBK = _sees_prompt(batch.tree_RL, batch.branch_RL, widest)
    own_BB = torch.eye(widest, dtype=torch.bool, device=device).expand(num_rows, widest, widest)
    template = get_template(model.config.template)
    end = tokenizer.convert_tokens_to_ids(template.end)
    ends_E = torch.tensor(sorted({end, end if tokenizer.eos_token_id is None else tokenizer.eos_token_id}), device=device)
    alive_RB, position_RB = alive_RB.to(device), position_RB.to(device)
    produced: list[Tensor] = []
    mask_RBK = prompt_mask_RBK
    for _ in range(max_new_tokens):
        token_RB = token_RB.masked_fill(~alive_RB, end)
        produced.append(token_RB)
        alive_RB = alive_RB & ~torch.isin(token_RB, ends_E)
        if not alive_RB.any() or len(produced) == max_new_tokens:
            break
        mask_RBK = torch.cat([mask_RBK, own_BB], dim=2)
        output = model.language.model(
            input_ids=token_RB,
            position_ids=position_RB,
            attention_mask=mask_RBK[:, None],
            past_key_values=cache,
            use_cache=True,
        )
        token_RB = choose(model.language.lm_head(output.last_hidden_state), alive_RB)
        position_RB = position_RB + 1
    answers_RBT = torch.stack(produced, dim=2).cpu()
    for row, prompts in enumerate(waiting):
        for branch, key in enumerate(prompts.keys):
            yield key, decode_answer(answers_RBT[row, branch].tolist(), template, tokenizer).strip()


class _Chooser:
    """The next token of every branch: the likeliest, or a drawn one."""

    def __init__(self, sampling: Sampling, keys: Sequence[tuple[str, ...]], widest: int, max_new_tokens: int) -> None:
        from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        self._step = 0
        self._warpers: list[Any] = []
        if sampling.temperature == 0:
            return
        self._warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.top_k:
            self._warpers.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            self._warpers.append(TopPLogitsWarper(sampling.top_p))
        self._drawn_RBT = torch.zeros(len(keys), widest, max_new_tokens, dtype=torch.float64)
        for row, each in enumerate(keys):
            for branch, key in enumerate(each):
                drawn_T = randomness.uniforms(max_new_tokens, sampling.seed, "answer", key)
                self._drawn_RBT[row, branch] = torch.from_numpy(drawn_T)

    def __call__(self, logits_RBV: Tensor, alive_RB: Tensor) -> Tensor:
        """int64[R, B], 0 where a branch has ended."""
        if not self._warpers:
            return logits_RBV.argmax(-1)
        drawn_RB = self._drawn_RBT[:, :, self._step].to(logits_RBV.device)
        self._step += 1
        token_RB = torch.zeros(alive_RB.shape, dtype=torch.long, device=logits_RBV.device)
        chunks = zip(logits_RBV[alive_RB].split(_DRAWN_TOGETHER), drawn_RB[alive_RB].split(_DRAWN_TOGETHER), strict=True)
        token_RB[alive_RB] = torch.cat([self._draw(*chunk) for chunk in chunks])
        return token_RB

    def _draw(self, logits_AV: Tensor, drawn_A: Tensor) -> Tensor:
        scores_AV: Any = logits_AV.double() - logits_AV.amax(-1, keepdim=True)
        for warper in self._warpers:
            scores_AV = warper(None, scores_AV)
        shares_AV = scores_AV.softmax(-1).cumsum(-1)
        # A draw is below 1, so below the sum too: what is found has a share.
        return torch.searchsorted(shares_AV, drawn_A[:, None] * shares_AV[:, -1:], right=True)[:, 0]


def _stack(layouts: Sequence[Batch]) -> Batch:
    """Packs of one row each as one pack with a row for each, padded on the right."""
    length = max(each.input_ids_RL.shape[1] for each in layouts)

    def pad(name: str, fill: int) -> Tensor:
        rows = [getattr(each, name)[0] for each in layouts]
        return torch.stack([torch.nn.functional.pad(row, (0, length - len(row)), value=fill) for row in rows])

    first = layouts[0]
    return dataclasses.replace(
        first,
        tiles_NCHW=torch.cat([each.tiles_NCHW for each in layouts]),
        input_ids_RL=pad("input_ids_RL", 0),
        position_ids_RL=pad("position_ids_RL", 0),
        tree_RL=pad("tree_RL", -1),
        branch_RL=pad("branch_RL", -1),
        feature_positions_K=torch.cat([each.feature_positions_K + row * length for row, each in enumerate(layouts)]),
    )


def _starts(trees: Sequence[EncodedTree], widest: int) -> tuple[Tensor, Tensor, Tensor]:
    """(bool[R, B] branches that exist, int64[R, B] place of each prompt's last token, int64[R, B] next position)."""
    shape = (len(trees), widest)
    alive, last, position = (
        torch.zeros(shape, dtype=torch.bool),
        torch.zeros(shape, dtype=torch.long),
        torch.zeros(shape, dtype=torch.long),
    )
    for row, tree in enumerate(trees):
        end = len(tree.prefix_ids)
        for branch, ids in enumerate(tree.branches):
            end += len(ids)
            alive[row, branch], last[row, branch] = True, end - 1
            position[row, branch] = len(tree.prefix_ids) + len(ids)
    return alive, last, position


def _sees_prompt(tree_RL: Tensor, branch_RL: Tensor, widest: int) -> Tensor:
    """bool[R, B, L]: the prompt keys that the answer of branch B sees: the prefix and its own prompt."""
    branch_B = torch.arange(widest, device=tree_RL.device)
    own = (branch_RL[:, None, :] == -1) | (branch_RL[:, None, :] == branch_B[None, :, None])
    return own & (tree_RL[:, None, :] >= 0)
