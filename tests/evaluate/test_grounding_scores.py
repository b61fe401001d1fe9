"""Boxes, counts and regions scored: InternVL's official results answer by answer, and cases counted by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from adapt.domain import Answered, Scores, find_benchmark
from adapt.errors import DataError, UsageError
from adapt.evaluate.box_answers import MOST_BOXES, read_any, read_internvl
from adapt.evaluate.counting import read_count
from adapt.evaluate.metrics import ratios, share
from adapt.evaluate.overlap import PLAIN, PLUS_ONE, overlaps, pair_boxes
from adapt.evaluate.paired import compare_headlines
from adapt.evaluate.score import score_answers
from adapt.records import ChatRecord, Turn

SIZE = (1000, 1000)  # so that the numbers of an answer are pixels
Box = tuple[float, float, float, float]


def record(number: int | str, answer: str, size: tuple[int, int] | None = SIZE, picture: str = "", **meta: Any) -> ChatRecord:
    turns = (Turn("human", "<image>\nDetect <ref>it</ref>"), Turn("gpt", answer))
    sizes = () if size is None else (size,)
    return ChatRecord(str(number), turns, (picture or f"{number}.png",), sizes, task="ground", meta=meta)


def expression(number: int | str, *boxes: Box, size: tuple[int, int] = SIZE, picture: str = "") -> ChatRecord:
    return record(number, "<box>[[0, 0, 1, 1]]</box>", size, picture, boxes_px=[list(box) for box in boxes])


def score(rows: Sequence[tuple[ChatRecord, str | None]], benchmark: str = "ground", convention: str = "original") -> Scores:
    return score_answers(find_benchmark(benchmark), [Answered(*row) for row in rows], {"convention": convention})


def golden(shared: Path) -> list[dict[str, Any]]:
    lines = (shared / "golden" / "metrics" / "grounding_internvl.jsonl").read_text().splitlines()
    assert len(lines) > 20
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("benchmark", ["rsground", "ground", "medground"])
def test_internvl_rule_equals_the_official_script(shared: Path, benchmark: str) -> None:
    """Each stored answer is right under ``internvl`` exactly where InternVL's script says so, and overlaps as it computes."""
    for number, row in enumerate(golden(shared)):
        truth = expression(number, row["gt_box"], size=tuple(row["image_size"]))
        scores = score([(truth, row["answer"])], benchmark, "internvl")
        assert scores.per_row[str(number)] == float(row["correct"]), row
        assert scores.metrics["mean_iou"].value == pytest.approx(row["iou_plus_one"] or 0.0, abs=1e-12), row


def test_plain_overlap_equals_the_stored_one(shared: Path) -> None:
    """The box that the script reads overlaps without the extra pixel as stored; an answer that it refuses has no box."""
    for row in golden(shared):
        read = read_internvl(row["answer"], tuple(row["image_size"]))
        assert (read.fault is None) == (row["iou_plain"] is not None), row
        if read.boxes:
            iou = overlaps([row["gt_box"]], [read.boxes[0].box_px], PLAIN).ious_TP[0, 0]
            assert iou == pytest.approx(row["iou_plain"], abs=1e-12), row


def test_original_rule_on_the_official_answers(shared: Path) -> None:
    """Where the script reads a box, ``original`` marks by its plain overlap, with half counting as a hit."""
    for number, row in enumerate(golden(shared)):
        if row["iou_plain"] is not None:
            truth = expression(number, row["gt_box"], size=tuple(row["image_size"]))
            scores = score([(truth, row["answer"])])
            assert scores.per_row[str(number)] == float(row["iou_plain"] >= 0.5), row


TRUTH = (100, 100, 200, 200)


