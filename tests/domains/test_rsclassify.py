"""Scene sets in their own layouts. Those that cannot be had are built tiny from their published file names."""

import collections
from pathlib import Path

import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert
from domains.remote_sensing import rsclassify

# folder below the root, class folders with the stem of their files, suffix, name of the set
LAYOUTS = {
    "eurosat": ("2750", {"SeaLake": "SeaLake_{}", "Forest": "Forest_{}"}, ".jpg"),
    "ucmerced": ("UCMerced_LandUse/Images", {"baseballdiamond": "baseballdiamond{:02}", "forest": "forest{:02}"}, ".tif"),
    "resisc45": ("NWPU-RESISC45", {"sea_ice": "sea_ice_{:03}", "forest": "forest_{:03}"}, ".jpg"),
    "aid": ("AID", {"DenseResidential": "denseresidential_{}", "Forest": "forest_{}"}, ".jpg"),
}
READABLE = {"eurosat": "sea lake", "ucmerced": "baseball diamond", "resisc45": "sea ice", "aid": "dense residential"}


def build(root: Path, name: str, count: int = 10) -> Path:
    folder, classes, suffix = LAYOUTS[name]
    for class_name, stem in classes.items():
        for number in range(1, count + 1):
            path = root / folder / class_name / (stem.format(number) + suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    return root


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_set_is_told_by_its_layout(tmp_path: Path, name: str) -> None:
    """Source, readable names and the way back are right for each set, from the root and from the class folders alike."""
    root = build(tmp_path / "data", name)
    manifest = convert(task="rsclassify", input=root, output=tmp_path / "out.jsonl")
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert {record.source for record in records} == {name}
    assert {record.answer for record in records} == {READABLE[name], "forest"}
    assert set(manifest["facts"]["classes"].values()) == {READABLE[name], "forest"}
    assert all(manifest["facts"]["classes"][record.meta["class_name"]] == record.answer for record in records)
    assert all(record.id.startswith(f"{name}-") for record in records)
    convert(task="rsclassify", input=root / LAYOUTS[name][0], output=tmp_path / "direct.jsonl")
    assert [record.id for record in adapt.read_records(tmp_path / "direct.jsonl")] == [record.id for record in records]


def test_class_folders_in_a_split_folder_are_of_it(tmp_path: Path) -> None:
    """test/Forest/* is of the test split, and not drawn from again unless other shares are given."""
    root, output = build(tmp_path, "eurosat"), tmp_path / "out.jsonl"
    (root / "2750").rename(root / "test")
    manifest = convert(task="rsclassify", input=root / "test", output=output)
    assert manifest["counts"]["splits"] == {"test": 20} and manifest["facts"]["split_rule"] == "the folder test"
    counts = convert(task="rsclassify", input=root / "test", output=output, option=["split_percent=0/50/50"])["counts"]
    assert counts["splits"] == {"val": 10, "test": 10}
    with pytest.raises(UsageError, match="split_seed=1 has no effect with the split folder"):
        convert(task="rsclassify", input=root / "test", output=output, option=["split_seed=1"])


def test_scenes_of_formats_that_are_not_read_are_rejected(tmp_path: Path) -> None:
    """A class of JPEG 2000 alone stays a candidate, and a scene's copy in it changes no list."""
    root = build(tmp_path / "s", "eurosat", 2)
    (root / "2750" / "River").mkdir()
    for name in ("River/River_1.jp2", "Forest/Forest_1.psd"):
        (root / "2750" / name).write_bytes(b"x")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "eurosat-train.txt").write_text("River_1.jpg\nForest_1.jpg\n")
    option = [f"split_lists={tmp_path / 'lists'}"]
    counts = convert(task="rsclassify", input=root, output=tmp_path / "o.jsonl", option=option, max_bad=1)["counts"]
    assert counts["ignored"] == {"not in the split lists": 4}
    (record,) = adapt.read_records(tmp_path / "o.jsonl")
    assert record.images == ("2750/Forest/Forest_1.jpg",) and "river" in record.question
    (line,) = (tmp_path / "o.rejected.jsonl").read_text().splitlines()
    assert '"2750/River/River_1.jp2"' in line and "a picture of the format JP2, which is not read" in line


