"""The benchmarks of the field: scene classification and RSVQA, under the published conventions.

RSVQA (Lobry et al., arXiv 2003.07333). ``original`` compares classes as ``VQA_model/VocabEncoder.py`` of
github.com/syvlo/RSVQA makes them from text: lower case, one final "." or "?" dropped; counts of LR and areas fall into the
bins 0, 1-10, 11-100, 101-1000, above 1000; a count of HR is its own class. ``internvl`` is
``internvl_chat/eval/domain_specific/rs_vqa/score.py`` of github.com/OpenGVLab/InternVL with its faults: one bin 1-100, no
answer to a count read as 0, areas only as bare integers and truths cut by ``rstrip('m2')``, "yes." wrong.
"""

import collections
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adapt.domain import Answered, Benchmark, Metric, Option, Scores
from adapt.errors import DataError
from adapt.evaluate.classes import score_classes
from adapt.evaluate.floors import question_only
from adapt.evaluate.metrics import mean_of_shares, share
from adapt.evaluate.score import group_of
from adapt.records import ChatRecord

NUMERIC_TYPES = frozenset({"count", "area"})
BINS = ("0", "between 0 and 10", "between 10 and 100", "between 100 and 1000", "more than 1000")
HIGH_RESOLUTION = "rsvqa_hr"
_NUMBER = re.compile(r"[0-9]{1,18}")
_UNIT = re.compile(r"(?<=[0-9])\s*m2\b")


def read_bin(text: str) -> str | None:
    """The bin of a number, or of a bin's label; None for anything else."""
    if _NUMBER.fullmatch(text):
        return BINS[sum(int(text) > limit for limit in (0, 10, 100, 1000))]
    return text if text in BINS else None


def plain_text(text: str) -> str:
    """Lower case, single blanks, one final full stop or question mark dropped."""
    words = " ".join(text.lower().split())
    return words[:-1].rstrip() if words[-1:] in (".", "?") else words


def original_class(text: str, truth: str, record: ChatRecord) -> str | None:
    """The class of an answer (or of the truth itself) beside ``truth``; None where it belongs to none.

    Where a copy of the data holds bins instead of HR's exact counts, the bin of the answer is all that can be compared.
    """
    plain, kind = plain_text(text), question_type(record)
    if kind not in NUMERIC_TYPES:
        return plain or None
    exact = kind == "count" and record.source == HIGH_RESOLUTION and plain_text(truth).isdecimal()
    if exact:
        return str(int(plain)) if _NUMBER.fullmatch(plain) else None
    return read_bin(_UNIT.sub("", plain) if kind == "area" else plain)


def original_mark(answer: str | None, record: ChatRecord) -> bool:
    """Whether the answer's class is the truth's; no answer is wrong."""
    if answer is None:
        return False
    found = original_class(answer, record.answer, record)
    return found is not None and found == original_class(record.answer, record.answer, record)


def internvl_mark(answer: str | None, record: ChatRecord) -> bool:
    """What InternVL's script says, row for row, its faults included."""
    kind, truth = question_type(record), record.answer
    if kind not in NUMERIC_TYPES:
        return bool(answer) and answer is not None and answer.lower() == truth.lower()
    try:
        found = int(answer) if answer is not None else 0
        expected = int(truth.rstrip("m2")) if kind == "area" else int(truth)
    except ValueError:
        return False
    return found >= 0 and expected >= 0 and _merged_bin(found) == _merged_bin(expected)


def _merged_bin(number: int) -> int:
    return sum(number > limit for limit in (0, 100, 1000))


def question_type(record: ChatRecord) -> str:
    """presence, comp, count, area or rural_urban, from ``meta.type``."""
    kind = record.meta.get("type")
    if not isinstance(kind, str) or not kind:
        raise DataError(f"row '{record.id}': meta.type is {kind!r}, expected presence, comp, count, area or rural_urban")
    return kind


