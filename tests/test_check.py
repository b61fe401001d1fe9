"""``adapt check``: each kind of fault, planted in a small set and found again."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapt.check.show import show_findings
from adapt.errors import UsageError
from adapt.safe import file_sha256
from adapt.verbs import convert
from adapt.verbs.check import check
from adapt.verbs.gallery import gallery


def row(name: str, answer: str = "a river", image: str = "a.png", **more: Any) -> dict[str, Any]:
    """One row that has no fault, changed by ``more``."""
    question = "<image>\nWhat is it?"
    talk = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": name, "image": image, "width": 40, "height": 20, "conversations": talk, **more}


def write(path: Path, *rows: Any) -> Path:
    """JSONL of rows; text stands as it is."""
    path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in rows))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three different pictures of 40x20 px, the first also under another name."""
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(generator.integers(0, 256, (20, 40, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "copy-of-a.png").write_bytes((tmp_path / "a.png").read_bytes())
    return tmp_path


def found(path: Path, **options: Any) -> list[tuple[str, str]]:
    """(line, kind) of each fault."""
    return [(fault["where"].rpartition(":")[2], fault["kind"]) for fault in check([path], **options)["faults"]]


def test_a_clean_file_has_no_fault(folder: Path) -> None:
    """Nothing is reported where nothing is wrong, and the counts are those of the file."""
    result = check(write(folder / "f.jsonl", row("1"), row("2", image="b.png", meta={"split": "val"})))
    assert (result["faults"], result["records"], result["pictures"]) == ([], 2, 2)
    assert result["splits"] == {"(none)": 1, "val": 1}


def test_common_answers_are_shown_in_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An answer of many boxes is shown in part, on one line; the JSON document has it whole."""
    long = "<ref>a\ntree</ref><box>[" + ", ".join(["[100, 200, 300, 400]"] * 20) + "]</box>"
    result = check(
        write(folder / "f.jsonl", *[row(f"{number}", long, image=f"{'ab'[number % 2]}.png") for number in range(20)])
    )
    assert list(result["answers"]["f"]["common"]) == [long]
    show_findings(result, as_json=False)
    (line,) = [each for each in capsys.readouterr().out.splitlines() if each.startswith("answers of ")]
    assert line == "answers of f: 1 distinct; <ref>a tree</ref><box>[[100, 200, 300, 400], [100, 200, 3... 20"


def test_every_bad_row_is_listed_with_its_line(folder: Path) -> None:
    """Reading goes on after each bad row: JSON, fields, placeholders, doubled ids."""
    two = row("6")
    two["conversations"] = [{"from": "human", "value": "<image><image>?"}, {"from": "gpt", "value": "x"}]
    path = write(folder / "f.jsonl", row("1"), "{not json", "[1]", row("1"), '{"id": NaN}', two, row("7"), row("8", answer=" "))
    assert found(path) == [("2", "row"), ("3", "row"), ("4", "id"), ("5", "row"), ("6", "row"), ("8", "row")]


def test_companions_of_a_file_are_no_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`adapt check *.jsonl` finds what `adapt check f.jsonl` does: a note names each file that convert wrote beside another."""
    path, digest = write(folder / "f.jsonl", row("1")), file_sha256(folder / "a.png")
    beside = [
        write(folder / "f.pictures.jsonl", {"path": "a.png", "size": [40, 20], "sha256": digest}),
        write(folder / "f.rejected.jsonl", {"where": "t.csv:3", "reason": "no answer"}),
    ]
    alone = check([path])
    assert check([path, *beside]) == alone and alone["faults"] == []
    assert capsys.readouterr().err.splitlines() == [
        f"note: {beside[0]}: not read, it is the list of pictures of f.jsonl",
        f"note: {beside[1]}: not read, it is the list of rejected rows of f.jsonl",
    ]
    assert gallery([path, *beside], output=folder / "g.html").read_text().count("<article") == 1
    for call in ({"files": beside}, {"files": [write(folder / "g.jsonl", row("1"))], "against": beside}):
        with pytest.raises(UsageError, match=rf"f\.pictures\.jsonl: the list of pictures of f\.jsonl, .*; give {path}$"):
            check(**call)
    path.unlink()
    assert [fault["kind"] for fault in check(beside)["faults"] if fault["kind"] == "row"] == ["row", "row"]


def test_the_rejections_of_a_conversion_that_failed_are_no_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They lie there alone; beside other files they are left out as those of a conversion that ended."""
    path = write(folder / "b.jsonl", row("1"))
    (folder / "a.rejected.jsonl").write_text('{"where": "t.csv:2", "reason": "x"}\n')
    assert check([folder / "a.rejected.jsonl", path])["faults"] == []
    assert "a.rejected.jsonl: not read, it is the list of rejected rows of a.jsonl" in capsys.readouterr().err


def test_chats_in_a_file_called_as_convert_calls_its_own_are_read(folder: Path) -> None:
    """birds.pictures.jsonl beside birds.jsonl may hold chats; a .json of chats whose first row is faulty is none to convert."""
    paths = [write(folder / name, row(name)) for name in ("birds.jsonl", "birds.pictures.jsonl")]
    assert check(paths)["rows"] == 2
    (folder / "f.json").write_text('{"id": 3}\n' + paths[0].read_text())
    assert [fault["kind"] for fault in check([folder / "f.json"])["faults"]] == ["row"]


def test_chat_lines_are_read_whatever_the_file_is_called(folder: Path) -> None:
    """A .json file whose first line is a record is no document that waits for conversion."""
    path = write(folder / "f.json", row("1"))
    assert check([path])["rows"] == 1


@pytest.mark.parametrize("name", ["coco.json", "t.csv", "t.TSV", "t.parquet", "a.xml"])
def test_a_set_that_was_not_converted_is_refused_in_a_line(folder: Path, name: str) -> None:
    """A dataset in another form is one line with the way to chat JSONL, not a fault for each line."""
    (folder / name).write_text("{\n}\n")
    path = write(folder / "f.jsonl", row("1"))
    for call in (
        lambda: check([path, folder / name]),
        lambda: check([path], against=folder / name),
        lambda: gallery([folder / name], output=folder / "g.html"),
    ):
        with pytest.raises(
            UsageError, match=rf"{name}: no chat JSONL, which ends in .jsonl; convert it first: adapt convert --task "
        ):
            call()


def test_the_counts_fit_each_other(folder: Path) -> None:
    """Bad rows count, those of --against do not. One missing picture twice in a row, or one bad box, is one fault."""
    missing, twice, boxed = (row(name, image="gone.png") for name in "234")
    del twice["width"], twice["height"]
    twice |= {"image": ["gone.png", "gone.png"]}
    twice["conversations"][0]["value"] = "<image><image>?"
    boxed |= {"image": "a.png"}
    for turn in boxed["conversations"]:
        turn["value"] += "<box>[[9, 1, 9, 4]]</box>"
    path = write(folder / "f.jsonl", row("1"), "{not json", missing, twice, boxed)
    (folder / "none.jsonl").write_text("\n")
    result = check([path, folder / "none.jsonl"], against=write(folder / "g.jsonl", "[1]", row("1", image="b.png")))
    kinds = [(Path(fault["where"]).name, fault["kind"]) for fault in result["faults"]]
    assert kinds == [
        ("f.jsonl:2", "row"), ("f.jsonl:3", "picture"), ("f.jsonl:5", "box"), ("none.jsonl:1", "row"), ("g.jsonl:1", "row")
    ]  # fmt: skip
    assert result["faults"][1]["message"].endswith("(and 1 more such row)")
    assert (result["rows"], result["records"], sum(result["counts"].values())) == (5, 4, 5)


def test_pictures(folder: Path) -> None:
    """Missing, cut, climbing and wrongly sized pictures are found by headers and ends; a hole inside takes --decode."""
    whole = (folder / "b.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "hole.png").write_bytes(whole[:100] + bytes(20) + whole[120:])
    rows = [
        row("1", image="no.png"),
        row("2", image="no.png"),
        row("3", image="../a.png"),
        row("4", width=41),
        row("5", image="cut.png"),
        row("6", image="hole.png"),
    ]
    path = write(folder / "f.jsonl", *rows)
    by_ends = [("1", "picture"), ("3", "picture"), ("4", "size"), ("5", "picture")]
    assert found(path) == by_ends
    assert found(path, decode=True) == [*by_ends, ("6", "picture")]
    assert "1 more such row" in check(path)["faults"][0]["message"]


def test_a_picture_that_changed_since_its_conversion_is_named(folder: Path) -> None:
    """Another picture of the same size and name is a fault; the list of hashes tells, and without it nothing does."""
    (folder / "t.csv").write_text("image,question,answer\na.png,what?,noise\nb.png,what?,noise\na.png,again?,noise\n")
    convert(task="vqa", input=folder / "t.csv", output=folder / "f.jsonl")
    assert found(folder / "f.jsonl") == []
    (folder / "a.png").write_bytes((folder / "c.png").read_bytes())
    assert found(folder / "f.jsonl") == found(folder / "f.jsonl", decode=True) == [("1", "changed")]
    assert check(folder / "f.jsonl")["faults"][0]["message"] == (
        "picture 'a.png' was changed since it was converted (and 1 more such row)"
    )
    (folder / "f.pictures.jsonl").unlink()
    assert found(folder / "f.jsonl") == []


def test_orientation_tags_are_told(folder: Path) -> None:
    """A picture that a viewer would turn is no fault, but it is said; its size is that of the stored pixels."""
    picture = Image.open(folder / "a.png").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=exif)
    result = check(write(folder / "f.jsonl", row("1", image="turned.jpg"), row("2")))
    assert result["faults"] == []
    assert result["notes"] == ["pictures with an orientation tag: 1; they are used as stored, unturned; first: turned.jpg"]


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        ("<ref>a</ref><box>[[0, 0, 1000, 1000]]</box>", []),
        ("<ref>a</ref><box>[[500, 0, 100, 10]]</box>", ["box"]),
        ("<ref>a</ref><box>[[5, 0, 5, 10]]</box>", ["box"]),
        ("<ref>a</ref><box>[[-5, 0, 5, 10]]</box>", ["box"]),
        ("<ref>a</ref><box>[[5, 0, 1005, 10]]</box>", ["scale"]),
        ("<ref>a</ref><box>[[0.1, 0.2, 0.3, 0.4]]</box>", ["scale"]),
        ("at [0.1, 0.2, 0.3, 0.4]", ["scale"]),
        ("<ref>a", ["tag"]),
        ("<box>[[1, 2, 3]]</box>", ["tag"]),
        ("<ref><box></ref></box>", ["tag"]),
        ("</box>", ["tag"]),
        ("<ref>a</ref><box>[1, 20, 50, 60]</box>", []),
        ("<ref>a</ref><box>(1, 20), (50, 60)</box>", []),
        ("<ref>a</ref><box>[[1, 20, 50, 60], [1, 2, 3]]</box>", ["tag"]),
        ("<ref>a</ref><box>[[1, 20, 50, 60]</box>", ["tag"]),
        ("<ref>a</ref><box>x [[1, 20, 50, 60]] y 7</box>", ["tag"]),
        ("<ref> </ref><box>[[1, 20, 50, 60]]</box>", ["tag"]),
    ],
)
def test_boxes_in_text(folder: Path, answer: str, kinds: list[str]) -> None:
    """A box outside, turned round, flat, in another scale or without its tags is found, and a good one is not."""
    assert [kind for _, kind in found(write(folder / "f.jsonl", row("1", answer)))] == kinds


def test_mixed_scales_name_the_rows(folder: Path) -> None:
    """Rows in 0-1 among rows in 0-1000 are named, over several files."""
    good = write(folder / "good.jsonl", *(row(str(i), f"<box>[[{i}, 5, 700, 900]]</box>") for i in range(30)))
    bad = write(folder / "bad.jsonl", row("x"), row("y", "[0.12, 0.3, 0.5, 0.61]"))
    faults = check([good, bad])["faults"]
    assert [fault["kind"] for fault in faults] == ["scale"]
    assert faults[0]["where"] == f"{bad}:2"
    assert "1 box in 0-1" in faults[0]["message"] and "mixed" in faults[0]["message"]


@pytest.mark.parametrize(
    ("size", "num", "more", "is_told"),
    [
        ((640, 480), 50, {}, True),
        ((640, 480), 49, {}, False),  # too few to tell
        ((1200, 480), 50, {}, False),  # such a picture's pixels reach over 0-1000
        ((640, 480), 50, {"meta": {"boxes_px": [[1, 1, 9, 9]]}}, False),  # the text was made from these
    ],
)
def test_boxes_that_may_be_pixels_are_told(
    tmp_path: Path, size: tuple[int, int], num: int, more: dict[str, Any], is_told: bool
) -> None:
    """All boxes of a source end inside their small pictures, as pixels do; one that ends outside is of 0-1000."""
    Image.new("RGB", size).save(tmp_path / "a.png")
    rows = [
        row(str(i), f"<ref>x</ref><box>[[{3 * i}, {i}, {600 if i else 640}, 480]]</box>", source="s", **more)
        for i in range(num)
    ]
    for each in rows:
        each["width"], each["height"] = size
    notes = [note for note in check([write(tmp_path / "f.jsonl", *rows)])["notes"] if "may be pixels" in note]
    assert [note.startswith(f"boxes of 's' may be pixels: all {num} different ones on pictures") for note in notes] == [
        True
    ] * is_told
    rows[-1]["conversations"][1]["value"] = "<ref>x</ref><box>[[3, 1, 641, 480]]</box>"
    assert not any("may be pixels" in note for note in check([write(tmp_path / "f.jsonl", *rows)])["notes"])


def test_a_box_that_is_repeated_tells_its_scale_once(tmp_path: Path) -> None:
    """Questions about one region each repeat its box: sixty rows say no more of pixels than one."""
    Image.new("RGB", (640, 480)).save(tmp_path / "a.png")
    rows = [row(str(i), f"<ref>x{i}</ref><box>[[3, 1, 200, 100]]</box>", width=640, height=480) for i in range(60)]
    assert not any("may be pixels" in note for note in check([write(tmp_path / "f.jsonl", *rows)])["notes"])


def test_boxes_for_the_scorer(folder: Path) -> None:
    """meta.boxes_px outside its picture of 40x20 px is found."""
    rows = [
        row("1", meta={"boxes_px": [[0, 0, 40, 20]]}),
        row("2", meta={"boxes_px": [[0, 0, 80, 20]]}),
        row("3", meta={"boxes_px": [1]}),
    ]
    assert found(write(folder / "f.jsonl", *rows)) == [("2", "box"), ("3", "box")]


def test_answers_outside_the_candidates(folder: Path) -> None:
    """An answer must be one of meta.candidates or its letter."""
    rows = [row(str(i), answer, meta={"candidates": ["red", "blue"]}) for i, answer in enumerate(["red", "B", "green", "C"])]
    result = check(write(folder / "f.jsonl", *rows))
    assert [(fault["where"][-1], fault["kind"]) for fault in result["faults"]] == [("3", "answer"), ("4", "answer")]
    assert result["answers"]["f"]["distinct"] == 4


def test_leaks_are_found_by_content(folder: Path) -> None:
    """The same bytes under another name are a leak, between files and between the splits of one file."""
    train = write(folder / "train.jsonl", row("1"), row("2", image="b.png"))
    test = write(folder / "test.jsonl", row("1", image="copy-of-a.png"), row("2", image="c.png"))
    assert found(train, against=test) == [("1", "leak")]
    both = [
        row("1", meta={"split": "train"}),
        row("2", image="copy-of-a.png", meta={"split": "test_phili"}),
        row("3", image="c.png"),
    ]
    assert found(write(folder / "both.jsonl", *both)) == [("1", "leak")]
    assert found(write(folder / "val.jsonl", row("1", meta={"split": "val"})), against=test) == []


def test_every_file_to_compare_with_counts(folder: Path) -> None:
    """Several are compared with; one that has no test rows is a fault, as nothing would be compared with it."""
    train = write(folder / "train.jsonl", row("1"), row("2", image="b.png"))
    leaked = write(folder / "leaked.jsonl", row("1", image="copy-of-a.png"))
    clean = write(folder / "clean.jsonl", row("1", image="c.png"))
    empty = write(folder / "empty.jsonl")
    own = write(folder / "own.jsonl", row("1", meta={"split": "train"}))
    for against in ([leaked, clean], [clean, leaked]):
        result = check(train, against=against)
        assert [fault["kind"] for fault in result["faults"]] == ["leak"] and result["tests"] == 2
    result = check(train, against=[clean, empty, own])
    assert [(fault["where"], fault["kind"]) for fault in result["faults"]] == [(f"{empty}:1", "row"), (f"{own}:1", "against")]
    assert "no test rows (its splits: train); nothing was compared" in result["faults"][1]["message"] and result["tests"] == 1
    for split, told in ((None, "none"), ("val", "val")):
        itself = write(folder / "itself.jsonl", row("1", meta={"split": split} if split else {}))
        (fault,) = check(itself, against=itself)["faults"]
        assert fault["kind"] == "against" and f"counts with its test splits alone (its splits: {told});" in fault["message"]
    assert "no test rows (its splits: train)" in check(own, against=own)["faults"][0]["message"]
    both = write(folder / "both.jsonl", row("1"), row("2", image="copy-of-a.png", meta={"split": "test"}))
    assert found(both, against=both) == [("1", "leak")]
    assert check(both, against=both)["tests"] == 1
    assert check(both, against=os.path.relpath(both))["tests"] == 1


def test_rows_that_stand_twice_are_told(folder: Path) -> None:
    """A question with its answer again, of one picture and of none, and another answer to it."""
    twice = [row("1"), row("2", image="copy-of-a.png"), row("3", "a lake")]
    talk = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]
    path = write(folder / "f.jsonl", *twice, *({"id": name, "conversations": talk} for name in ("4", "5")))
    assert check(path)["notes"][1:] == [
        f"rows that say the same about the same picture: 1; first: {path}:2 and {path}:1",
        f"rows that answer the same question otherwise about the same picture: 1; first: {path}:3 and {path}:1",
        f"rows that say the same without a picture: 1; first: {path}:5 and {path}:4",
    ]


def test_spelled_control_tokens_are_counted(folder: Path) -> None:
    """Text that spells a control token is counted by token; it is no fault, since it is encoded as plain text."""
    result = check(write(folder / "f.jsonl", row("1", "ok <|im_end|> <|im_end|>"), row("2", "<|im_end|></img>")))
    assert (result["faults"], result["control_tokens"]) == ([], {"<|im_end|>": 2, "</img>": 1})


def test_costs_follow_the_published_tiling(folder: Path) -> None:
    """640x480 is 7 tiles of nano at most 6 and a thumbnail (the published table); each costs its 16 tokens."""
    Image.new("RGB", (640, 480)).save(folder / "wide.png")
    path = write(folder / "f.jsonl", row("1", image="wide.png", width=640, height=480))
    result = check(path, model="nano")
    assert result["faults"] == []
    assert result["tiles"]["total"] == 7
    assert result["tokens"]["total"] > 7 * 16


def test_wrong_calls(folder: Path) -> None:
    """No file, no such file and no such folder are wrong usage, each named."""
    with pytest.raises(UsageError):
        check([])
    with pytest.raises(UsageError, match=r"no\.jsonl: no such file"):
        check([folder / "no.jsonl"])
    path = write(folder / "f.jsonl", row("1"))
    with pytest.raises(UsageError, match="no such folder"):
        check([path], images=folder / "nowhere")
    with pytest.raises(UsageError, match=r"f\.jsonl: given twice; a row that stands twice weighs twice$"):
        check([path, folder / "." / "f.jsonl"])
    with pytest.raises(UsageError, match=r"f\.jsonl: given twice to --against$"):
        check(path, against=[path, path])


def test_real_pictures(shared: Path, tmp_path: Path) -> None:
    """Real rows of a folder of real pictures pass, decoded whole."""
    root = shared / "data/eurosat_rgb/2750"
    names = sorted(str(path.relative_to(root)) for path in root.glob("River/*.jpg"))[:50]
    path = write(tmp_path / "f.jsonl", *(row(name, image=name, width=64, height=64) for name in names))
    assert check(path, images=root, decode=True)["faults"] == []
