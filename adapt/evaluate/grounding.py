"""Scoring boxes: expressions with one box, names with several, objects that are not there, dense detection; beside them counts
and regions, where a file holds such rows.

``original`` is the rule of the published models (github.com/like413/OPT-RSVG ``utils/eval_utils.py``): plain IoU, the predicted
box kept inside the picture, a hit from the threshold on. ``internvl`` is InternVL's script (see adapt/evaluate/box_answers.py
and overlap.py). No published rule covers several boxes of one name. Here they are paired one to one, and a row is right where
every true box has its own and none is left over: precision and no-target accuracy of GREC (arXiv 2308.16182, section 4).
"""

import dataclasses
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from adapt.boxes import Box
from adapt.domain import Answered, Metric, Option, Scores
from adapt.errors import DataError
from adapt.evaluate import box_answers, counting
from adapt.evaluate.box_answers import NO_BOX, BoxAnswer, NamedBox
from adapt.evaluate.classes import squash
from adapt.evaluate.located import BOXED, COUNT, DETECT, GROUND, REGION, Truth, is_turned, kind_of, size_of, truth_of
from adapt.evaluate.metrics import ratios
from adapt.evaluate.overlap import PLAIN, PLUS_ONE, Rule, overlaps, pair_boxes
from adapt.evaluate.regions import RULE as REGION_RULE
from adapt.evaluate.regions import region_floor, region_marks
from adapt.evaluate.score import group_of
from adapt.records import ChatRecord

CONVENTION = Option(
    "convention", "how overlap is measured and boxes are read from an answer", "original", ("original", "internvl")
)
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
HIT = THRESHOLDS[0]
SMALL_PX, MEDIUM_PX = 32**2, 96**2  # areas, as COCO divides them (cocodataset.org/#detection-eval)
RULES = {"original": PLAIN, "internvl": PLUS_ONE}
SENTENCES = {
    "original": "plain IoU in pixels, a hit from the threshold on (>=), boxes kept inside the picture, the first box of an "
    "answer",
    "internvl": "InternVL's: IoU with one pixel more in width and height, a hit above the threshold (>), boxes kept inside the "
    "picture, answers read as its script reads them",
}
SETS = "several boxes: paired one to one, the largest overlap first; right where each true one is hit and none is too many"
ABSENT = "an absent object: right where the answer names no box"
TURNED = "turned boxes: by the upright box around each"
Columns = Mapping[str, tuple[Sequence[float], Sequence[float]]]


@dataclasses.dataclass(frozen=True)
class BoxResult:
    """One row: how many boxes are true and named, the overlap of its pairs, and what mean and cumulative IoU take from it.

    ``ious`` fall. For one true box (``truth.is_one``) they are those of the first box; ``num_matched`` is by all boxes.
    """

    truth: Truth
    num_named: int
    num_matched: int
    ious: tuple[float, ...]
    intersection: float
    union: float
    fault: str | None = None

    def is_right(self, threshold: float, rule: Rule) -> bool:
        """Whether the row is right at a threshold."""
        num_true = len(self.truth.boxes_px)
        if not num_true:
            return self.fault == NO_BOX
        has_all = len(self.ious) == num_true and (self.truth.is_one or self.num_named == num_true)
        return has_all and all(rule.is_hit(iou, threshold) for iou in self.ious)

    @property
    def mean_iou(self) -> float:
        """The overlaps over the larger number of boxes; for an absent object 1 where none is named, else 0."""
        num_true = len(self.truth.boxes_px)
        if not num_true:
            return float(self.fault == NO_BOX)
        return sum(self.ious) / (1 if self.truth.is_one else max(num_true, self.num_named))


def predicted_boxes(record: ChatRecord, answer: str | None, convention: str = "original") -> BoxAnswer:
    """What an answer names, in pixels, read as the convention reads it; a page may draw it."""
    size, truth = size_of(record), truth_of(record)
    if convention == "internvl" and truth.is_one:
        return box_answers.read_internvl(answer, size)
    return box_answers.read_any(answer, size, max(box_answers.MOST_BOXES, len(truth.boxes_px)))


def compare(truth: Truth, answer: BoxAnswer, rule: Rule) -> BoxResult:
    """Pair the named boxes with the true ones."""
    found = overlaps(truth.boxes_px, [each.box_px for each in answer.boxes], rule)
    ious_TP = found.ious_TP.copy()
    if truth.names is not None:
        named = [squash(each.name or "") for each in answer.boxes]
        ious_TP[[[squash(name) != other for other in named] for name in truth.names]] = 0.0
    pairs = pair_boxes(ious_TP)
    matched = sum(rule.is_hit(float(ious_TP[pair]), HIT) for pair in pairs)
    areas = float(found.areas_P.sum())
    if truth.is_one:
        pairs = [(0, 0)] if answer.boxes else []
        areas = float(found.areas_P[:1].sum())
    intersection = float(sum(found.intersections_TP[pair] for pair in pairs))
    return BoxResult(
        truth=truth,
        num_named=answer.num_named,
        num_matched=matched,
        ious=tuple(float(ious_TP[pair]) for pair in pairs),
        intersection=intersection,
        union=float(found.areas_T.sum()) + areas - intersection,
        fault=answer.fault,
    )


