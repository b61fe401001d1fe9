"""From native boxes to a score: what convert writes for grounding, detection, counting and regions, the benchmarks read."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import adapt
from adapt.errors import DataError
from adapt.records import ChatRecord
from adapt.verbs import convert, score

KINDS = {"ground": "acc@0.5", "detect": "f1@0.5", "count": "count_accuracy"}


def write_coco(folder: Path) -> Path:
    """Two pictures of 400x200: two ships and a plane; one ship."""
    boxes = [(1, 1, [0, 0, 100, 50]), (1, 1, [200, 0, 100, 50]), (1, 2, [0, 100, 40, 40]), (2, 1, [10, 10, 60, 60])]
    document = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 400, "height": 200} for number in (1, 2)],
        "categories": [{"id": 1, "name": "ship"}, {"id": 2, "name": "plane"}],
        "annotations": [
            {"id": number, "image_id": image, "category_id": name, "bbox": box, "area": 1, "iscrowd": 0}
            for number, (image, name, box) in enumerate(boxes)
        ],
    }
    for number in (1, 2):
        Image.new("RGB", (400, 200)).save(folder / f"{number}.png")
    (folder / "boxes.json").write_text(json.dumps(document))
    return folder / "boxes.json"


def scored(
    folder: Path, records: Sequence[ChatRecord], answer: Callable[[ChatRecord], Any], benchmark: str = "ground", **more: Any
) -> dict[str, Any]:
    predictions = folder / "predictions.jsonl"
    predictions.write_text("".join(json.dumps({"id": each.id, "answer": answer(each)}) + "\n" for each in records))
    return score(benchmark=benchmark, predictions=predictions, references=folder / "out.jsonl", **more)


@pytest.mark.parametrize("task", KINDS)
def test_what_convert_writes_is_scored(tmp_path: Path, task: str) -> None:
    """Truth as the answer scores 1 in every metric, no answer scores 0, and the headline is that of the task."""
    option = ["format=coco"] + ([] if task == "detect" else ["absent=1"])
    convert(task=task, input=write_coco(tmp_path), output=tmp_path / "out.jsonl", option=option)
    records = adapt.read_records(tmp_path / "out.jsonl")
    best, worst = (scored(tmp_path, records, say) for say in (lambda record: record.answer, lambda record: None))
    assert best["headline"] == worst["headline"] == KINDS[task]
    shares = [name for name in best["metrics"] if name not in ("count_mae", "mean_iou", "cum_iou")]
    assert {best["metrics"][name]["value"] for name in shares} == {1.0}
    assert {worst["metrics"][name]["value"] for name in shares} == {0.0}
    assert set(best["floor"]) >= {KINDS[task]} and worst["details"]["answers"]["none"] == len(records)


def test_absent_classes_of_a_converted_set(tmp_path: Path) -> None:
    """The second picture shows no plane: asked for it, naming none is right and naming one is wrong."""
    convert(task="ground", input=write_coco(tmp_path), output=tmp_path / "out.jsonl", option=["format=coco", "absent=1"])
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert [len(record.meta["boxes_px"]) for record in records] == [1, 2, 1, 0]
    silent = scored(tmp_path, records, lambda record: "I see none.")
    assert silent["metrics"]["absent_accuracy"] == {"value": 1.0, "count": 1, "low": 0.0, "high": 1.0}
    assert silent["metrics"]["acc@0.5"]["value"] == silent["floor"]["acc@0.5_no_box"] == 0.25
    assert scored(tmp_path, records, lambda record: "[[0, 0, 9, 9]]")["metrics"]["absent_accuracy"]["value"] == 0.0


def test_expressions_of_aerial_pictures(tmp_path: Path) -> None:
    """rsground on InternVL's own test file: one box an expression, seven metrics, single brackets right in one rule only."""
    Image.new("RGB", (800, 800)).save(tmp_path / "1.jpg")
    rows = [
        {"image": "1.jpg", "prompt": f"<ref>ship {number}</ref>", "bbox": [80, 80, 160, 160], "size": [800, 800]}
        for number in range(4)
    ]
    (tmp_path / "dior_rsvg_test.json").write_text(json.dumps(rows))
    convert(task="rsground", input=tmp_path / "dior_rsvg_test.json", output=tmp_path / "out.jsonl")
    records = adapt.read_records(tmp_path / "out.jsonl")
    answers = [
        "<box>[[100, 100, 200, 200]]</box>",
        "[100, 100, 200, 200]",
        "[[100, 100, 200, 200], [1, 1, 2, 2]]",
        "[[1, 2, 3]]",
    ]
    by_id = {record.id: answer for record, answer in zip(records, answers, strict=True)}
    values = {
        convention: scored(
            tmp_path, records, lambda record: by_id[record.id], "rsground", option=f"convention={convention}"
        )["metrics"]
        for convention in ("original", "internvl")
    }  # fmt: skip
    assert values["original"]["acc@0.5"]["value"] == 0.75 and values["internvl"]["acc@0.5"]["value"] == 0.25
    assert len(values["original"]) == 7


def test_blood_cells_kind_by_kind(shared: Path, tmp_path: Path) -> None:
    """On pictures of BCCD: boxes, counts and names are scored apart; truth is right in all, and always 'red blood cell' as
    often as its floor says."""
    root = shared / "data" / "bccd_voc" / "BCCD"
    kinds = ["kinds=ground,count,detect,region"]
    convert(task="medground", input=root, output=tmp_path / "out.jsonl", option=kinds, limit=30, split="train")
    records = adapt.read_records(tmp_path / "out.jsonl")
    best = scored(tmp_path, records, lambda record: record.answer, "medground", split="train")
    names = ("acc@0.5", "precision@0.5", "recall@0.5", "f1@0.5", "count_accuracy", "region_accuracy")
    assert best["headline"] == "acc@0.5" and {best["metrics"][name]["value"] for name in names} == {1.0}
    assert sum(best["details"]["rows"].values()) == len(records) and set(best["details"]["by_kind"]) == {"detect", "ground"}
    red = scored(tmp_path, records, lambda record: "red blood cell", "medground", split="train")
    assert red["metrics"]["region_accuracy"]["value"] == pytest.approx(red["floor"]["region_accuracy"])
    assert red["metrics"]["acc@0.5"]["value"] == red["metrics"]["count_accuracy"]["value"] == 0.0


def test_rows_that_ask_for_no_place(tmp_path: Path) -> None:
    """Questions with words for answers are refused with what was expected, not scored as zero."""
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "yes"}]
    (tmp_path / "out.jsonl").write_text(json.dumps({"id": "a", "conversations": turns}) + "\n")
    with pytest.raises(DataError, match="row 'a' and all others ask neither for boxes nor for a number; expected rows with"):
        scored(tmp_path, adapt.read_records(tmp_path / "out.jsonl"), lambda record: "yes")
