"""Answers: one prefill for each picture, all questions decoded together, and whoever waits takes the place of who has ended.

A tree is a picture's prefix, whose keys and values are computed and kept once, and its questions as branches. Trees are
prefilled in groups; their questions then join the row of tokens that is computed at each step: a joining question brings its
whole prompt, one that is being answered its last token (adapt.model.branches has the attention). An answer is given out the
moment it ends, its place is taken by a question that waits, and the next group is prefilled when there is room. What is held
is bounded by ``KEYS`` places; where growing answers would exceed it, those that joined last go back and start again later,
with the same result.

Questions whose position encoding depends on the length join only questions of their side (adapt.evaluate.prompts.side_of).

Axes: R rows (trees), L tokens of the longest prefix, N tokens of the row, A answers, V vocabulary.
"""

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from adapt.data.packing import Batch, collate
from adapt.data.template import decode_answer, get_template
from adapt.errors import UsageError
from adapt.evaluate.choosing import Chooser
from adapt.evaluate.prompts import MOST_PAIRS, Prompts, encode_tree, group
from adapt.evaluate.question import Question
from adapt.evaluate.sampling import GREEDY, Sampling
from adapt.model.branches import LEAST_PLACES, Bank, Queries, Shelf, Step
from adapt.model.language import rope_threshold

if TYPE_CHECKING:
    from adapt.evaluate.answer import Answerer

__all__ = ["Question", "answer_questions"]

KEYS = 16384  # places of keys and values held at once, padding counted
ANSWERS = 256  # decoded together
# Tokens of one prefill and of the prompts that join in one step; a processor works best on what its caches hold.
_TOKENS = {"cpu": 1024, "cuda": 8192}
_EXPECTED = 8  # tokens of an answer that its first place has room for


def answer_questions(
    answerer: "Answerer", questions: Sequence[Question], *, max_new_tokens: int, sampling: Sampling = GREEDY
) -> Iterator[tuple[str, str]]:
    """Yield (key, answer) of every question the moment it ends, in the order that decodes fastest.

    An answer ends at the template's end token or after ``max_new_tokens``; surrounding blanks are stripped. A Question's
    pictures are opened here: DataError names the file that cannot be. UsageError for ``max_new_tokens`` below 1.
    """
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens is {max_new_tokens}; expected 1 or more")
    trees = group(answerer, questions, max_new_tokens)
    template = get_template(answerer.model.config.template)
    for key, ids in _Decoder(answerer, trees, max_new_tokens, sampling).run():
        yield key, decode_answer(ids, template, answerer.tokenizer).strip()


@dataclasses.dataclass(eq=False)
class _Tree:
    """A tree whose prefix is on a shelf; ``waiting`` are its questions that have no place yet, the next one last."""

    shelf: Shelf | None
    row: int
    num_prefix: int
    waiting: list[tuple[str, tuple[int, ...]]]
    answering: int = 0


@dataclasses.dataclass(eq=False)
class _Branch:
    """A question being answered: its own keys stand in ``slot`` of ``bank``, ``num_held`` of them."""

    key: str
    ids: tuple[int, ...]
    tree: _Tree
    bank: Bank
    slot: int
    draws: np.ndarray | None
    produced: list[int] = dataclasses.field(default_factory=list)
    num_held: int = 0

    @property
    def coming(self) -> Sequence[int]:
        """What it brings to the next step."""
        return self.produced[-1:] if self.num_held else self.ids