@pytest.mark.parametrize(
    ("answer", "iou"),
    [
        ("<ref>it</ref><box>[[100, 100, 200, 200]]</box>", 1),
        ("[100, 100, 200, 200]", 1),  # single brackets, which InternVL's script refuses
        ("<box>(100,100),(200,200)</box>", 1),
        ("It is at [0.1, 0.1, 0.2, 0.2].", 1),
        ("<box>[[100, 100, 200, 200], [300, 300, 400, 400]]</box>", 1),  # the first box counts
        ("<box>[[300, 300, 400, 400], [100, 100, 200, 200]]</box>", 0),
        ("<box>[[100, 100, 150, 200]]</box>", 0.5),
        ("<box>[[150, 100, 250, 200]]</box>", 1 / 3),  # 50 x 100 of 150 x 100
        ("<box>[[100, 100, 200, 190]]</box>", 0.9),
        ("<box>[[0, 0, 1000, 1000]]</box>", 0.01),
        ("<box>[[200, 200, 300, 300]]</box>", 0),  # a corner touches
        ("<box>[[200, 200, 100, 100]]</box>", 0),
        ("<box>[[100, 100, 200]]</box>", 0),
        ("<box>[[nan, 100, 200, 200]]</box>", 0),
        ("there", 0),
        ("", 0),
        (None, 0),
        ("[" * 50_000, 0),
        ("<box>[[1, 1, 2, 2]]</box>" * 5_000, 0),
    ],
)
def test_one_box_by_hand(answer: str | None, iou: float) -> None:
    """Plain overlap of the first box in any spelling; each threshold is reached from its value on; what is no box is wrong."""
    metrics = score([(expression(0, TRUTH), answer)]).metrics
    assert metrics["mean_iou"].value == metrics["cum_iou"].value == pytest.approx(iou)
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9):
        assert metrics[f"acc@{threshold}"].value == float(iou >= threshold)


def test_one_pixel_more_and_strictly_above() -> None:
    """9 of 19 pixels a side: 0.47 plainly is 10 of 20 with one more, just 0.5, which is no hit above 0.5 but one from it on."""
    assert overlaps([(0, 0, 19, 0)], [(0, 0, 9, 0)], PLUS_ONE).ious_TP[0, 0] == 0.5
    assert not PLUS_ONE.is_hit(0.5, 0.5) and PLAIN.is_hit(0.5, 0.5)
    truth, answer = expression(0, (0, 0, 19, 19)), "<box>[[0, 0, 9, 19]]</box>"
    assert score([(truth, answer)], convention="internvl").per_row == {"0": 0.0}
    assert score([(truth, answer)]).metrics["mean_iou"].value == pytest.approx(9 / 19)


def test_boxes_are_kept_inside_the_picture() -> None:
    """What reaches beyond the picture is cut off, in a picture of any size; the truth is taken as it is."""
    truth = expression(0, (0, 0, 400, 150), size=(400, 300))
    assert score([(truth, "<box>[[-200, 0, 1500, 500]]</box>")]).metrics["mean_iou"].value == 1.0
    reading = score([(truth, "<box>[[-200, 0, 1500, 500]]</box>")]).details["reading"]
    assert reading == {"box_beyond_the_picture": 1}


def test_means_and_sums_by_hand() -> None:
    """Three expressions of 1, 1/2 and no overlap: mean 1/2; cumulative (10,000 + 5,000) / (10,000 + 10,000 + 400)."""
    rows = [
        (expression(0, TRUTH), "<box>[[100, 100, 200, 200]]</box>"),
        (expression(1, TRUTH), "<box>[[100, 100, 150, 200]]</box>"),
        (expression(2, (0, 0, 20, 20)), "I see nothing"),
    ]
    metrics = score(rows, "rsground").metrics
    assert metrics["mean_iou"].value == pytest.approx(0.5)
    assert metrics["cum_iou"].value == pytest.approx(15_000 / 20_400)
    assert [metrics[f"acc@{threshold}"].value for threshold in (0.5, 0.6)] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    assert list(metrics) == ["acc@0.5", "acc@0.6", "acc@0.7", "acc@0.8", "acc@0.9", "mean_iou", "cum_iou"]
    assert {metric.count for metric in metrics.values()} == {3}
    assert all(metric.low <= metric.value <= metric.high for metric in metrics.values())


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("[100,100,200,200]", "single_brackets"),
        ("[[100,100,200,200],[1,1,2,2]]", "not_json"),
        ("[see [here], a, b] [[100,100,200,200]]", "not_json"),
        ("[[100,100,200,200,300]]", "not_four_numbers"),
        ("[[[100,100,200,200]]]", "not_four_numbers"),
        ('[["1","2","3","4"]]', "not_four_numbers"),
        ("[[1" + "0" * 400 + ",1,1,1]]", "not_four_numbers"),
        ("[[100,100,200]]", "no_box"),
        ("[[100,100,\n200,200]]", "no_box"),
        ("[" * 100_000, "no_box"),
        ("[," * 50_000, "no_box"),
        (" \n", "empty"),
        (None, "none"),
        ("a,b,c] [[1,2,3,4]]", None),
        ("first line [\nsecond [[1,2,3,4]]", None),
    ],
)
def test_what_internvl_refuses(answer: str | None, fault: str | None) -> None:
    """Its pattern takes the first brackets of a line with three commas; what JSON or four numbers it is not has its reason."""
    assert read_internvl(answer, SIZE).fault == fault
    scores = score([(expression(0, TRUTH), answer)], convention="internvl")
    assert scores.per_row == {"0": 0.0}
    assert scores.details["reading"] == ({} if fault is None else {fault: 1})


