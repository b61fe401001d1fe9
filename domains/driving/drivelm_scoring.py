"""The benchmark of the DriveLM challenge: its gate, its five parts and its final score.

Source: github.com/OpenDriveLab/DriveLM (1de72a7) ``challenge/evaluation.py`` and ``gpt_eval.py``. Tags say how a question is
scored: 0 accuracy, 1 judge, 2 language, 3 match (and judge). The points of the truth that the answer to a frame's first
question hits open the later questions: one whose text names another point is left out, so two systems may be averaged over
different questions. Points are read as numbers with a decimal point; "12" is none.

All is scored in pixels of each camera's own picture. Defined here, where the official code stops: no answer is wrong, rated 0
and sent to no judge; a part without items is 0; of an odd number of numbers in a truth or a question the last is dropped.
"""

import collections
import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adapt.domain import Answered, Benchmark, Metric, Option, Scores
from adapt.endpoint import Endpoint
from adapt.errors import DataError, UsageError
from adapt.evaluate import captions
from adapt.evaluate.captions import Caption
from adapt.evaluate.judge import ask_all
from adapt.evaluate.metrics import Measure, of_sums
from adapt.evaluate.tokens import ptb_tokens
from domains.driving.drivelm import to_answer
from domains.driving.drivelm_official import CAMERA, read_official

ACCURACY, JUDGE, LANGUAGE, MATCH = 0, 1, 2, 3
NEAR_PX = 16
SMALL = 1e-8
WEIGHTS = {"gpt": 0.4, "language": 0.2, "match": 0.2, "accuracy": 0.2}
JUDGE_SYSTEM = "an evaluator who rates my answer based on the correct answer"
JUDGE_PROMPT = (
    "Rate my answer based on the correct answer out of 100, with higher scores indicating that the answer is closer to the "
    "correct answer, and you should be accurate to single digits like 62, 78, 41,etc. Output the number only"
)
_DECIMAL = re.compile(r"(?<!\d)\d++\.\d++")
_OF_HUNDRED = re.compile(r"(?<=\d)\s?(?:/|out of)\s?100\b")
_RATING = re.compile(r"(?<![\d.-])\d{1,3}(?:\.\d{1,9})?(?![\d.]*\d)")
# Columns of a row's marks: each with the number of items behind it at its right; the captions' columns follow.
_ACCURACY, _MATCH, _GPT, _MATCH_GPT, _CAPTIONS = 0, 2, 4, 6, 8
_COLUMNS = _CAPTIONS + captions.BLEU_COLUMNS + 3


@dataclasses.dataclass(frozen=True)
class Row:
    """A question in pixels of its cameras; ``answer`` is "" where there is none."""

    id: str
    frame: tuple[str, str]
    kind: str
    tags: frozenset[int]
    question: str
    truth: str
    answer: str


def points(text: str) -> tuple[list[tuple[float, float]], bool]:
    """The decimal numbers of a text by twos, and whether one was left over."""
    numbers = [float(found) for found in _DECIMAL.findall(text)]
    return list(zip(numbers[::2], numbers[1::2], strict=False)), len(numbers) % 2 == 1


def match(answer: str, truth: str) -> tuple[float, list[tuple[float, float]]]:
    """F1 of an answer's points, and the points of the truth that it hits.

    In the answer's order each takes the nearest point that is left, by the sum of both differences, where that is below 16.
    """
    left, hits = points(truth)[0], []
    said, expected = points(answer)[0], len(left)
    for x, y in said:
        distances = [abs(x - other[0]) + abs(y - other[1]) for other in left]
        nearest = min(range(len(left)), key=distances.__getitem__, default=None)
        if nearest is not None and distances[nearest] < NEAR_PX:
            hits.append(left.pop(nearest))
    precision, recall = len(hits) / (len(said) + SMALL), len(hits) / (expected + SMALL)
    return 2 * precision * recall / (precision + recall + SMALL), hits


