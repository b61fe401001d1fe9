"""The benchmark of BDD-X: sentences by CIDEr, BLEU-4 and ROUGE-L, control signals by RMSE and the share within a tolerance.

Source: arXiv 2410.16261, 4.2.2 and tables 6 and 7, after DriveGPT4 (arXiv 2310.01412, section 4) and ADAPT (arXiv 2302.00673);
no script was published. Sentences are scored on the descriptions, on the justifications, and on both together: a clip's
description and justification as one text. Published CIDEr is 100 times the value here, whose most is 10.

Defined here: an answer without exactly the numbers that were asked for (or with one of a million or more, or of more than 2,000
characters) is within no tolerance, and its error is the largest that any value of the references would make, which no answer in
their range exceeds; at least 5, since it is within none. Rows of one kind alone have that kind's first metric as the headline.
"""

import collections
import dataclasses
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from adapt.domain import Answered, Benchmark, Metric, Scores
from adapt.errors import DataError
from adapt.evaluate.captions import Caption, CaptionRows, caption_metrics, caption_rows
from adapt.evaluate.metrics import Measure, of_sums, share
from adapt.evaluate.score import group_of
from adapt.evaluate.tokens import ptb_tokens
from domains.driving.bddx import DESCRIPTION, JUSTIFICATION, OTHER, last_sentence, read_signals

BOTH = "both"
NAMES = ("speed", "angle")
TOLERANCES = (0.1, 0.5, 1, 5)
TOO_LARGE = 1e6
MOST_CHARACTERS = 2000
_METRICS = ("cider", "bleu_4", "rouge_l")
_HEADLINES = ("both_cider", "description_cider", "justification_cider", "speed_a_1", "angle_a_1")
_NUMBER = re.compile(r"[-+]?(?:\d++(?:\.\d++)?|(?<!\d)\.\d++)")


@dataclasses.dataclass(frozen=True)
class _Text:
    """An answer and its reference, and the pictures that it is drawn with in an interval."""

    id: str
    group: Hashable
    answer: str
    truth: str


@dataclasses.dataclass(frozen=True)
class _Signal:
    """A number that was asked for; ``found`` is None where the answer does not give it."""

    id: str
    group: Hashable
    found: float | None
    truth: float


def score_bddx(answered: Sequence[Answered], options: Mapping[str, str]) -> Scores:
    """{description,justification,both}_{cider,bleu_4,rouge_l} and {speed,angle}_{rmse,a_0.1,a_0.5,a_1,a_5}."""
    texts = _texts(answered)
    signals = {name: _signals(answered, name) for name in NAMES}
    metrics: dict[str, Metric] = {}
    marks: dict[str, list[float]] = {}
    for name, rows in texts.items():
        found = _caption_rows(rows)
        metrics |= _named(name, caption_metrics(found, [row.group for row in rows]))
        if name != BOTH:
            for row, mark in zip(rows, found.rouge_l, strict=True):
                marks[row.id] = [mark]
    for name, numbers in signals.items():
        metrics |= _signal_metrics(name, numbers)
        for number in numbers:
            marks.setdefault(number.id, []).append(_is_within(number, 1))
    convention = (
        "CIDEr-D (0..10), BLEU-4 and ROUGE-L on PTB tokens; both: a clip's description and justification as one text; "
        "speed in m/s, angle in degrees, a_T: |error| <= T"
    )
    per_row = {name: sum(each) / len(each) for name, each in marks.items()}
    headline = next((name for name in _HEADLINES if metrics[name].count), None)
    return Scores(metrics, convention, per_row, _details(answered, texts, signals), headline)