SHIPS = ((0, 0, 100, 100), (200, 0, 300, 100), (400, 0, 500, 100))


def boxes(*given: Box) -> str:
    return "<ref>ship</ref><box>[" + ", ".join(str(list(box)) for box in given) + "]</box>"


@pytest.mark.parametrize(
    ("answer", "right", "matched", "named", "mean_iou"),
    [
        (boxes(*SHIPS), 1, 3, 3, 1),
        (boxes(*reversed(SHIPS)), 1, 3, 3, 1),
        (boxes(*SHIPS[:2]), 0, 2, 2, 2 / 3),
        (boxes(*SHIPS, (600, 0, 700, 100)), 0, 3, 4, 3 / 4),
        (boxes(SHIPS[0], SHIPS[0], SHIPS[0]), 0, 1, 3, 1 / 3),  # one true box serves one named one
        (boxes((0, 0, 50, 100), *SHIPS[1:]), 1, 3, 3, 2.5 / 3),
        (boxes((0, 0, 40, 100), *SHIPS[1:]), 0, 2, 3, 2.4 / 3),
        ("none", 0, 0, 0, 0),
        (None, 0, 0, 0, 0),
    ],
)
def test_several_boxes_by_hand(answer: str | None, right: int, matched: int, named: int, mean_iou: float) -> None:
    """Three ships: right where each has its own box and no more are named; precision, recall and F1 from the same pairs."""
    scores = score([(expression(0, *SHIPS), answer)])
    assert scores.per_row == {"0": right}
    metrics = {name: metric.value for name, metric in scores.metrics.items()}
    assert metrics["acc@0.5"] == right
    assert metrics["mean_iou"] == pytest.approx(mean_iou)
    assert metrics["precision@0.5"] == pytest.approx(matched / named if named else 0)
    assert metrics["recall@0.5"] == pytest.approx(matched / 3)
    assert metrics["f1@0.5"] == pytest.approx(2 * matched / (named + 3))
    assert scores.details["boxes"] == {"true": 3, "named": named, "matched@0.5": matched}


def test_the_largest_overlap_is_paired_first() -> None:
    """A box over both halves of a row goes to the half that it covers more, and the other half stays free for its own."""
    found = overlaps([(0, 0, 10, 10), (10, 0, 20, 10)], [(4, 0, 20, 10), (0, 0, 12, 10)], PLAIN)
    assert pair_boxes(found.ious_TP) == [(0, 1), (1, 0)]
    assert pair_boxes(overlaps([], [(0, 0, 1, 1)], PLAIN).ious_TP) == []


@pytest.mark.parametrize(
    ("answer", "mark"),
    [
        ("There is no ship in the picture.", 1),
        ("No.", 1),
        (boxes((0, 0, 100, 100)), 0),
        ("<box>[[0, 0, 100]]</box>", 0),  # it names something, though nobody can read where
        ("", 0),
        (None, 0),
    ],
)
def test_absent_objects_by_hand(answer: str | None, mark: int) -> None:
    """A row without a true box is right where the answer has words and names no box."""
    scores = score([(expression(0), answer), (expression(1, TRUTH), "<box>[[100, 100, 200, 200]]</box>")])
    assert scores.per_row == {"0": mark, "1": 1}
    assert scores.metrics["absent_accuracy"].value == mark and scores.metrics["absent_accuracy"].count == 1
    assert scores.metrics["acc@0.5"].value == scores.metrics["mean_iou"].value == (1 + mark) / 2
    assert "absent" in scores.convention