def pass_gate(rows: Sequence[Row]) -> list[Row]:
    """The rows that are scored: of each frame the first, and those whose question names no point, or only hit ones."""
    hit: dict[tuple[str, str], list[tuple[float, float]]] = {}
    passed = []
    for row in rows:
        if row.frame not in hit:
            hit[row.frame] = match(row.answer, row.truth)[1]
            passed.append(row)
        elif all(point in hit[row.frame] for point in points(row.question)[0]):
            passed.append(row)
    return passed


def read_rows(answered: Sequence[Answered]) -> list[Row]:
    """The questions that the challenge asks, each frame's together and in the order of their ids' numbers."""
    frames: dict[tuple[str, str], list[Row]] = {}
    for each in answered:
        if row := _row(each):
            frames.setdefault(row.frame, []).append(row)
    return [row for rows in frames.values() for row in sorted(rows, key=_number)]


def _number(row: Row) -> int:
    tail = row.id.rpartition("_")[2]
    return int(tail) if tail.isdecimal() and len(tail) < 10 else 0


def _row(each: Answered) -> Row | None:
    """A row, or None where the challenge does not ask the question (it has no tag)."""
    meta, where = each.record.meta, f"row '{each.record.id}'"
    tags = meta.get("tag")
    if not isinstance(tags, list) or not all(type(tag) is int and 0 <= tag <= 3 for tag in tags):
        raise DataError(f"{where}: meta.tag is {str(tags)[:40]}, expected a list of numbers from 0 to 3")
    texts = [meta.get(key) for key in ("scene", "frame", "question_original", "answer_original")]
    if not all(isinstance(text, str) for text in texts):
        raise DataError(
            f"{where}: meta lacks scene, frame, question_original or answer_original; convert with "
            "'adapt convert --task drivelm'"
        )
    scene, frame, question, truth = map(str, texts)
    if not tags:
        return None
    if not truth.strip():
        raise DataError(f"{where}: the question has no published answer, so nothing can be scored; it is for a submission")
    answer = each.answer or ""
    if meta.get("coordinates") != CAMERA:
        answer = to_answer(answer, question)
    return Row(each.record.id, (scene, frame), str(meta.get("kind") or ""), frozenset(tags), question, truth, answer)


@dataclasses.dataclass(frozen=True)
class Judge:
    """``kind`` none, constant or url; ``text`` is the number, or the address."""

    kind: str
    text: str = ""
    model: str = ""
    cache: str = ""

    def rate(self, rows: Sequence[Row]) -> dict[str, float | None]:
        """A rating 0..100 by row id; None where the judge's reply holds no number from 0 to 100."""
        found: dict[str, float | None] = {row.id: 0.0 for row in rows}
        asked = [row for row in rows if row.answer.strip()]
        if self.kind == "constant":
            return found | {row.id: float(self.text) for row in asked}
        replies = ask_all(Endpoint(self.text, self.model), [_messages(row) for row in asked], Path(self.cache))
        return found | {row.id: read_rating(reply) for row, reply in zip(asked, replies, strict=True)}

    def describe(self) -> dict[str, Any]:
        """What stands in the scores of it."""
        if self.kind != "url":
            return {"kind": self.kind} | ({"rating": float(self.text)} if self.text else {})
        url = self.text.partition("?")[0]  # what stands behind it may be a key
        facts = {"kind": "endpoint", "url": url, "model": self.model, "temperature": 0, "cache": self.cache}
        return facts | {"system": JUDGE_SYSTEM, "prompt": JUDGE_PROMPT}


def _messages(row: Row) -> list[dict[str, str]]:
    asked = f"{JUDGE_PROMPT}This is the correct answer: {row.truth}This is my answer: {row.answer}"
    return [{"role": "system", "content": JUDGE_SYSTEM}, {"role": "user", "content": asked}]


def read_rating(reply: str) -> float | None:
    """The one number of a reply, 0 to 100 ("85", "85 out of 100"); None where there is none, or several."""
    found = _RATING.findall(_OF_HUNDRED.sub("", reply))
    value = float(found[0]) if len(found) == 1 else -1.0
    return value if 0 <= value <= 100 else None


