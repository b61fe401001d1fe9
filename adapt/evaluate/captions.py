"""BLEU, ROUGE-L and CIDEr-D over a set of sentences, with the numbers of the COCO caption scorers.

Sources: Papineni et al., ACL 2002 (BLEU: counts of the whole set, the reference closest in length); Lin, ACL Workshop 2004
(ROUGE-L, beta 1.2); Vedantam et al., arXiv 1411.5726 (CIDEr-D: n 1 to 4, sigma 6, clipped counts, times 10). The constants that
no paper has (1e-15 and 1e-9 in BLEU; lengths counted in bigrams in CIDEr) are those of github.com/tylin/coco-caption.

CIDEr's weights come from the references of the whole set: a part of a set has other scores, and a set of one has 0. Axes: N
captions, R resamples, C columns that are summed.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Hashable, Sequence

import numpy as np

from adapt.domain import Metric
from adapt.evaluate.metrics import Measure, of_sums

Tokens = tuple[str, ...]

ORDERS = (1, 2, 3, 4)
BLEU_COLUMNS = 2 + 2 * len(ORDERS)
TINY, SMALL = 1e-15, 1e-9
BETA = 1.2
SIGMA = 6.0
MOST_CIDER = 10.0


@dataclasses.dataclass(frozen=True)
class Caption:
    """The tokens of an answer, and those of every sentence that would be right."""

    answer: Tokens
    references: tuple[Tokens, ...]


@dataclasses.dataclass(frozen=True)
class CaptionRows:
    """What the scores of a set are made of: ``columns_NC`` holds BLEU's counts, then ROUGE-L, CIDEr and a one."""

    columns_NC: np.ndarray

    @property
    def rouge_l(self) -> list[float]:
        """Each caption's ROUGE-L, 0..1."""
        return [float(value) for value in self.columns_NC[:, BLEU_COLUMNS]]


def caption_rows(captions: Sequence[Caption]) -> CaptionRows:
    """The rows of a set; CIDEr's weights are those of this set."""
    columns_NC = np.zeros((len(captions), BLEU_COLUMNS + 3))
    for row, (caption, cider) in enumerate(zip(captions, _ciders(captions), strict=True)):
        columns_NC[row] = (*_bleu_counts(caption), _rouge_l(caption), cider, 1.0)
    return CaptionRows(columns_NC)


def bleu(sums_RC: np.ndarray, order: int) -> np.ndarray:
    """float64[R]: BLEU up to ``order`` of summed counts."""
    answer_R, reference_R = sums_RC[:, 0], sums_RC[:, 1]
    guessed_RN, right_RN = sums_RC[:, 2:6], sums_RC[:, 6:10]
    precision_R = ((right_RN + TINY) / (guessed_RN + SMALL))[:, :order].prod(axis=1) ** (1 / order)
    ratio_R = (answer_R + TINY) / (reference_R + SMALL)
    return precision_R * np.exp(np.minimum(0.0, 1 - 1 / ratio_R))


def rouge_l(sums_RC: np.ndarray) -> np.ndarray:
    """float64[R]: the mean ROUGE-L."""
    return _mean(sums_RC, BLEU_COLUMNS)


def cider(sums_RC: np.ndarray) -> np.ndarray:
    """float64[R]: the mean CIDEr-D, 0..10."""
    return _mean(sums_RC, BLEU_COLUMNS + 1)


def _mean(sums_RC: np.ndarray, column: int) -> np.ndarray:
    return sums_RC[:, column] / np.maximum(sums_RC[:, BLEU_COLUMNS + 2], 1.0)


def caption_metrics(rows: CaptionRows, groups: Sequence[Hashable]) -> dict[str, Metric]:
    """bleu_1 to bleu_4, rouge_l and cider, with intervals over groups.

    BLEU of a resample is that of its summed counts. CIDEr of a resample keeps the weights of the whole set.
    """
    count = len(rows.columns_NC)
    measures = {f"bleu_{order}": Measure(functools.partial(bleu, order=order), count) for order in ORDERS}
    measures |= {"rouge_l": Measure(rouge_l, count), "cider": Measure(cider, count, MOST_CIDER)}
    return of_sums(rows.columns_NC, groups, measures)