def truth_class(record: ChatRecord, convention: str) -> str:
    """What the truth counts as, for the floor: its class or bin, or the text itself where it has none."""
    text = record.answer
    if convention == "original":
        return original_class(text, text, record) or text
    try:
        kind = question_type(record)
        number = int(text.rstrip("m2")) if kind == "area" else int(text) if kind == "count" else None
    except ValueError:
        return text
    return text.lower() if number is None else ("0", "1 to 100", "101 to 1000", "more than 1000")[_merged_bin(number)]


SENTENCES = {
    "original": "the original's classes (RSVQA's VocabEncoder.py): counts of LR and areas in bins up to 0, 10, 100, 1000 and "
    "above, counts of HR exactly",
    "internvl": "InternVL's script, its faults included: counts and areas in bins up to 0, 100, 1000 and above",
}
_MARKS: Mapping[str, Callable[[str | None, ChatRecord], bool]] = {"original": original_mark, "internvl": internvl_mark}


def score_rsvqa(answered: Sequence[Answered], options: Mapping[str, str]) -> Scores:
    """One share a type, then micro and macro without the numeric types (count, area) and with them (``_all``)."""
    convention = options.get("convention", "original")
    marks = [float(_MARKS[convention](each.answer, each.record)) for each in answered]
    types = [question_type(each.record) for each in answered]
    groups = [group_of(each.record) for each in answered]

    def over(chosen: Callable[[str], bool], macro: bool = False) -> Metric:
        rows = [row for row, kind in enumerate(types) if chosen(kind)]
        picked = [marks[row] for row in rows], [types[row] for row in rows], [groups[row] for row in rows]
        return mean_of_shares(*picked) if macro else share(picked[0], picked[2])

    metrics = {kind: over(kind.__eq__) for kind in sorted(set(types))}
    for end, chosen in (("", lambda kind: kind not in NUMERIC_TYPES), ("_all", lambda kind: True)):
        metrics |= {f"micro{end}": over(chosen), f"macro{end}": over(chosen, macro=True)}
    per_row = {each.record.id: mark for each, mark in zip(answered, marks, strict=True)}
    silent = sum(each.answer is None and mark == 1.0 for each, mark in zip(answered, marks, strict=True))
    details = _details([each.record for each in answered], convention) | {"right_without_an_answer": silent}
    in_headline = (each.record.id for each, kind in zip(answered, types, strict=True) if kind not in NUMERIC_TYPES)
    # A file of counts and areas alone has nothing in micro.
    headline, rows = ("micro", frozenset(in_headline)) if metrics["micro"].count else ("micro_all", None)
    sentence = f"{SENTENCES[convention]}; {details['headline']}"
    return Scores(metrics, sentence, per_row, details, headline, rows)


def _details(records: Sequence[ChatRecord], convention: str) -> dict[str, Any]:
    """The majority answer of each type and what it scores, and how counts were compared."""
    truths: dict[str, collections.Counter[str]] = {}
    for record in records:
        truths.setdefault(question_type(record), collections.Counter())[truth_class(record, convention)] += 1
    most = {kind: min(counts.items(), key=lambda item: (-item[1], item[0])) for kind, counts in sorted(truths.items())}
    counts_of_hr = sum(question_type(record) == "count" and record.source == HIGH_RESOLUTION for record in records)
    counts_of_all = sum(question_type(record) == "count" for record in records)
    exact = counts_of_hr if convention == "original" else 0
    return {
        "floor": _floor(truths, {kind: hits for kind, (_, hits) in most.items()}) | _question_only(records, convention),
        "majority_answer": {kind: answer for kind, (answer, _) in most.items()},
        "bins": list(BINS) if convention == "original" else ["0", "1 to 100", "101 to 1000", "more than 1000"],
        "counts_compared": {"binned": counts_of_all - exact, "exact": exact},
        "headline": "micro leaves count and area out; micro_all and macro_all hold every type",
    }


def _floor(truths: Mapping[str, collections.Counter[str]], hits: Mapping[str, int]) -> dict[str, float]:
    """The shares that always giving each type's most frequent answer reaches."""
    floor = {kind: hits[kind] / truths[kind].total() for kind in truths}
    for end, kinds in (("", [kind for kind in truths if kind not in NUMERIC_TYPES]), ("_all", list(truths))):
        if kinds:
            floor[f"micro{end}"] = sum(hits[kind] for kind in kinds) / sum(truths[kind].total() for kind in kinds)
            floor[f"macro{end}"] = sum(hits[kind] / truths[kind].total() for kind in kinds) / len(kinds)
    return floor