def box_columns(results: Sequence[BoxResult], rule: Rule) -> Columns:
    """For each metric what is summed above and below the line, row by row."""
    ones = [1.0] * len(results)
    columns: dict[str, tuple[Sequence[float], Sequence[float]]] = {
        f"acc@{threshold}": ([float(each.is_right(threshold, rule)) for each in results], ones) for threshold in THRESHOLDS
    }
    columns["mean_iou"] = [each.mean_iou for each in results], ones
    columns["cum_iou"] = [each.intersection for each in results], [each.union for each in results]
    if all(each.truth.is_one for each in results):
        return columns
    matched = [float(each.num_matched) for each in results]
    true, named = [float(len(each.truth.boxes_px)) for each in results], [float(each.num_named) for each in results]
    columns[f"precision@{HIT}"] = matched, named
    columns[f"recall@{HIT}"] = matched, true
    columns[f"f1@{HIT}"] = [2 * each for each in matched], [one + other for one, other in zip(true, named, strict=True)]
    return columns


def row_mark(result: BoxResult, kind: str, rule: Rule) -> float:
    """A hit at 0.5; of dense detection the F1 of the row, since hardly any row is wholly right."""
    if kind == DETECT and result.truth.boxes_px:
        return 2 * result.num_matched / (len(result.truth.boxes_px) + result.num_named)
    return float(result.is_right(HIT, rule))


def score_grounding(answered: Sequence[Answered], options: Mapping[str, str]) -> Scores:
    """Every row by what it asks for. Raises DataError where none asks for boxes, a count or a region, or a truth is damaged."""
    convention = options.get("convention", "original")
    kinds = [kind_of(each.record) for each in answered]
    if answered and not any(kinds):
        raise DataError(
            f"row '{answered[0].record.id}' and all others ask neither for boxes nor for a number; expected rows with "
            "meta.boxes_px, or with meta.kind count"
        )

    def of(*chosen: str) -> list[Answered]:
        return [each for each, kind in zip(answered, kinds, strict=True) if kind in chosen]

    parts = [
        _score_boxes(of(*BOXED), [kind for kind in kinds if kind in BOXED], convention),
        _score_counts(of(COUNT)),
        _score_regions(of(REGION)),
    ]
    others = Counter(each.record.task or "no task" for each, kind in zip(answered, kinds, strict=True) if kind is None)
    details = {"rows": dict(Counter(kind for kind in kinds if kind)), "not_scored": dict(others)}
    return _joined([part for part in parts if part is not None], details)


def _joined(parts: Sequence[Scores], details: Mapping[str, Any]) -> Scores:
    """The scores of all kinds of rows in one; the first kind has the headline."""
    metrics: dict[str, Metric] = {}
    per_row: dict[str, float] = {}
    floor: dict[str, float] = {}
    joined = dict(details)
    for part in parts:
        metrics |= part.metrics
        per_row |= part.per_row
        floor |= part.details["floor"]
        joined |= part.details
    sentence = "; ".join(part.convention for part in parts)
    headline, rows = (parts[0].headline, frozenset(parts[0].per_row)) if parts else (None, None)
    return Scores(metrics, sentence, per_row, joined | {"floor": floor}, headline, rows)


def _score_boxes(answered: Sequence[Answered], kinds: Sequence[str], convention: str) -> Scores | None:
    if not answered:
        return None
    rule = RULES[convention]
    records = [each.record for each in answered]
    read = [predicted_boxes(each.record, each.answer, convention) for each in answered]
    truths = [truth_of(record) for record in records]
    results = [compare(truth, answer, rule) for truth, answer in zip(truths, read, strict=True)]
    groups = [group_of(record) for record in records]
    marks = {
        record.id: row_mark(result, kind, rule) for record, result, kind in zip(records, results, kinds, strict=True)
    }  # fmt: skip
    absent = [row for row, truth in enumerate(truths) if not truth.boxes_px]
    metrics = ratios(box_columns(results, rule), groups)
    if absent:
        said_so = [float(results[row].fault == NO_BOX) for row in absent]
        metrics |= ratios({"absent_accuracy": (said_so, [1.0] * len(absent))}, [groups[row] for row in absent])
    details = {
        "floor": _box_floor(records, truths, rule),
        "reading": _count_readings(read, truths),
        "boxes": {
            "true": sum(len(truth.boxes_px) for truth in truths),
            "named": sum(each.num_named for each in results),
            f"matched@{HIT}": sum(each.num_matched for each in results),
        },
        "by_kind": _by_kind(kinds, results, rule, groups),
        "by_size": _by_size(results, rule),
    }
    # Single boxes without names, as other tools' detection may have them, have no F1.
    headline = f"acc@{HIT}" if GROUND in kinds or f"f1@{HIT}" not in metrics else f"f1@{HIT}"
    return Scores(metrics, _sentence(convention, truths, records), marks, details, headline)


