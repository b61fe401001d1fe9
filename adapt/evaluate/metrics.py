"""Shares with their intervals, and the text measures that several benchmarks use.

Intervals are 95 % percentile bootstrap intervals over groups (all questions of a picture are drawn together), because the
questions of one picture are not independent (Miller, "Adding Error Bars to Evals", arXiv 2411.00640, section 2.2).
Axes: R resamples, G groups, C columns that are summed.
"""

import collections
import dataclasses
import functools
import re
import string
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from adapt import randomness
from adapt.domain import Metric

RESAMPLES = 1000
_DRAWS_AT_ONCE = 4_000_000
ANLS_THRESHOLD = 0.5
EMPTY = Metric(0.0, 0, 0.0, 0.0)
NO_SHARES = ("cider", "rmse", "mae")  # the last words of metrics with a scale of their own


def is_share(name: str) -> bool:
    """Whether a metric is a share 0..1, by its name: all are but CIDEr (0..10) and errors in the unit of what was asked."""
    return name.rpartition("_")[2] not in NO_SHARES


def share(marks: Sequence[float], groups: Sequence[Hashable], seed: int = 0) -> Metric:
    """The mean of marks in 0..1 with its interval. No marks: value, count and interval are 0."""
    return mean_of_shares(marks, [0] * len(marks), groups, seed)


def mean_of_shares(marks: Sequence[float], kinds: Sequence[Hashable], groups: Sequence[Hashable], seed: int = 0) -> Metric:
    """The mean over kinds of each kind's mean mark (a macro average); ``count`` is the number of marks.

    With a single group nothing is known of the spread, and the interval is 0..1.
    """
    assert len(marks) == len(kinds) == len(groups), (len(marks), len(kinds), len(groups))
    if not marks:
        return EMPTY
    kind_of, group_of = _numbered(kinds), _numbered(groups)
    num_kinds, num_groups = int(kind_of.max()) + 1, int(group_of.max()) + 1
    sums_GC = np.zeros((num_groups, 2 * num_kinds))
    np.add.at(sums_GC, (group_of, kind_of), np.asarray(marks, dtype=np.float64))
    np.add.at(sums_GC, (group_of, num_kinds + kind_of), 1.0)
    value = float(_means(sums_GC.sum(axis=0, keepdims=True), num_kinds)[0])
    if num_groups == 1:
        return Metric(value, len(marks), 0.0, 1.0, 1)
    means_R = _means(resample(sums_GC, seed), num_kinds)
    low, high = np.quantile(means_R, (0.025, 0.975))
    return Metric(value, len(marks), float(min(low, value)), float(max(high, value)), num_groups)


@dataclasses.dataclass(frozen=True)
class Measure:
    """A metric that follows from column sums, float64[R, C] -> float64[R]: what BLEU, or a root of a mean square, needs.

    ``count`` items stand behind it; ``most`` is its highest value.
    """

    value: Callable[[np.ndarray], np.ndarray]
    count: int
    most: float = 1.0


def of_sums(
    columns_NC: np.ndarray, groups: Sequence[Hashable], measures: Mapping[str, Measure], seed: int = 0
) -> dict[str, Metric]:
    """Each measure of the rows' column sums with its interval; all are of the same resamples of the groups.

    Without a row value, count and interval are 0. With a single group the interval is 0 to ``most``.
    """
    assert len(columns_NC) == len(groups), (len(columns_NC), len(groups))
    if not groups:
        return dict.fromkeys(measures, EMPTY)
    group_of = _numbered(groups)
    sums_GC = np.zeros((int(group_of.max()) + 1, columns_NC.shape[1]))
    np.add.at(sums_GC, group_of, columns_NC)
    sums_RC = resample(sums_GC, seed) if len(sums_GC) > 1 else None
    found = {}
    for name, measure in measures.items():
        value = float(measure.value(sums_GC.sum(axis=0, keepdims=True))[0])
        if sums_RC is None:
            low, high = 0.0, measure.most
        else:
            low, high = (float(each) for each in np.quantile(measure.value(sums_RC), (0.025, 0.975)))
        metric = Metric(value, measure.count, min(low, value), max(high, value), len(sums_GC))
        found[name] = metric if measure.count else EMPTY
    return found