def _question_only(records: Sequence[ChatRecord], convention: str) -> dict[str, float]:
    """The shares that giving each question text its most frequent answer reaches, without the numeric types and with them."""
    parts = {"micro": [each for each in records if question_type(each) not in NUMERIC_TYPES], "micro_all": records}
    return {
        f"{name}_question_only": question_only(part, [truth_class(each, convention) for each in part])
        for name, part in parts.items()
        if part
    }


_LR_COUNTS = {"rural_urban": 100, "presence": 2955, "comp": 4002, "count": 2947}  # questions of LR's test set


def _on_lr(name: str, source: str, printed: str, rural_urban: float, presence: float, comp: float) -> dict[str, Any]:
    """A published row of LR's test set; ``printed`` says which average the paper prints. Both follow from the types."""
    shares = {"rural_urban": rural_urban, "presence": presence, "comp": comp}
    micro = sum(_LR_COUNTS[kind] * share for kind, share in shares.items()) / sum(_LR_COUNTS[kind] for kind in shares)
    averages = {"micro": micro, "macro": sum(shares.values()) / len(shares)}
    return _row(name, "RSVQA-LR test", source, f"without count; {printed} printed, the other recomputed", shares | averages)


def _on_hr(
    name: str, source: str, split: str, presence: float, comp: float, printed: str = "", average: float = 0.0
) -> dict[str, Any]:
    """A published row of an HR test set; macro follows from the types, micro stands only where it is printed."""
    shares = {"presence": presence, "comp": comp, "macro": (presence + comp) / 2}
    said = f"without count and area; {printed} printed" if printed else "without count and area; no average printed"
    return _row(name, f"RSVQA-HR {split}", source, said, shares | ({"micro": average} if printed == "micro" else {}))


def _row(name: str, set_: str, source: str, convention: str, percents: Mapping[str, float]) -> dict[str, Any]:
    shares = {key: round(value / 100, 4) for key, value in percents.items()}
    return {"name": name, "set": set_, "source": source, "convention": convention} | shares