def test_the_class_tables_are_complete() -> None:
    """10, 21, 45 and 30 classes, all readable names different and free of marks."""
    assert [len(each.classes) for each in rsclassify.SCENE_SETS] == [10, 21, 45, 30]
    for scene_set in rsclassify.SCENE_SETS:
        names = list(scene_set.classes.values())
        assert len(set(names)) == len(names)
        assert all(name == name.lower() and name.replace(" ", "").isalpha() for name in names)
    assert all(text.replace(" ", "") == name for name, text in rsclassify.UC_MERCED.items())


@pytest.mark.slow
def test_each_class_has_its_exact_share(shared: Path, tmp_path: Path) -> None:
    """EuroSAT's 300 pictures a class give 240 + 60, or whatever percent is asked, in every class; no picture twice."""
    for option, expected in (((), (240, 0, 60)), (("split_percent=70/10/20",), (210, 30, 60))):
        convert(task="rsclassify", input=shared / "data" / "eurosat_rgb", output=tmp_path / "out.jsonl", option=option)
        counts = collections.Counter((record.answer, record.split) for record in adapt.read_records(tmp_path / "out.jsonl"))
        for name in {name for name, _ in counts}:
            assert tuple(counts[name, split] for split in ("train", "val", "test")) == expected


def test_torchgeo_lists_decide_the_split(tmp_path: Path) -> None:
    """Listed names are matched whatever their extension; what a list names and is missing is a rejected sample."""
    root, lists = build(tmp_path / "data", "eurosat", count=3), tmp_path / "lists"
    lists.mkdir()
    (lists / "eurosat-train.txt").write_text("Forest_1.tif\nSeaLake_1.jpg\nForest_99.jpg\n")
    (lists / "eurosat-test.txt").write_text("Forest_2.jpg\n")
    output = tmp_path / "out.jsonl"
    manifest = convert(task="rsclassify", input=root, output=output, option=[f"split_lists={lists}"], max_bad=1)
    assert [(record.id, record.split) for record in adapt.read_records(output)] == [
        ("eurosat-Forest_1", "train"),
        ("eurosat-Forest_2", "test"),
        ("eurosat-SeaLake_1", "train"),
    ]
    assert manifest["counts"]["ignored"] == {"not in the split lists": 3}
    assert "eurosat-train.txt:3" in output.with_suffix(".rejected.jsonl").read_text()
    (lists / "eurosat-test.txt").write_text("Forest_1.jpg\n")
    with pytest.raises(DataError, match="is in the train list too"):
        convert(task="rsclassify", input=root, output=output, option=[f"split_lists={lists}"])


def test_a_folder_that_is_no_known_set_is_refused(tmp_path: Path) -> None:
    """Unknown classes, mixed sets and two sets side by side are each answered with what to do."""
    (tmp_path / "own" / "Kitchen").mkdir(parents=True)
    with pytest.raises(UsageError, match="use --task classify"):
        convert(task="rsclassify", input=tmp_path / "own", output=tmp_path / "out.jsonl")
    build(tmp_path / "both", "eurosat"), build(tmp_path / "both", "aid")
    with pytest.raises(UsageError, match="several sets .* point --input at one"):
        convert(task="rsclassify", input=tmp_path / "both", output=tmp_path / "out.jsonl")
    mixed = build(tmp_path / "mixed", "eurosat")
    Image.new("RGB", (8, 8)).save((mixed / "2750" / "Kitchen").mkdir() or mixed / "2750" / "Kitchen" / "Kitchen_1.jpg")
    with pytest.raises(DataError, match="classes of EuroSAT, but not Kitchen"):
        convert(task="rsclassify", input=mixed, output=tmp_path / "out.jsonl")