def dense(answer_names: list[str]) -> ChatRecord:
    return record(
        0, "<ref>a</ref><box>[[0, 0, 1, 1]]</box>", kind="detect", names=answer_names, boxes_px=list(map(list, SHIPS))
    )


def test_dense_detection_by_hand() -> None:
    """Named boxes count for objects of their own name: two of three right, F1 of the row 2 x 2 / (3 + 3)."""
    first, second, third = (str(list(box)) for box in SHIPS)
    answer = f"<ref>Ship</ref><box>[{first}, {second}]</box>\n<ref>plane</ref><box>[{third}]</box>"
    scores = score([(dense(["ship", "plane", "plane"]), answer)])
    assert scores.headline == "f1@0.5"
    assert scores.metrics["f1@0.5"].value == scores.per_row["0"] == pytest.approx(2 / 3)
    assert scores.metrics["acc@0.5"].value == 0.0
    assert score([(dense(["ship", "ship", "plane"]), answer)]).metrics["acc@0.5"].value == 1.0


def test_kinds_of_one_file_stand_apart() -> None:
    """Where a file asks both, details have the metrics of each; the headline is that of the expressions."""
    ground = expression(1, TRUTH)
    scores = score([(dense(["ship"] * 3), boxes(*SHIPS)), (ground, "nowhere")])
    assert scores.headline == "acc@0.5" and scores.metrics["acc@0.5"].value == 0.5
    assert scores.details["by_kind"]["detect"]["acc@0.5"]["value"] == 1.0
    assert scores.details["by_kind"]["ground"]["acc@0.5"]["value"] == 0.0
    assert scores.details["rows"] == {"detect": 1, "ground": 1}


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        ("3", 3), ("3.", 3), (" 3\n", 3), ("There are 3 ships.", 3), ("three", 3), ("Zero.", 0), ("-3", None), ("3.0", None),
        ("3 or 4", None), ("1,000", None), ("²", None), ("9" * 5000, None), ("many", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_reading_a_count(answer: str | None, count: int | None) -> None:
    """One whole number in digits, or a number word alone."""
    assert read_count(answer) == count


def test_counts_by_hand() -> None:
    """Truths 3, 3, 5, 0: two exact; errors 0, 1, 5 (no number counts as 0) and 0, on average 1.5. Always 3 errs by 1.25."""
    rows = [(record(n, truth, kind="count", label=truth), None) for n, truth in enumerate(["3", "3", "5", "0"])]
    scores = score([(row, answer) for (row, _), answer in zip(rows, ["3", "4", "some", "0"], strict=True)])
    assert scores.headline == "count_accuracy"
    assert (scores.metrics["count_accuracy"].value, scores.metrics["count_mae"].value) == (0.5, 1.5)
    assert scores.details["answers_without_a_number"] == 1
    floor = {"count_accuracy": 0.5, "count_accuracy_question_only": 0.5, "count_mae": 1.25}
    assert scores.details["floor"] == floor
    assert scores.per_row == {"0": 1, "1": 0, "2": 0, "3": 1}


@pytest.mark.parametrize(
    ("answer", "mark"),
    [
        ("<ref>red blood cell</ref><box>[[100, 100, 200, 200]]</box>", 1),
        ("<ref>red blood cell</ref><box>[[700, 700, 900, 900]]</box>", 1),  # the place was given, the name is asked for
        ("Red blood cell.", 1),
        ("white blood cell", 0),
        ("cell", 0),
        ("<box>[[100, 100, 200, 200]]</box>", 0),
        ("", 0),
        (None, 0),
    ],
)
def test_regions_by_their_name(answer: str | None, mark: int) -> None:
    """A region's row is scored by the exact name, with or without its box, and not by the box."""
    names = ["red blood cell", "white blood cell"]
    row = record(0, "x", kind="name", form="coordinates", boxes_px=[list(TRUTH)], label=names[0], candidates=names)
    scores = score([(row, answer)], "medground")
    assert scores.per_row == {"0": mark}
    assert list(scores.metrics) == ["region_accuracy"] and scores.headline == "region_accuracy"
    assert scores.details["floor"] == {"region_accuracy": 1.0}


@pytest.mark.parametrize(("answer", "mark"), [("storage tanks", 1), ("StorageTanks", 1), ("ship", 0)])
def test_regions_whose_label_is_spelled_otherwise(answer: str, mark: int) -> None:
    """The set's own spelling of a class is the candidate's: 'storage tanks' is right where the label is StorageTanks."""
    row = record(
        0, "x", kind="name", form="drawn", boxes_px=[list(TRUTH)], label="StorageTanks", candidates=["ship", "storage tanks"]
    )
    assert score([(row, answer)]).per_row == {"0": mark}


def test_floors_need_no_picture() -> None:
    """The whole picture hits what fills it, the mean of the true boxes what lies around the middle: each counted by hand."""
    large, corner = (0, 0, 1000, 600), (0, 0, 200, 200)
    floor = score([(expression(0, large), None), (expression(1, corner), None)]).details["floor"]
    assert (floor["acc@0.5"], floor["acc@0.6"], floor["acc@0.7"]) == (0.5, 0.5, 0.0)
    assert floor["mean_iou"] == pytest.approx((0.6 + 0.04) / 2)
    assert floor["cum_iou"] == pytest.approx((600_000 + 40_000) / 2_000_000)
    mean = 600 * 400  # the mean box is (0, 0, 600, 400)
    assert floor["mean_iou_mean_box"] == pytest.approx((mean / 600_000 + 40_000 / mean) / 2)
    assert floor["acc@0.5_mean_box"] == 0.0


def test_floors_are_scores() -> None:
    """Answering with the whole picture scores what the floor says, metric by metric."""
    rows = [expression(0, SHIPS[0]), expression(1, *SHIPS), expression(2), expression(3, (0, 0, 900, 900))]
    scores = score([(row, "<box>[[0, 0, 1000, 1000]]</box>") for row in rows])
    floor = scores.details["floor"]
    for name, metric in scores.metrics.items():
        if name != "absent_accuracy":
            assert metric.value == pytest.approx(floor[name]), name
    assert floor["acc@0.5_no_box"] == 0.25 and floor["absent_accuracy"] == 1.0


def test_hits_by_size() -> None:
    """Boxes of 31, 95 and 97 pixels a side are small, medium and large, as COCO divides areas."""
    rows = [(expression(n, (0, 0, side, side)), boxes((0, 0, side, side))) for n, side in enumerate([31, 95, 97, 97])]
    rows[-1] = (rows[-1][0], "gone")
    by_size = score(rows).details["by_size"]
    assert by_size["small"] == by_size["medium"] == {"acc@0.5": 1.0, "count": 1}
    assert by_size["large"] == {"acc@0.5": 0.5, "count": 2}


def test_answers_that_repeat_themselves() -> None:
    """Boxes beyond the limit are not compared and count as too many."""
    read = read_any("<box>[[0, 0, 100, 100]]</box>" * (MOST_BOXES + 5), SIZE)
    assert (len(read.boxes), read.num_named) == (MOST_BOXES, MOST_BOXES + 5)
    scores = score([(expression(0, *SHIPS), "<box>[[0, 0, 100, 100]]</box>" * (MOST_BOXES + 5))])
    assert scores.metrics["precision@0.5"].value == pytest.approx(1 / (MOST_BOXES + 5))
    assert scores.details["reading"]["boxes_left_out"] == 5
    crowd = [(number, 0, number + 1, 9) for number in range(MOST_BOXES + 1)]
    everyone = score([(expression(0, *crowd, size=(2000, 2000)), boxes(*((x / 2, 0, (x + 1) / 2, 4.5) for x, *_ in crowd)))])
    assert everyone.per_row == {"0": 1.0}  # as many as are true are always compared


def test_rows_of_another_tool() -> None:
    """Without meta the boxes of the answer's text are the truth; what asks for no box is left out and counted."""
    turns = (Turn("human", "<image>\nWhat is it?"), Turn("gpt", "a ship"))
    words = ChatRecord("w", turns, ("w.png",), (SIZE,), task="chat")
    scores = score([(record(0, boxes(TRUTH)), boxes(TRUTH)), (words, "a ship")])
    assert scores.metrics["acc@0.5"].value == 1.0 and scores.metrics["acc@0.5"].count == 1
    assert scores.details["not_scored"] == {"chat": 1} and "w" not in scores.per_row
    with pytest.raises(DataError, match="row 'w' and all others ask neither for boxes"):
        score([(words, "a ship")])


def test_turned_boxes_are_said_to_be_upright() -> None:
    """Rows that keep the corners of turned boxes are scored by the upright ones, and the convention says so."""
    row = record(0, boxes(TRUTH), boxes_px=[list(TRUTH)], polygons_px=[[[100, 150], [150, 100], [200, 150], [150, 200]]])
    scores = score([(row, boxes(TRUTH))])
    assert scores.per_row == {"0": 1.0} and "turned boxes: by the upright box" in scores.convention
    assert "turned" not in score([(expression(0, TRUTH), "x")]).convention


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (record("r7", "x", boxes_px=[[1, 2, 3]]), "row 'r7': meta.boxes_px is .*expected a list of"),
        (record("r7", "x", boxes_px=[[1, 2, 3, float("nan")]]), "row 'r7': meta.boxes_px"),
        (record("r7", "x", None, boxes_px=[list(TRUTH)]), "row 'r7': 0 picture sizes, expected one"),
        (record("r7", "many", kind="count", label="many"), "row 'r7': the count is 'many', expected a whole number"),
    ],
)
def test_a_damaged_truth_is_named(row: ChatRecord, said: str) -> None:
    """A reference that cannot be scored is one line with its id."""
    with pytest.raises(DataError, match=said):
        score([(row, "x")])


