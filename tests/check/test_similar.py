"""Leaks by content and by looks: copies that were saved again are found, and different pictures are not taken for one."""

import io
import json
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from adapt.check.similar import are_similar, look_of
from adapt.verbs.check import check


def test_the_203_shared_pictures_of_vqa_rad(shared: Path, tmp_path: Path) -> None:
    """The 203 pictures that VQA-RAD's training and test questions share are each found once, by their bytes under any name."""
    folder = shared / "data/vqa_rad"
    rows = {"train": [], "test": []}
    for split, lines in rows.items():
        for number, asked in enumerate(json.loads((folder / f"{split}set.json").read_text())):
            talk = [{"from": "human", "value": f"<image>\n{asked['question']}"}, {"from": "gpt", "value": str(asked["answer"])}]
            lines.append(
                {"id": f"{split}-{number}", "image": asked["image_name"], "conversations": talk, "meta": {"split": split}}
            )
    for split, lines in rows.items():
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "both.jsonl").write_text("".join(json.dumps(line) + "\n" for lines in rows.values() for line in lines))
    found = check(tmp_path / "train.jsonl", images=folder / "images", against=tmp_path / "test.jsonl")
    assert found["counts"] == {"leak": 203}
    assert check(tmp_path / "both.jsonl", images=folder / "images")["counts"] == {"leak": 203}


def copies(picture: Image.Image) -> list[Image.Image]:
    """The picture saved as JPEG at quality 50, at half its size, and at one and a half."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=50)
    width, height = picture.size
    return [
        Image.open(buffer).convert("RGB"),
        picture.resize((width // 2, height // 2)),
        picture.resize((width * 3 // 2, height * 3 // 2)),
    ]


def test_real_copies_and_real_neighbours(shared: Path) -> None:
    """Of 20 X-rays every copy is found and no pair of different ones; of 300 satellite pictures no pair is."""
    rays = [Image.open(path).convert("RGB") for path in sorted((shared / "data/vqa_rad/images").glob("*.jpg"))[::16]]
    looks = [look_of(picture) for picture in rays]
    assert all(are_similar(look, look_of(copy)) for picture, look in zip(rays, looks, strict=True) for copy in copies(picture))
    land = [look_of(Image.open(path)) for path in sorted((shared / "data/eurosat_rgb/2750").rglob("*.jpg"))[::10]]
    for different in (looks, land):
        assert not any(are_similar(one, other) for place, one in enumerate(different) for other in different[:place])


def test_the_distance_is_imagehashs() -> None:
    """Bits that differ are those that the library counts itself."""
    generator = np.random.default_rng(0)
    one, other = (Image.fromarray(generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in range(2))
    assert look_of(one).distance(look_of(other))[0] == imagehash.phash(one) - imagehash.phash(other)


@pytest.fixture
def saved_again(tmp_path: Path) -> Path:
    """Rows of train and test: two pictures with the second's copy in the test split, and a leak by bytes."""
    generator = np.random.default_rng(4)
    pictures = [
        Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((160, 120), Image.Resampling.BICUBIC)
        for _ in range(4)
    ]
    for name, picture in zip("abcd", pictures, strict=True):
        picture.save(tmp_path / f"{name}.png")
    pictures[1].resize((100, 75)).save(tmp_path / "again.jpg", quality=60)
    (tmp_path / "same.png").write_bytes((tmp_path / "c.png").read_bytes())
    split = {"a.png": "train", "b.png": "train", "c.png": "train", "d.png": "test", "again.jpg": "test", "same.png": "test"}
    talk = [{"from": "human", "value": "<image>\n?"}, {"from": "gpt", "value": "x"}]
    rows = [{"id": name, "image": name, "conversations": talk, "meta": {"split": each}} for name, each in split.items()]
    (tmp_path / "f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "f.jsonl"


def test_similar_pictures_are_named_where_it_is_asked_for(saved_again: Path) -> None:
    """--similar finds the copy beside the leak by bytes, which it does not name twice; without it the copy stays unseen."""
    assert check(saved_again)["counts"] == {"leak": 1}
    found = check(saved_again, similar=True)
    assert found["counts"] == {"leak": 1, "similar": 1}
    fault = next(fault for fault in found["faults"] if fault["kind"] == "similar")
    assert fault["where"].endswith(":2")
    assert "'b.png' looks like the test picture 'again.jpg'" in fault["message"]


def test_each_picture_is_named_once_with_the_nearest(saved_again: Path) -> None:
    """Of many test pictures that look alike the nearest is named: faults do not multiply."""
    rows = [json.loads(line) for line in saved_again.read_text().splitlines()]
    for quality in (20, 50, 95):
        name = f"b{quality}.jpg"
        Image.open(saved_again.parent / "b.png").save(saved_again.parent / name, quality=quality)
        rows.append(rows[-1] | {"id": name, "image": name})
    saved_again.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = check(saved_again, similar=True)
    assert found["counts"] == {"leak": 1, "similar": 1}
    (message,) = (fault["message"] for fault in found["faults"] if fault["kind"] == "similar")
    assert "'b.png' looks like the test picture 'b95.jpg'" in message


def test_doubled_pictures_and_rows_are_noted(saved_again: Path) -> None:
    """A picture under two names, a row said twice and one answered otherwise are notes, not faults."""
    rows = [json.loads(line) for line in saved_again.read_text().splitlines()]
    for row in rows:
        row["meta"] = {}
    other = json.loads(json.dumps(rows[0])) | {"id": "other"}
    other["conversations"][1]["value"] = "y"
    saved_again.write_text("".join(json.dumps(row) + "\n" for row in [*rows, other]))
    found = check(saved_again)
    assert found["faults"] == []
    assert [note.partition(":")[0] for note in found["notes"]] == [
        "doubled pictures", "rows that say the same about the same picture",
        "rows that answer the same question otherwise about the same picture",
    ]  # fmt: skip
