"""Questions as trees: what they share, encoded once, and what each has of its own."""

import collections
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adapt import safe
from adapt.data.packing import EncodedTree
from adapt.data.template import encode_prompt, get_template
from adapt.data.tiling import count_tiles, tile, tile_budget
from adapt.errors import DataError, bad_picture
from adapt.evaluate.question import Question
from adapt.model.config import ModelConfig
from adapt.model.language import rope_threshold

if TYPE_CHECKING:
    from PIL.Image import Image

    from adapt.evaluate.answer import Answerer

# (query, key) pairs of a prompt behind its prefix: above, all of the prompt but its last token is prefix, which is computed
# by a kernel that never holds the pairs.
MOST_PAIRS = 2**22


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Questions of one tree: the same pictures, cut alike, and the same ids up to the last picture.

    ``own_tiles`` is the questions' bound on a picture's grid (0: none), ``num_prefix`` the tokens of the prefix with those of
    the pictures, which ``prefix`` has one each of; ``side`` see side_of. ``where`` is the first question's place, or ''.
    """

    pictures: tuple[Path, ...]
    own_tiles: int
    prefix: tuple[int, ...]
    keys: tuple[str, ...]
    branches: tuple[tuple[int, ...], ...]
    num_prefix: int
    side: int
    where: str


def group(answerer: "Answerer", questions: Sequence[Question], max_new_tokens: int) -> list[Prompts]:
    """The trees of the questions, those of one side and of like prefix next to each other; long prompts last in a tree.

    The pictures' headers are read here. Raises DataError for one that cannot be, and for two questions of one key: answers
    are told apart by it.
    """
    counts = collections.Counter(question.key for question in questions)
    if len(counts) < len(questions):
        raise DataError(
            f"two questions have the id '{counts.most_common(1)[0][0]}', which tells their answers apart; rename one"
        )
    config = answerer.model.config
    template, threshold = get_template(config.template), rope_threshold(config.language)
    cuts = dict.fromkeys((each.pictures, each.max_tiles) for each in questions)
    extra = {(pictures, own): _picture_tokens(pictures, own, config) for pictures, own in cuts}
    groups: dict[tuple[Any, ...], list[tuple[str, tuple[int, ...]]]] = {}
    for question in questions:
        encoded = encode_prompt(question.turns, template, answerer.tokenizer)
        cut, length, ids = (question.pictures, question.max_tiles), encoded.prefix_length, tuple(encoded.input_ids)
        num_tokens = len(ids) + extra[cut]
        if (len(ids) - length) * num_tokens > MOST_PAIRS:
            length = len(ids) - 1
        side = side_of(num_tokens, max_new_tokens, threshold)
        shared = (side, length + extra[cut] if length else 0, cut, ids[:length])
        groups.setdefault(shared, []).append((question.key, ids[length:]))
    places = {question.key: question.where for question in questions}
    trees = []
    for (side, num_prefix, (pictures, own_tiles), prefix), members in groups.items():
        where = places[members[0][0]]
        keys, branches = zip(*sorted(members, key=lambda member: len(member[1])), strict=True)
        trees.append(Prompts(pictures, own_tiles, prefix, keys, branches, num_prefix, side, where))
    return sorted(trees, key=lambda tree: (tree.side, tree.num_prefix))


def side_of(num_tokens: int, max_new_tokens: int, threshold: int | None) -> int:
    """Which questions may be computed together: those of one side (see adapt.model.language.rope_threshold).

    0 stays within the threshold to its last token, threshold + 1 starts beyond it; what crosses it goes with questions of
    its own length, which cross it at the same step.
    """
    if threshold is None or num_tokens + max_new_tokens <= threshold:
        return 0
    return min(num_tokens, threshold + 1)


def _picture_tokens(pictures: tuple[Path, ...], own: int, config: ModelConfig) -> int:
    """Tokens of all pictures of one question beyond the one that stands for each, from their headers."""
    budget = tile_budget(config.max_tiles, len(pictures), own)
    tiles = sum(count_tiles(*safe.picture_size(path), budget, config.tile_px) for path in pictures)
    return tiles * config.tokens_per_tile - len(pictures)


def _read_picture(path: Path, where: str) -> "Image":
    try:
        return safe.read_picture(path)
    except DataError as error:
        if not where:
            raise
        raise bad_picture(where, error, "adapt check --decode") from error


def encode_tree(
    prompts: Prompts, config: ModelConfig, branches: Sequence[Sequence[int]] = (), scored: Sequence[int] = ()
) -> EncodedTree:
    """The prefix with its pictures, and those branches; of each the last ``scored`` tokens weigh 1, the others nothing."""
    budget = tile_budget(config.max_tiles, len(prompts.pictures), prompts.own_tiles)
    tiles = [tile(_read_picture(path, prompts.where), budget, config.tile_px) for path in prompts.pictures]
    prefix = np.asarray(prompts.prefix, np.int64)
    times = np.ones(len(prefix), np.int64)
    times[prefix == config.image_token_id] = [len(each) * config.tokens_per_tile for each in tiles]
    return EncodedTree(
        prefix_ids=np.repeat(prefix, times),
        prefix_weights=np.zeros(int(times.sum())),
        branches=tuple(np.asarray(branch, np.int64) for branch in branches),
        branch_weights=tuple(
            np.r_[np.zeros(len(branch) - count), np.ones(count)] for branch, count in zip(branches, scored, strict=True)
        ),
        tiles=np.concatenate(tiles) if tiles else np.zeros((0, config.tile_px, config.tile_px, 3), np.uint8),
        keep=None,
        sources=(0,) * max(1, len(branches)),
    )