def _sentence(convention: str, truths: Sequence[Truth], records: Sequence[ChatRecord]) -> str:
    parts = [SENTENCES[convention]]
    parts += [SETS] if any(truth.boxes_px and not truth.is_one for truth in truths) else []
    parts += [ABSENT] if any(not truth.boxes_px for truth in truths) else []
    parts += [TURNED] if any(is_turned(record) for record in records) else []
    return "; ".join(parts)


def _count_readings(read: Sequence[BoxAnswer], truths: Sequence[Truth]) -> dict[str, int]:
    """How many answers name no box, by reason; how many name several where one is asked; how many boxes are written oddly."""
    counts = Counter(each.fault for each in read if each.fault)
    counts["several_boxes_for_one"] = sum(
        each.num_named > 1 for each, truth in zip(read, truths, strict=True) if truth.is_one
    )  # fmt: skip
    counts["boxes_left_out"] = sum(each.num_left_out for each in read)
    counts.update(f"box_{box.oddity}" for each in read for box in each.boxes if box.oddity)
    return {str(name): count for name, count in sorted(counts.items(), key=str) if count}


def _by_kind(
    kinds: Sequence[str], results: Sequence[BoxResult], rule: Rule, groups: Sequence[Hashable]
) -> dict[str, dict[str, dict[str, float]]]:
    """The metrics of ground and detect apart, where a file holds both."""
    found = {}
    for kind in sorted(set(kinds)) if len(set(kinds)) > 1 else ():
        rows = [row for row, other in enumerate(kinds) if other == kind]
        columns = box_columns([results[row] for row in rows], rule)
        found[kind] = {
            name: dataclasses.asdict(metric) for name, metric in ratios(columns, [groups[row] for row in rows]).items()
        }
    return found


def _by_size(results: Sequence[BoxResult], rule: Rule) -> dict[str, dict[str, float]]:
    """Hits of expressions with one box, by its area."""
    marks: dict[str, list[bool]] = {"small": [], "medium": [], "large": []}
    for each in results:
        if each.truth.is_one:
            x1, y1, x2, y2 = each.truth.boxes_px[0]
            area = max(0.0, x2 - x1) * max(0.0, y2 - y1)
            size = "small" if area < SMALL_PX else "medium" if area < MEDIUM_PX else "large"
            marks[size].append(each.is_right(HIT, rule))
    return {size: {f"acc@{HIT}": sum(hits) / len(hits), "count": len(hits)} for size, hits in marks.items() if hits}


def _box_floor(records: Sequence[ChatRecord], truths: Sequence[Truth], rule: Rule) -> dict[str, float]:
    """What needs no picture: always its whole area; always the mean of the true boxes in shares of it; never any box."""
    sizes = [size_of(record) for record in records]
    names = Counter(name for truth in truths for name in truth.names or ())
    name = min(names, key=lambda each: (-names[each], each)) if names else None

    def always(boxes: Sequence[Box]) -> dict[str, float]:
        answers = [BoxAnswer((NamedBox(box, name),)) for box in boxes]
        results = [compare(truth, answer, rule) for truth, answer in zip(truths, answers, strict=True)]
        return {metric: _quotient(*column) for metric, column in box_columns(results, rule).items()}

    floor = always([(0.0, 0.0, float(width), float(height)) for width, height in sizes])
    shares = [
        (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
        for truth, (width, height) in zip(truths, sizes, strict=True)
        for box in truth.boxes_px
    ]
    if shares:
        x1, y1, x2, y2 = (sum(each) / len(shares) for each in zip(*shares, strict=True))
        mean = always([(x1 * width, y1 * height, x2 * width, y2 * height) for width, height in sizes])
        floor |= {f"{metric}_mean_box": mean[metric] for metric in (f"acc@{HIT}", "mean_iou")}
    if num_absent := sum(not truth.boxes_px for truth in truths):
        floor |= {f"acc@{HIT}_no_box": num_absent / len(truths), "absent_accuracy": 1.0}
    return floor


def _quotient(tops: Sequence[float], bottoms: Sequence[float]) -> float:
    return sum(tops) / sum(bottoms) if sum(bottoms) else 0.0


def _score_counts(answered: Sequence[Answered]) -> Scores | None:
    if not answered:
        return None
    records = [each.record for each in answered]
    truths = [counting.true_count(record) for record in records]
    found = [counting.read_count(each.answer) for each in answered]
    columns = counting.count_columns(found, truths)
    marks = {record.id: mark for record, mark in zip(records, columns["count_accuracy"][0], strict=True)}
    details = {"floor": counting.count_floor(records, truths), "answers_without_a_number": sum(each is None for each in found)}
    metrics = ratios(columns, [group_of(record) for record in records])
    return Scores(metrics, counting.RULE, marks, details, headline="count_accuracy")


def _score_regions(answered: Sequence[Answered]) -> Scores | None:
    if not answered:
        return None
    records = [each.record for each in answered]
    marks = region_marks(answered)
    metrics = ratios({"region_accuracy": (marks, [1.0] * len(marks))}, [group_of(record) for record in records])
    per_row = {record.id: mark for record, mark in zip(records, marks, strict=True)}
    return Scores(metrics, REGION_RULE, per_row, {"floor": region_floor(records)}, headline="region_accuracy")