class _Decoder:
    """The trees that wait, those on shelves and the questions in flight."""

    def __init__(self, answerer: "Answerer", trees: Sequence[Prompts], max_new_tokens: int, sampling: Sampling) -> None:
        self._model = answerer.model
        self._device = next(answerer.model.parameters()).device
        self._tokens = _TOKENS.get(self._device.type, _TOKENS["cuda"])
        self._threshold = rope_threshold(answerer.model.config.language)
        self._longest = max_new_tokens
        self._choose = Chooser(sampling, max_new_tokens)
        tokenizer, end = answerer.tokenizer, get_template(answerer.model.config.template).end
        self._ends = {tokenizer.convert_tokens_to_ids(end), tokenizer.eos_token_id}
        self._waiting = collections.deque(trees)
        self._side = 0
        self._open: list[_Tree] = []
        self._banks: dict[int, Bank] = {}
        self._branches: list[_Branch] = []  # in the order they joined
        self._full = False  # somebody was sent back: nobody joins before somebody ends

    def run(self) -> Iterator[tuple[str, list[int]]]:
        """(key, ids) of every answer as it ends."""
        while True:
            self._make_room()
            self._join()
            if not self._branches:
                assert not self._waiting
                return
            self._step()
            ended = [
                branch
                for branch in self._branches
                if branch.produced[-1] in self._ends or len(branch.produced) == self._longest
            ]
            self._drop(ended)
            for branch in ended:
                yield branch.key, branch.produced

    @property
    def num_held(self) -> int:
        """Places of keys held."""
        shelves = {tree.shelf for tree in self._open if tree.shelf is not None}
        banks = (bank.num_places * bank.num_used for bank in self._banks.values())
        return sum(shelf.num_keys for shelf in shelves) + sum(banks)

    def _join(self) -> None:
        """Give places to questions that wait, while there are any and the step is not too large."""
        if self._branches and (self._full or self._crosses(self._side)):
            return  # those who cross the threshold do so at one step, so they start at one
        tokens = pairs = 0
        while len(self._branches) < ANSWERS:
            tree = next((tree for tree in self._open if tree.waiting), None)
            if tree is None:
                if not self._prefill():
                    return
                continue
            key, ids = tree.waiting[-1]
            tokens, pairs = tokens + len(ids), pairs + len(ids) * (tree.num_prefix + len(ids))
            places = _places(len(ids) + min(self._longest, _EXPECTED))
            full = tokens > self._tokens or pairs > MOST_PAIRS or self.num_held + places > KEYS
            if self._branches and full:
                return
            tree.waiting.pop()
            tree.answering += 1
            bank = self._bank(places)
            self._branches.append(_Branch(key, ids, tree, bank, bank.add(1)[0], self._choose.draws(key)))

    def _crosses(self, side: int) -> bool:
        return self._threshold is not None and 0 < side <= self._threshold

    def _prefill(self) -> bool:
        """Prefill the next trees that wait, as many as make one good computation; False where none can be now."""
        if not self._waiting:
            return False
        if self._branches:
            # A group at a time: a prefix alone would cost as much as several.
            room = 2 * self.num_held <= KEYS and 2 * len(self._branches) <= ANSWERS
            if not room or self._waiting[0].side != self._side or self._crosses(self._side):
                return False
        self._side = self._waiting[0].side
        chosen: list[Prompts] = []
        while self._waiting and self._waiting[0].side == self._side:
            longest = self._waiting[0].num_prefix  # they are sorted
            tokens = longest * (len(chosen) + 1)
            wanted = sum(len(prompts.keys) for prompts in chosen) + len(self._branches)
            if chosen and (tokens > self._tokens or self.num_held + tokens > KEYS or wanted >= ANSWERS):
                break
            chosen.append(self._waiting.popleft())
        shelf = self._shelve(chosen) if any(prompts.num_prefix for prompts in chosen) else None
        for row, prompts in enumerate(chosen):
            waiting = list(zip(prompts.keys, prompts.branches, strict=True))
            self._open.append(_Tree(shelf, row, prompts.num_prefix, waiting))
        return True

    @torch.inference_mode()
    def _shelve(self, chosen: Sequence[Prompts]) -> Shelf:
        config = self._model.config
        trees = [collate([encode_tree(prompts, config)], config.image_token_id) for prompts in chosen]
        batch = _stack(trees, beyond=self._threshold is not None and self._side > self._threshold, longest=self._side)
        batch = batch.to(self._device)
        shelf = Shelf([prompts.num_prefix for prompts in chosen])
        self._model.hidden_with(shelf, self._model.embed(batch), batch.position_ids_RL)
        return shelf

    @torch.inference_mode()
    def _step(self) -> None:
        """Compute all coming tokens in one row and choose the next token of every answer."""
        queries: list[Queries] = []
        ids: list[int] = []
        positions: list[int] = []
        lasts: list[int] = []
        for branch in self._branches:
            tree, coming = branch.tree, branch.coming
            queries.append(Queries(tree.shelf, tree.row, branch.bank, branch.slot, len(ids), len(coming), branch.num_held))
            ids.extend(coming)
            start = tree.num_prefix + branch.num_held
            positions.extend(range(start, start + len(coming)))
            lasts.append(len(ids) - 1)
            branch.num_held += len(coming)
        ids_1N = torch.tensor([ids], device=self._device)
        embedded = self._model.language.get_input_embeddings()(ids_1N)
        step = Step(queries, self._device)
        hidden = self._model.hidden_with(step, embedded, torch.tensor([positions], device=self._device))
        assert step.num_layers == self._model.language.config.num_hidden_layers, (
            "a layer did not attend by adapt.model.branches"
        )
        logits_AV = self._model.logits_at(hidden, torch.tensor(lasts, device=self._device))
        drawn = [None if each.draws is None else float(each.draws[len(each.produced)]) for each in self._branches]
        for branch, token in zip(self._branches, self._choose(logits_AV, drawn).tolist(), strict=True):
            branch.produced.append(token)

    @torch.inference_mode()
    def _make_room(self) -> None:
        """Move who needs more places to a longer bank; while that is too much, send back who joined last."""
        while True:
            growing = [branch for branch in self._branches if branch.num_held == branch.bank.num_places]
            if len(self._branches) <= 1 or self.num_held + sum(branch.bank.num_places for branch in growing) <= KEYS:
                break
            last = self._branches[-1]
            self._drop([last], again=True)
        for places in sorted({branch.bank.num_places for branch in growing}, reverse=True):
            moving = [branch for branch in growing if branch.bank.num_places == places]
            old, new = self._banks[places], self._bank(2 * places)
            slots = [branch.slot for branch in moving]
            taken = new.add(len(moving))
            old.move_to(new, slots, taken)
            self._leave(old, slots)
            for branch, slot in zip(moving, taken, strict=True):
                branch.bank, branch.slot = new, slot

    def _bank(self, places: int) -> Bank:
        return self._banks.setdefault(places, Bank(places))

    def _leave(self, bank: Bank, slots: Sequence[int]) -> None:
        moved = bank.remove(slots)
        for branch in self._branches:
            if branch.bank is bank:
                branch.slot = moved.get(branch.slot, branch.slot)

    @torch.inference_mode()
    def _drop(self, gone: Sequence[_Branch], *, again: bool = False) -> None:
        """Free the places of branches that ended, or that are to be answered ``again``, and the shelves of trees that ended."""
        if not gone:
            return
        self._full = again
        dropped = set(gone)
        self._branches = [branch for branch in self._branches if branch not in dropped]
        for bank in {branch.bank for branch in gone}:
            self._leave(bank, [branch.slot for branch in gone if branch.bank is bank])
        for branch in gone:
            branch.tree.answering -= 1
            if again:
                branch.tree.waiting.append((branch.key, branch.ids))
        self._banks = {places: bank for places, bank in self._banks.items() if bank.num_used}
        self._open = [tree for tree in self._open if tree.waiting or tree.answering]
        for shelf in {tree.shelf for tree in self._open if tree.shelf is not None}:
            rows = sorted(tree.row for tree in self._open if tree.shelf is shelf)
            if 2 * len(rows) <= len(shelf.lengths):
                shelf.keep(rows)
                for tree in self._open:
                    if tree.shelf is shelf:
                        tree.row = rows.index(tree.row)