def read_judge(options: Mapping[str, str]) -> Judge:
    """The judge of the options. Raises UsageError for one that is none."""
    text = options.get("judge", "none")
    if text == "none":
        return Judge("none")
    if not text.startswith("constant:"):
        if not any(mark in text for mark in ":/"):
            raise UsageError(f"option judge={text}: expected none, constant:50, or an address such as http://127.0.0.1:8000/v1")
        Endpoint(text, options.get("judge_model", ""))  # an address that is none is told here
        return Judge("url", text, options.get("judge_model", ""), options.get("judge_cache", ""))
    number = text.removeprefix("constant:")
    if not re.fullmatch(r"\d{1,3}(\.\d{1,9})?", number) or float(number) > 100:
        raise UsageError(f"option judge={text}: expected a rating from 0 to 100, such as constant:50")
    return Judge("constant", number)


def score_drivelm(answered: Sequence[Answered], options: Mapping[str, str]) -> Scores:
    """accuracy, match_f1, bleu_1 to bleu_4, rouge_l, cider, language, final_offline; with a judge gpt, match and final too."""
    judge = read_judge(options)
    rows = read_rows(answered)
    passed = pass_gate(rows)
    rated = {} if judge.kind == "none" else judge.rate([row for row in passed if row.tags & {JUDGE, MATCH}])
    marks_NC = _marks(passed, rated)
    metrics = _metrics(marks_NC, [row.frame for row in passed], has_judge=judge.kind != "none")
    details = _details(answered, rows, passed) | {
        "judge": judge.describe() | {"unread_replies": sum(rating is None for rating in rated.values())}
    }
    headline = "final" if judge.kind == "url" else None  # a constant judge tells nothing of the answers
    return Scores(metrics, _convention(judge), _per_row(passed, marks_NC), details, headline)


def _marks(rows: Sequence[Row], rated: Mapping[str, float | None]) -> np.ndarray:
    """float64[N, C]: what each row adds to each part, 0 where it is no item of it."""
    marks_NC = np.zeros((len(rows), _COLUMNS))
    for place, row in enumerate(rows):
        if ACCURACY in row.tags:
            marks_NC[place, _ACCURACY : _ACCURACY + 2] = row.answer == row.truth, 1
        if MATCH in row.tags:
            marks_NC[place, _MATCH : _MATCH + 2] = match(row.answer, row.truth)[0], 1
        rating = rated.get(row.id)
        for column, tag in ((_GPT, JUDGE), (_MATCH_GPT, MATCH)):
            if tag in row.tags and rating is not None:
                marks_NC[place, column : column + 2] = rating / 100, 1
    spoken = [place for place, row in enumerate(rows) if LANGUAGE in row.tags]
    texts = [Caption(ptb_tokens(rows[place].answer), (ptb_tokens(rows[place].truth),)) for place in spoken]
    marks_NC[spoken, _CAPTIONS:] = captions.caption_rows(texts).columns_NC
    return marks_NC


def _mean(column: int, sums_RC: np.ndarray) -> np.ndarray:
    return sums_RC[:, column] / np.maximum(sums_RC[:, column + 1], 1.0)


def _match(sums_RC: np.ndarray) -> np.ndarray:
    return (_mean(_MATCH, sums_RC) + _mean(_MATCH_GPT, sums_RC)) / 2


def _language(sums_RC: np.ndarray) -> np.ndarray:
    """A third each of the mean BLEU, ROUGE-L, and CIDEr over 10."""
    texts_RC = sums_RC[:, _CAPTIONS:]
    bleus = np.mean([captions.bleu(texts_RC, order) for order in captions.ORDERS], axis=0)
    return (bleus + captions.rouge_l(texts_RC) + captions.cider(texts_RC) / captions.MOST_CIDER) / 3