def _named(name: str, metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    return {f"{name}_{metric}": metrics[metric] for metric in _METRICS}


def _kind(each: Answered) -> str:
    kind = each.record.meta.get("kind")
    if not isinstance(kind, str):
        raise DataError(
            f"row '{each.record.id}': meta.kind is {str(kind)[:40]}, expected description, justification, speed, angle or "
            "signals; convert with 'adapt convert --task bddx'"
        )
    return kind


def _texts(answered: Sequence[Answered]) -> dict[str, list[_Text]]:
    """The sentences by kind; of a clip that has both kinds also both as one, in the order of the clip's rows."""
    found: dict[str, list[_Text]] = {DESCRIPTION: [], JUSTIFICATION: [], BOTH: []}
    clips: dict[Hashable, dict[str, _Text]] = {}
    for each in answered:
        kind, record = _kind(each), each.record
        if kind in (DESCRIPTION, JUSTIFICATION):
            text = _Text(record.id, group_of(record), each.answer or "", record.answer)
            found[kind].append(text)
            clips.setdefault((record.images, record.meta.get("clip", record.id)), {}).setdefault(kind, text)
    for clip in clips.values():
        if len(clip) == 2:
            first, second = clip[DESCRIPTION], clip[JUSTIFICATION]
            answer, truth = f"{first.answer} {second.answer}", f"{first.truth} {second.truth}"
            found[BOTH].append(_Text(first.id, first.group, answer, truth))
    return found


def _caption_rows(rows: Sequence[_Text]) -> CaptionRows:
    return caption_rows([Caption(ptb_tokens(row.answer), (ptb_tokens(row.truth),)) for row in rows])


def _signals(answered: Sequence[Answered], name: str) -> list[_Signal]:
    found = []
    for each in answered:
        _kind(each)
        truth = each.record.meta.get(name)
        if truth is None:
            continue
        if type(truth) not in (int, float):
            raise DataError(f"row '{each.record.id}': meta.{name} is {str(truth)[:40]!r}, expected a number")
        found.append(_Signal(each.record.id, group_of(each.record), read_signal(each, name), float(truth)))
    return found


def read_signal(each: Answered, name: str) -> float | None:
    """The speed or the angle that an answer gives; of two numbers by its words, else the question's, else speed first.

    The numbers may stand in a sentence; None where there are more or fewer of them than were asked for.
    """
    answer, meta = (each.answer or "").replace("\N{MINUS SIGN}", "-"), each.record.meta
    numbers = [float(found) for found in _NUMBER.findall(answer)] if len(answer) <= MOST_CHARACTERS else []
    if len(numbers) != sum(asked in meta for asked in NAMES):
        return None
    value = read_signals(numbers, answer, last_sentence(each.record.question)).get(name) if len(numbers) == 2 else numbers[0]
    return value if value is not None and abs(value) < TOO_LARGE else None


def _is_within(signal: _Signal, tolerance: float) -> float:
    """Rounded first: 2.19 is within 0.1 of 2.09, whatever their difference in binary is."""
    return float(signal.found is not None and round(abs(signal.found - signal.truth), 9) <= tolerance)


def _root(sums_RC: np.ndarray) -> np.ndarray:
    return np.sqrt(sums_RC[:, 0] / np.maximum(sums_RC[:, 1], 1.0))


def _signal_metrics(name: str, signals: Sequence[_Signal]) -> dict[str, Metric]:
    groups = [signal.group for signal in signals]
    truths = [signal.truth for signal in signals]
    low, high = min(truths, default=0.0), max(truths, default=0.0)
    errors = [
        max(signal.truth - low, high - signal.truth, TOLERANCES[-1]) if signal.found is None else signal.found - signal.truth
        for signal in signals
    ]
    columns_NC = np.array([(error**2, 1.0) for error in errors]).reshape(-1, 2)
    most = max((abs(error) for error in errors), default=0.0)
    metrics = of_sums(columns_NC, groups, {f"{name}_rmse": Measure(_root, len(signals), most)})
    for tolerance in TOLERANCES:
        metrics[f"{name}_a_{tolerance}"] = share([_is_within(signal, tolerance) for signal in signals], groups)
    return metrics


def _details(
    answered: Sequence[Answered], texts: Mapping[str, Sequence[_Text]], signals: Mapping[str, Sequence[_Signal]]
) -> dict[str, Any]:
    """What always the most frequent sentence and the mean number score, and what was not scored as asked."""
    floor: dict[str, float] = {}
    most = {}
    for name, rows in texts.items():
        if rows:
            counts = collections.Counter(row.truth for row in rows)
            most[name] = min(counts, key=lambda text: (-counts[text], text))
            same = _caption_rows([dataclasses.replace(row, answer=most[name]) for row in rows])
            found = _named(name, caption_metrics(same, [0] * len(rows)))
            floor |= {metric: value.value for metric, value in found.items()}
    for name, numbers in signals.items():
        if numbers:
            mean = sum(number.truth for number in numbers) / len(numbers)
            found = _signal_metrics(name, [dataclasses.replace(number, found=mean, group=0) for number in numbers])
            floor |= {metric: value.value for metric, value in found.items()}
    return {
        "floor": floor,
        "most_frequent": most,
        "unread_numbers": {name: sum(number.found is None for number in numbers) for name, numbers in signals.items()},
        "not_scored": {OTHER: sum(_kind(each) == OTHER for each in answered)},
        "clips_with_both": len(texts[BOTH]),
    }


_AS_PRINTED = "the papers' own scripts, unpublished; CIDEr printed 100 times as high"


def _published(name: str, texts: Sequence[Sequence[float]], speed: Sequence[float], angle: Sequence[float]) -> dict[str, Any]:
    """A row of tables 6 and 7: (CIDEr, BLEU-4, ROUGE-L) in percent of each kind; RMSE, then shares in percent, if any."""
    row: dict[str, Any] = {"name": name, "set": "BDD-X test", "source": "arXiv 2410.16261", "convention": _AS_PRINTED}
    for kind, values in zip((DESCRIPTION, JUSTIFICATION, BOTH), texts, strict=True):
        row |= {f"{kind}_{metric}": round(value / 100, 4) for metric, value in zip(_METRICS, values, strict=True)}
    for signal, values in zip(NAMES, (speed, angle), strict=True):
        row |= {f"{signal}_rmse": value for value in values[:1]}
        row |= {f"{signal}_a_{most}": round(value / 100, 4) for most, value in zip(TOLERANCES, values[1:], strict=False)}
    return row


BDDX = Benchmark(
    name="bddx",
    summary="BDD-X: what the vehicle does and why (CIDEr, BLEU-4, ROUGE-L), its speed and turning angle (RMSE, A_tau)",
    headline="both_cider",
    score=score_bddx,
    max_new_tokens=100,
    published=(
        _published("ADAPT", ((219.35, 33.42, 61.83), (94.62, 9.95, 32.01), (93.66, 17.76, 44.32)), (), ()),
        _published(
            "DriveGPT4",
            ((254.62, 35.99, 63.97), (101.55, 10.84, 31.91), (102.71, 19.00, 45.10)),
            (1.30, 30.09, 60.88, 79.92, 98.44),
            (8.98, 59.23, 72.89, 79.59, 95.32),
        ),
        _published(
            "Mini-InternVL-DA-1B",
            ((223.85, 34.17, 62.11), (95.52, 9.70, 32.58), (83.72, 16.78, 44.29)),
            (1.28, 29.44, 60.38, 79.34, 98.67),
            (9.45, 59.34, 73.54, 80.28, 92.76),
        ),
        _published(
            "Mini-InternVL-DA-2B",
            ((242.14, 35.77, 63.03), (105.06, 10.63, 32.46), (98.47, 18.05, 44.52)),
            (1.26, 27.96, 59.23, 80.06, 98.78),
            (9.52, 57.40, 72.54, 80.06, 92.04),
        ),
        _published(
            "Mini-InternVL-DA-4B",
            ((237.41, 35.94, 63.67), (104.62, 9.51, 32.23), (97.42, 17.70, 44.98)),
            (1.31, 28.84, 60.94, 78.78, 98.61),
            (9.46, 59.12, 73.15, 80.17, 92.65),
        ),
    ),
)