def _ngrams(tokens: Tokens) -> collections.Counter[Tokens]:
    return collections.Counter(tokens[start : start + n] for n in ORDERS for start in range(len(tokens) - n + 1))


def _bleu_counts(caption: Caption) -> tuple[int, ...]:
    """Length of the answer and of the closest reference; of each order the n-grams that there are, and the right ones."""
    length = len(caption.answer)
    closest = min((abs(len(each) - length), len(each)) for each in caption.references)[1]
    most: collections.Counter[Tokens] = collections.Counter()
    for reference in caption.references:
        most |= _ngrams(reference)
    right = _ngrams(caption.answer) & most
    by_order = collections.Counter({n: 0 for n in ORDERS})
    for ngram, count in right.items():
        by_order[len(ngram)] += count
    return (length, closest, *(max(0, length - n + 1) for n in ORDERS), *(by_order[n] for n in ORDERS))


def _rouge_l(caption: Caption) -> float:
    """The F measure of the longest common subsequence; the best precision and the best recall over the references."""
    common = [_common_length(caption.answer, each) for each in caption.references]
    if not caption.answer or not any(common):
        return 0.0
    precision = max(common) / len(caption.answer)
    recall = max(found / len(each) for found, each in zip(common, caption.references, strict=True) if each)
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common_length(first: Tokens, second: Tokens) -> int:
    """The length of the longest common subsequence: a row of the usual table as the bits of one integer.

    Source: Hyyrö, "Bit-parallel LCS-length computation revisited", AWOCA 2004.
    """
    places: dict[str, int] = {}
    for place, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << place
    every = row = (1 << len(first)) - 1
    for token in second:
        matched = row & places.get(token, 0)
        row = (row + matched | row - matched) & every
    return len(first) - row.bit_count()


def _ciders(captions: Sequence[Caption]) -> list[float]:
    references = [[_ngrams(each) for each in caption.references] for caption in captions]
    documents = collections.Counter(ngram for counts in references for ngram in set().union(*counts))
    most = math.log(max(1, len(captions)))
    weights = {ngram: most - math.log(count) for ngram, count in documents.items()}

    def vector(counts: collections.Counter[Tokens]) -> "_Vector":
        values = {ngram: count * weights.get(ngram, most) for ngram, count in counts.items()}
        norms = [math.sqrt(sum(value**2 for ngram, value in values.items() if len(ngram) == n)) for n in ORDERS]
        return _Vector(values, norms, sum(count for ngram, count in counts.items() if len(ngram) == 2))

    found = []
    for caption, counts in zip(captions, references, strict=True):
        answer = vector(_ngrams(caption.answer))
        likeness = [_likeness(answer, vector(each)) for each in counts]
        found.append(MOST_CIDER * sum(likeness) / len(likeness))
    return found


@dataclasses.dataclass(frozen=True)
class _Vector:
    """The weights of a sentence's n-grams, their norm by order, and how many bigrams there are."""

    values: dict[Tokens, float]
    norms: list[float]
    bigrams: int


def _likeness(answer: _Vector, reference: _Vector) -> float:
    """The mean over the orders of the clipped cosine, less the more the lengths differ."""
    products = dict.fromkeys(ORDERS, 0.0)
    for ngram, value in answer.values.items():
        other = reference.values.get(ngram, 0.0)
        products[len(ngram)] += min(value, other) * other
    penalty = math.exp(-((answer.bigrams - reference.bigrams) ** 2) / (2 * SIGMA**2))
    total = 0.0
    for n, product in products.items():
        norm = answer.norms[n - 1] * reference.norms[n - 1]
        total += product / norm if norm else product
    return penalty * total / len(ORDERS)