_MINI, _PALIGEMMA = "arXiv 2410.16261", "arXiv 2407.07726"
_ORIGINAL_ALL = "original, count and area with it"
PUBLISHED = (
    _on_lr("RSVQA", "arXiv 2003.07333", "macro", 90.00, 87.46, 81.50),
    _on_lr("GeoChat", "arXiv 2311.15826", "micro", 94.00, 91.09, 90.33),
    _on_lr("SkyEyeGPT", "arXiv 2401.09712", "macro", 75.00, 88.93, 88.63),
    _on_lr("SkySenseGPT", "arXiv 2406.10100", "macro", 95.00, 91.07, 92.00),
    _on_lr("Bi-Modal", "Bazi et al., IEEE TGRS 2022", "macro", 92.66, 91.06, 91.16),
    _on_lr("RSGPT", "arXiv 2307.15266", "macro", 94.00, 91.17, 91.70),
    _on_lr("Mini-InternVL-4B, zero-shot", _MINI, "micro", 66.00, 64.64, 73.26),
    _on_lr("InternVL2-76B, zero-shot", _MINI, "micro", 61.00, 66.29, 79.61),
    _on_lr("Mini-InternVL-DA-1B", _MINI, "micro", 95.00, 81.39, 91.6),
    _on_lr("Mini-InternVL-DA-2B", _MINI, "micro", 93.00, 87.07, 91.85),
    _on_lr("Mini-InternVL-DA-4B", _MINI, "micro", 92.00, 85.69, 92.18),
    _row("PaliGemma 3B, 224 px", "RSVQA-LR test", _PALIGEMMA, "without count; macro printed", {"macro": 92.65}),
    _row("PaliGemma 3B, 448 px", "RSVQA-LR test", _PALIGEMMA, "without count; macro printed", {"macro": 93.11}),
    _row(
        "RSVQA", "RSVQA-LR test", "arXiv 2003.07333", _ORIGINAL_ALL,
        {"count": 67.01, "micro_all": 79.08, "macro_all": 81.49},
    ),
    _on_hr("RSVQA", "arXiv 2003.07333", "test", 90.43, 88.19),
    _on_hr("SkyEyeGPT", "arXiv 2401.09712", "test", 84.95, 85.63, "macro"),
    _on_hr("Mini-InternVL-4B, zero-shot", _MINI, "test", 62.42, 79.20, "micro", 71.72),
    _on_hr("InternVL2-76B, zero-shot", _MINI, "test", 60.79, 77.47, "micro", 70.04),
    _on_hr("Mini-InternVL-DA-1B", _MINI, "test", 92.24, 91.76, "micro", 91.98),
    _on_hr("Mini-InternVL-DA-2B", _MINI, "test", 92.33, 92.21, "micro", 92.27),
    _on_hr("Mini-InternVL-DA-4B", _MINI, "test", 92.42, 92.12, "micro", 92.25),
    _row("PaliGemma 3B", "RSVQA-HR test", _PALIGEMMA, "without count and area; macro printed", {"macro": 92.61}),
    _row("RSVQA", "RSVQA-HR test", "arXiv 2003.07333", _ORIGINAL_ALL, {"macro_all": 83.12}),
    _on_hr("RSVQA", "arXiv 2003.07333", "test_phili", 86.26, 85.94),
    _on_hr("GeoChat", "arXiv 2311.15826", "test_phili", 58.45, 83.19, "micro", 72.30),
    _on_hr("SkyEyeGPT", "arXiv 2401.09712", "test_phili", 83.50, 80.28, "macro"),
    _on_hr("Mini-InternVL-4B, zero-shot", _MINI, "test_phili", 65.73, 79.70, "micro", 73.55),
    _on_hr("InternVL2-76B, zero-shot", _MINI, "test_phili", 63.30, 78.32, "micro", 71.71),
    _on_hr("SkySenseGPT", "arXiv 2406.10100", "test_phili", 69.14, 84.14, "macro"),
    _on_hr("Mini-InternVL-DA-1B", _MINI, "test_phili", 89.38, 90.91, "micro", 90.24),
    _on_hr("Mini-InternVL-DA-2B", _MINI, "test_phili", 89.60, 90.86, "micro", 90.30),
    _on_hr("Mini-InternVL-DA-4B", _MINI, "test_phili", 89.25, 90.92, "micro", 90.18),
    _row("PaliGemma 3B", "RSVQA-HR test_phili", _PALIGEMMA, "without count and area; macro printed", {"macro": 90.58}),
    _row("RSVQA", "RSVQA-HR test_phili", "arXiv 2003.07333", _ORIGINAL_ALL, {"macro_all": 77.50}),
)  # fmt: skip

RSVQA = Benchmark(
    name="rsvqa",
    summary="RSVQA-LR and -HR: a share for each question type, micro and macro with and without numeric types",
    headline="micro",
    score=score_rsvqa,
    max_new_tokens=50,
    options=(Option("convention", "how counts, areas and spellings are compared", "original", ("original", "internvl")),),
    published=PUBLISHED,
)

_GEOCHAT = "GeoChat's: the folder's name, case, blanks and dots apart"  # batch_geochat_scene.py, github.com/mbzuai-oryx/GeoChat

RSCLASSIFY = Benchmark(
    name="rsclassify",
    summary="scene classification: accuracy, and the mean of the classes' recalls",
    headline="accuracy",
    score=score_classes,
    max_new_tokens=20,
    published=(
        {
            "name": "GeoChat, zero-shot",
            "set": "UC Merced",
            "source": "arXiv 2311.15826",
            "convention": _GEOCHAT,
            "accuracy": 0.8443,
        },
        {"name": "GeoChat, zero-shot", "set": "AID", "source": "arXiv 2311.15826", "convention": _GEOCHAT, "accuracy": 0.7203},
    ),
)

BENCHMARKS = (RSCLASSIFY, RSVQA)