def _places(num_keys: int) -> int:
    """The bank for so many keys: powers of two."""
    return max(LEAST_PLACES, 1 << (num_keys - 1).bit_length())


def _stack(layouts: Sequence[Batch], *, beyond: bool, longest: int) -> Batch:
    """Prefixes of one row each as one batch with a row for each, padded on the right.

    Where all questions reach ``beyond`` the length that the first RoPE factors serve, a place of padding says so: transformers
    chooses the factors by the largest position, and a prefix alone may end before.
    """
    length = max(each.input_ids_RL.shape[1] for each in layouts) + beyond

    def pad(name: str, fill: int) -> Tensor:
        rows = [getattr(each, name)[0] for each in layouts]
        return torch.stack([torch.nn.functional.pad(row, (0, length - len(row)), value=fill) for row in rows])

    return dataclasses.replace(
        layouts[0],
        tiles_NCHW=torch.cat([each.tiles_NCHW for each in layouts]),
        input_ids_RL=pad("input_ids_RL", 0),
        position_ids_RL=pad("position_ids_RL", longest if beyond else 0),
        tree_RL=pad("tree_RL", -1),
        branch_RL=pad("branch_RL", -1),
        feature_positions_K=torch.cat([each.feature_positions_K + row * length for row, each in enumerate(layouts)]),
    )