def test_only_two_conventions() -> None:
    """Another convention is wrong usage; each names its rule."""
    with pytest.raises(UsageError, match="original, internvl"):
        score([(expression(0, TRUTH), "x")], convention="refcoco")
    assert ">=" in score([(expression(0, TRUTH), "x")]).convention
    assert "one pixel more" in score([(expression(0, TRUTH), "x")], convention="internvl").convention


def test_the_headline_of_several_kinds_is_compared_on_its_rows() -> None:
    """Expressions beside counts: two runs are compared on the expressions alone, whose share the headline is."""
    counts = [record(f"c{n}", "3", kind="count") for n in range(3)]
    rows = [expression("a", TRUTH), expression("b", TRUTH), *counts]
    hit = "[[100, 100, 200, 200]]"
    answers = [hit, hit, "3", "3", "1"], [hit, "", "1", "1", "1"]
    first, second = (score(list(zip(rows, each, strict=True))) for each in answers)
    found = compare_headlines("acc@0.5", first, second, [Answered(row, None) for row in rows])
    assert (found["difference"], found["count"]) == (0.5, 2)


def test_detection_without_names_has_a_headline() -> None:
    """Rows of another tool with one box each and no names: the headline is a metric that there is."""
    turns = (Turn("human", "<image>\nDetect all"), Turn("gpt", "[[100, 100, 200, 200]]"))
    row = ChatRecord("d", turns, ("d.png",), (SIZE,), task="detect", meta={"boxes_px": [list(TRUTH)]})
    scores = score([(row, row.answer)])
    assert scores.headline is not None and scores.metrics[scores.headline].value == 1.0


def test_ratios_are_shares_where_every_row_counts_one() -> None:
    """With ones below the line value and interval are those of a share; one picture alone says nothing of the spread."""
    marks, groups = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0], ["a", "a", "b", "c", "c", "d"]
    assert ratios({"acc": (marks, [1.0] * 6)}, groups)["acc"] == share(marks, groups)
    alone = ratios({"mae": ([4.0, 2.0], [1.0, 1.0]), "none": ([0.0, 0.0], [0.0, 0.0])}, ["a", "a"])
    assert (alone["mae"].value, alone["mae"].low, alone["mae"].high) == (3.0, 0.0, 3.0)
    assert (alone["none"].value, alone["none"].high) == (0.0, 1.0)