def ratios(
    columns: Mapping[str, tuple[Sequence[float], Sequence[float]]], groups: Sequence[Hashable], seed: int = 0
) -> dict[str, Metric]:
    """For each name sum(tops) / sum(bottoms) over the rows, with its interval; ``count`` is the number of rows.

    Nothing below is 0. With a single group the interval is 0 to 1, or to the value.
    """
    parts = [part for tops_and_bottoms in columns.values() for part in tops_and_bottoms]
    columns_NC = np.asarray(parts, dtype=np.float64).T.reshape(len(groups), 2 * len(columns))
    measures = {name: Measure(functools.partial(_quotient, 2 * place), len(groups)) for place, name in enumerate(columns)}
    return of_sums(columns_NC, groups, measures, seed)


def _quotient(top: int, sums_RC: np.ndarray) -> np.ndarray:
    """float64[R]: a column over the next one, 0 over nothing."""
    tops, bottoms = sums_RC[:, top], sums_RC[:, top + 1]
    return np.divide(tops, bottoms, out=np.zeros_like(tops), where=bottoms > 0)


def _numbered(names: Sequence[Hashable]) -> np.ndarray:
    """int64[N]: equal names have equal numbers, in order of first sight."""
    numbers: dict[Hashable, int] = {}
    return np.asarray([numbers.setdefault(name, len(numbers)) for name in names])


def _means(sums_RC: np.ndarray, num_kinds: int) -> np.ndarray:
    """float64[R]: the mean over the kinds that were drawn at all of marks / count."""
    marks, counts = sums_RC[:, :num_kinds], sums_RC[:, num_kinds:]
    shares = np.divide(marks, counts, out=np.zeros_like(marks), where=counts > 0)
    return shares.sum(axis=1) / (counts > 0).sum(axis=1)


def resample(sums_GC: np.ndarray, seed: int) -> np.ndarray:
    """float64[R, C]: the column sums of each resample of the groups."""
    num_groups = len(sums_GC)
    at_once = max(1, _DRAWS_AT_ONCE // num_groups)
    parts = []
    for start in range(0, RESAMPLES, at_once):
        rows = min(at_once, RESAMPLES - start)
        drawn = (randomness.uniforms(rows * num_groups, seed, "bootstrap", start) * num_groups).astype(np.int64)
        drawn += np.repeat(np.arange(rows) * num_groups, num_groups)
        parts.append(np.bincount(drawn, minlength=rows * num_groups).reshape(rows, num_groups) @ sums_GC)
    return np.concatenate(parts)


def normalise(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no articles, single blanks.

    Source: ``normalize_answer`` of the official SQuAD evaluation (rajpurkar.github.io/SQuAD-explorer, evaluate-v2.0.py).
    Where nothing would be left ("A", "the"), the articles stay, so that an empty answer never equals a lettered one.
    """
    bare = "".join(" " if char.isspace() else char for char in text.lower() if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split()) or " ".join(bare.split())


def exact_match(answer: str | None, truth: str) -> float:
    """1.0 where both have the same normal form and it is not empty; punctuation alone is compared as it stands."""
    if not answer or not answer.strip():
        return 0.0
    found, expected = normalise(answer), normalise(truth)
    return float(found == expected and (found != "" or answer.strip() == truth.strip()))


def token_f1(answer: str | None, truth: str) -> float:
    """SQuAD's F1 over the bag of tokens of the normal forms; 0.0 for an empty answer."""
    found, expected = normalise(answer or "").split(), normalise(truth).split()
    if not found or not expected:
        return exact_match(answer, truth)
    common = sum((collections.Counter(found) & collections.Counter(expected)).values())
    if not common:
        return 0.0
    precision, recall = common / len(found), common / len(expected)
    return 2 * precision * recall / (precision + recall)


def edit_distance(first: str, second: str) -> int:
    """Levenshtein distance in characters."""
    if len(first) < len(second):
        first, second = second, first
    row = list(range(len(second) + 1))
    for place, char in enumerate(first, start=1):
        diagonal, row[0] = row[0], place
        for column, other in enumerate(second, start=1):
            diagonal, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, diagonal + (char != other))
    return row[-1]


def anls(answer: str | None, truth: str) -> float:
    """1 - edit distance / longer length where that ratio is below 0.5, else 0: case and blanks do not count.

    Source: Biten et al., "Scene Text Visual Question Answering", ICCV 2019, arXiv 1905.13648, section 4; the same in DocVQA.
    """
    found, expected = (" ".join(text.lower().split()) for text in (answer or "", truth))
    if not found or not expected:
        return 0.0
    longer = max(len(found), len(expected))
    if abs(len(found) - len(expected)) / longer >= ANLS_THRESHOLD:
        return 0.0  # the distance is at least the difference in length: no need to compute it
    ratio = edit_distance(found, expected) / longer
    return 1.0 - ratio if ratio < ANLS_THRESHOLD else 0.0