def _final(sums_RC: np.ndarray) -> np.ndarray:
    parts = {
        "gpt": _mean(_GPT, sums_RC), "language": _language(sums_RC), "match": _match(sums_RC),
        "accuracy": _mean(_ACCURACY, sums_RC),
    }  # fmt: skip
    return sum((WEIGHTS[name] * part for name, part in parts.items()), np.zeros(len(sums_RC)))


def _final_offline(sums_RC: np.ndarray) -> np.ndarray:
    """What needs no judge, in the proportions of the final score: a third each."""
    return (_mean(_ACCURACY, sums_RC) + _mean(_MATCH, sums_RC) + _language(sums_RC)) / 3


def _metrics(marks_NC: np.ndarray, frames: Sequence[tuple[str, str]], *, has_judge: bool) -> dict[str, Metric]:
    """Each part over its own items, the final scores over all; intervals by frame."""
    own: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
        "accuracy": (functools.partial(_mean, _ACCURACY), _ACCURACY),
        "match_f1": (functools.partial(_mean, _MATCH), _MATCH),
    }
    if has_judge:
        own |= {"gpt": (functools.partial(_mean, _GPT), _GPT), "match": (_match, _MATCH)}
    metrics: dict[str, Metric] = {}
    for name, (value, column) in own.items():
        items = np.flatnonzero(marks_NC[:, column + 1]).tolist()
        metrics |= of_sums(marks_NC[items], [frames[item] for item in items], {name: Measure(value, len(items))})
    items = np.flatnonzero(marks_NC[:, -1]).tolist()
    groups = [frames[item] for item in items]
    metrics |= captions.caption_metrics(captions.CaptionRows(marks_NC[items, _CAPTIONS:]), groups)
    metrics |= of_sums(marks_NC[items], groups, {"language": Measure(_language, len(items))})
    finals = {"final_offline": Measure(_final_offline, len(frames))}
    if has_judge:
        finals["final"] = Measure(_final, len(frames))
    return metrics | of_sums(marks_NC, frames, finals)


def _per_row(rows: Sequence[Row], marks_NC: np.ndarray) -> dict[str, float]:
    """The mean of the marks that a row has: exact, F1, rating (of match too), ROUGE-L. A row that is not scored has none."""
    rouge_l = _CAPTIONS + captions.BLEU_COLUMNS
    places = [(column, column + 1) for column in (_ACCURACY, _MATCH, _GPT, _MATCH_GPT)] + [(rouge_l, _COLUMNS - 1)]
    found = {}
    for row, marks_C in zip(rows, marks_NC, strict=True):
        marks = [float(marks_C[value]) for value, count in places if marks_C[count]]
        if marks:
            found[row.id] = sum(marks) / len(marks)
    return found


def _details(answered: Sequence[Answered], rows: Sequence[Row], passed: Sequence[Row]) -> dict[str, Any]:
    """Denominators, what was dropped, and the floor."""
    tags = {"accuracy": ACCURACY, "gpt": JUDGE, "language": LANGUAGE, "match": MATCH}
    scored = {}
    for name, tag in tags.items():
        num_all, num_scored = (sum(tag in row.tags for row in each) for each in (rows, passed))
        scored[name] = {"scored": num_scored, "of": num_all, "left_out_by_the_gate": num_all - num_scored}
    majority = _majority(rows)
    guessed = pass_gate([dataclasses.replace(row, answer=majority.get(row.kind, "")) for row in rows])
    exact = [row.answer == row.truth for row in guessed if ACCURACY in row.tags]
    return {
        "floor": {"accuracy": sum(exact) / len(exact)} if exact else {},
        "majority_answer": majority,
        "scored": scored,
        "questions": {"asked": len(answered), "of_the_challenge": len(rows), "without_a_tag": len(answered) - len(rows)},
        "truths_with_an_odd_number": sum(points(row.truth)[1] for row in rows if MATCH in row.tags),
    }


def _majority(rows: Sequence[Row]) -> dict[str, str]:
    """The most frequent answer to the accuracy questions of each kind; what it scores, gate and all, is the floor."""
    truths: dict[str, collections.Counter[str]] = {}
    for row in rows:
        if ACCURACY in row.tags:
            truths.setdefault(row.kind, collections.Counter())[row.truth] += 1
    return {kind: min(counts, key=lambda text: (-counts[text], text)) for kind, counts in sorted(truths.items())}


