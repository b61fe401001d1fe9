"""Every real set is read whole: what is read is converted or rejected, with the counts of the set's own description."""

import json
from pathlib import Path

import pytest

from adapt.errors import DataError
from adapt.records import iterate_records
from adapt.show import counted
from adapt.verbs import convert

# folder -> task, input below it, options, samples, records
SETS = {
    "bccd_voc": ("medground", "BCCD", {}, 364, None),
    "coco_panoptic_sample": ("region", "sample_data/panoptic_examples.json", {"form": "drawn", "mark": "mask"}, 47, 47),
    "configilm_mock COCO-QA": ("cocoqa", "COCO-QA", {}, 20, 20),
    "configilm_mock RSVQA-HR": ("rsvqa", "RSVQA-HR", {}, 1201, 1201),
    "configilm_mock RSVQA-LR": ("rsvqa", "RSVQA-LR", {}, 1200, 1200),
    "deepforest_aerial_boxes voc": ("detect", ".", {"format": "voc"}, 3, 3),
    "deepforest_aerial_boxes csv": ("detect", "2019_BLAN_3_751000_4330000_image_crop_bbox.csv", {"format": "csv"}, 1, 1),
    "drivelm_sample": ("drivelm", "data/train_sample.json", {}, 790, 790),
    "medmnist_pneumonia": ("medmnist", ".", {}, 5030, 5030),
    "vqa_rad": ("vqarad", ".", {}, 3515, 3515),
}
IMAGES = {  # where they do not lie beside the input
    "coco_panoptic_sample": "sample_data/input_images",
}
BARE = {
    "slake_json": ("slake", "Slake1.0", 14028),
    "deepforest_aerial_boxes": ("detect", "coco_sample_file.json", 2),
    "bdd100k_labels": ("bdd", "tests/label/testcases/example_annotation.json", 1),
    "bdd100k_labels panseg": ("bdd", "tests/label/testcases/panseg_bdd100k/panseg_bdd100k.json", 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SETS))
def test_every_row_of_a_real_set_is_converted(name: str, shared: Path, tmp_path: Path) -> None:
    """No sample is rejected, and every record can be read back."""
    task, below, options, read, records = SETS[name]
    folder = shared / "data" / name.split()[0]
    images = folder / IMAGES[name] if name in IMAGES else None
    counts = convert(task=task, input=folder / below, images=images, output=tmp_path / "rows.jsonl", option=options)["counts"]
    assert counts["rejected"] == 0 and counts["read"] == counts["converted"] > 0
    assert read in (None, counts["read"]) and records in (None, counts["records"])
    assert sum(1 for _ in iterate_records(tmp_path / "rows.jsonl")) == counts["records"]


@pytest.mark.parametrize("name", sorted(BARE))
def test_labels_without_pictures_are_rejected_by_name(name: str, shared: Path, tmp_path: Path) -> None:
    """Every sample is listed with the picture that it misses, and nothing is written. (They convert: tests of their tasks.)"""
    task, below, read = BARE[name]
    with pytest.raises(DataError, match=f"{read:,} of {counted(read, 'sample')} rejected"):
        convert(task=task, input=shared / "data" / name.split()[0] / below, output=tmp_path / "rows.jsonl", workers=0)
    rejected = [json.loads(line) for line in (tmp_path / "rows.rejected.jsonl").read_text().splitlines()]
    assert len(rejected) == read and all("no such file" in row["reason"] for row in rejected)
    assert not (tmp_path / "rows.jsonl").exists()