def _convention(judge: Judge) -> str:
    rule = "DriveLM challenge (evaluation.py at 1de72a7) in pixels of each camera; cider and bleu over the scored set"
    if judge.kind == "none":
        return f"{rule}; no judge: final_offline is a third each of accuracy, match_f1 and language, and no challenge score"
    rated = f"a constant judge of {judge.text}" if judge.kind == "constant" else f"judged by {judge.model}"
    return f"{rule}; {rated}: final is 0.4 gpt + 0.2 language + 0.2 match + 0.2 accuracy"


_SERVER = {
    "set": "v1.1 validation", "source": "arXiv 2410.16261",
    "convention": "the challenge's server, judged by gpt-3.5-turbo; answers not public",
}  # fmt: skip


def _published(
    name: str, accuracy: float, gpt: float, bleus: Sequence[float], rouge_l: float, cider: float, match: float, final: float
) -> dict[str, Any]:
    shares = {"accuracy": accuracy, "gpt": gpt / 100, "rouge_l": rouge_l, "cider": cider, "match": match / 100, "final": final}
    shares |= {f"bleu_{order}": bleu for order, bleu in zip(captions.ORDERS, bleus, strict=True)}
    return _SERVER | {"name": name} | {key: round(value, 4) for key, value in shares.items()}


DRIVELM = Benchmark(
    name="drivelm",
    summary="the DriveLM challenge: its gate, accuracy, match, language and judge; final_offline needs no judge",
    headline="final_offline",
    score=score_drivelm,
    max_new_tokens=200,
    options=(
        Option("judge", "who rates answers: none, constant:N, or the URL of an OpenAI-compatible endpoint", "none"),
        Option("judge_model", "the judge's model", "gpt-3.5-turbo"),
        Option("judge_cache", "what the judge replied: a file, else beside the predictions", "judge.jsonl", is_beside=True),
    ),
    published=(
        {
            "name": "PRCV 2024's winner",
            "set": "DriveLM of PRCV 2024",
            "source": "arXiv 2411.02999",
            "final": 0.6064,
            "convention": "the challenge's server, judged by gpt-3.5-turbo (unverified)",
        },
        _SERVER | {"name": "MTMM", "accuracy": 0.7473, "gpt": 0.6559, "final": 0.5974},
        _SERVER | {"name": "Team NVIDIA", "accuracy": 0.7746, "gpt": 0.5989, "final": 0.5884},
        _SERVER | {"name": "MMFM_AD", "accuracy": 0.6658, "gpt": 0.6392, "final": 0.5732},
        _published("InternVL4Drive-v2, 26B", 0.7339, 65.25, (0.7787, 0.7176, 0.6608, 0.6059), 0.7449, 0.2061, 47.65, 0.6002),
        _published("Mini-InternVL-4B, not adapted", 0, 54.45, (0.2405, 0.0801, 0.0252, 0.0084), 0.1927, 0.0018, 34.30, 0.3051),
        _published("InternVL2-76B, not adapted", 0, 52.50, (0.2100, 0.0884, 0.0249, 0.0078), 0.1848, 0.0001, 34.22, 0.2963),
        _published("Mini-InternVL-DA-1B", 0.7007, 63.84, (0.7362, 0.6767, 0.6214, 0.5678), 0.7365, 0.1669, 39.76, 0.5686),
        _published("Mini-InternVL-DA-2B", 0.7628, 65.23, (0.7616, 0.7012, 0.6452, 0.5908), 0.7447, 0.1914, 43.24, 0.5958),
        _published("Mini-InternVL-DA-4B", 0.7296, 63.97, (0.7642, 0.7032, 0.6463, 0.5914), 0.7427, 0.1976, 42.16, 0.5821),
    ),
    read_official=read_official,
    official_files="output.json or submission.json against test_eval.json",
)
