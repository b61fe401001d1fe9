"""`adapt convert` as a whole: counts, identity, what is left behind when something fails."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import adapt
from adapt.conversion.lines import Line
from adapt.domain import Rejected
from adapt.errors import DataError, UsageError
from adapt.verbs import convert, tasks
from adapt.verbs.convert import _Tally

NUM_CLASSES, PER_CLASS = 10, 300


def write_picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 20 pictures each."""
    for number in range(20):
        for shade, name in enumerate(("River", "Forest")):
            write_picture(tmp_path / "set" / "2750" / name / f"{name}_{number}.png", (shade * 100, number * 10, 0))
    return tmp_path / "set"


def manifest_of(output: Path) -> dict:
    return json.loads(output.with_suffix(".manifest.json").read_text())


def rejected_of(output: Path) -> list[dict]:
    return [json.loads(line) for line in output.with_suffix(".rejected.jsonl").read_text().splitlines()]


def damage(path: Path) -> dict[str, str]:
    """Four damaged pictures in ``path`` (a 2750 folder): place -> a word of the reason."""
    cut = path / "River" / "River_10.jpg"
    cut.write_bytes(cut.read_bytes()[:900])
    (path / "Forest" / "Forest_3.jpg").write_text("hello\n")
    (path / "Pasture" / "Pasture_9.jpg").write_bytes(b"")
    (path / "SeaLake" / "SeaLake_7.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n")
    return {
        "2750/Forest/Forest_3.jpg": "text file",
        "2750/Pasture/Pasture_9.jpg": "0 bytes",
        "2750/River/River_10.jpg": "truncated",
        "2750/SeaLake/SeaLake_7.jpg": "LFS pointer",
    }


@pytest.mark.slow
def test_eurosat_is_converted_whole(shared: Path, tmp_path: Path) -> None:
    """All 3,000 pictures become valid rows with readable class names and true sizes; the manifest seals the file."""
    output = tmp_path / "eurosat.jsonl"
    manifest = convert(task="rsclassify", input=shared / "data" / "eurosat_rgb", output=output)
    records = adapt.read_records(output)
    assert manifest == manifest_of(output)
    assert manifest["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert manifest["counts"] | {"ignored": {}, "reasons": {}} == {
        "read": 3000, "converted": 3000, "rejected": 0, "records": 3000,
        "ignored": {}, "splits": {"train": 2400, "test": 600}, "reasons": {},
    }  # fmt: skip
    assert {record.answer for record in records} == {
        "annual crop", "forest", "herbaceous vegetation", "highway", "industrial", "pasture", "permanent crop", "residential",
        "river", "sea lake",
    }  # fmt: skip
    root = output.parent / manifest["image_root"]
    for record in records[::500]:
        with Image.open(root / record.images[0]) as picture:
            assert record.sizes == (picture.size,)
    assert not output.with_suffix(".rejected.jsonl").exists()
    assert not output.with_suffix(".images").exists()


@pytest.mark.slow
def test_damaged_pictures_are_listed_and_stop_the_conversion(shared: Path, tmp_path: Path) -> None:
    """A cut jpg, a text file, an empty file and an LFS pointer are rejected by place and reason, and nothing else is."""
    root = tmp_path / "eurosat"
    shutil.copytree(shared / "data" / "eurosat_rgb" / "2750", root / "2750", copy_function=shutil.copyfile)
    for path in [root / "2750", *(root / "2750").iterdir()]:
        path.chmod(0o755)
    expected = damage(root / "2750")
    output = tmp_path / "out.jsonl"
    output.write_text("what was there\n")
    with pytest.raises(
        DataError, match=r"^4 of 3,000 samples rejected, more than --max-bad 0; see .*out.rejected.jsonl; first: "
    ):
        convert(task="rsclassify", input=root, output=output)
    assert output.read_text() == "what was there\n"
    rows = rejected_of(output)
    assert [row["where"] for row in rows] == sorted(expected)
    assert all(expected[row["where"]] in row["reason"] for row in rows)

    with pytest.raises(DataError):
        convert(task="rsclassify", input=root, output=output, max_bad=3)
    counts = convert(task="rsclassify", input=root, output=output, max_bad=4)["counts"]
    assert (counts["read"], counts["converted"], counts["rejected"], counts["records"]) == (3000, 2996, 4, 2996)
    assert sum(counts["reasons"].values()) == 4
    assert not {record.images[0] for record in adapt.read_records(output)} & set(expected)


def test_a_clean_run_removes_the_stale_list_of_rejected(folder: Path, tmp_path: Path) -> None:
    """FILE.rejected.jsonl is there only when this run rejected something."""
    output = tmp_path / "out.jsonl"
    bad = folder / "2750" / "River" / "River_99.png"
    bad.write_bytes(b"")
    with pytest.raises(DataError):
        convert(task="rsclassify", input=folder, output=output)
    assert len(rejected_of(output)) == 1
    assert not output.exists()
    bad.unlink()
    convert(task="rsclassify", input=folder, output=output)
    assert not output.with_suffix(".rejected.jsonl").exists()


RUN_REVERSED = """
import os, sys

class Reversed:
    def __init__(self, found):
        self.found = iter(list(found)[::-1])
    def __iter__(self):
        return self.found
    def __next__(self):
        return next(self.found)
    def __enter__(self):
        return self
    def __exit__(self, *rest):
        pass
    close = __exit__

if sys.argv[4] == "reversed":
    scandir, listdir = os.scandir, os.listdir
    os.scandir = lambda path=".": Reversed(sorted(scandir(path), key=lambda entry: entry.name))
    os.listdir = lambda path=".": sorted(listdir(path))[::-1]

from adapt.verbs import convert
option = ["style=letters", "num_candidates=4"] if sys.argv[1] == "rsclassify" else []
convert(task=sys.argv[1], input=sys.argv[2], output=sys.argv[3], workers=int(sys.argv[5]), option=option, limit=700)
"""


@pytest.mark.parametrize(
    ("task", "data"),
    [pytest.param("rsclassify", "eurosat_rgb", marks=pytest.mark.slow), ("rsvqa", "configilm_mock/RSVQA-LR")],
)
def test_bytes_depend_on_the_data_alone(shared: Path, tmp_path: Path, task: str, data: str) -> None:
    """Hash seed, directory order and number of workers show neither in the rows nor in the manifest."""
    digests = set()
    for number, (seed, order, workers) in enumerate(
        [(0, "as it is", 0), (1, "reversed", 2), (2, "as it is", 5), (3, "reversed", 1)]
    ):
        output = tmp_path / str(number) / "out.jsonl"
        arguments = [task, str(shared / "data" / data), str(output), order, str(workers)]
        environment = os.environ | {"PYTHONHASHSEED": str(seed), "LC_ALL": ("C", "C.UTF-8")[number % 2]}
        subprocess.run([sys.executable, "-c", RUN_REVERSED, *arguments], env=environment, check=True, capture_output=True)
        files = [output, output.with_suffix(".manifest.json")]
        digests.add(tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in files))
        assert len(adapt.read_records(output)) == 700
    assert len(digests) == 1


def test_limit_is_a_seeded_part_in_the_order_of_the_set(folder: Path, tmp_path: Path) -> None:
    """--limit draws by the seed among the chosen split and keeps order and class list."""

    def ids(**settings: object) -> list[str]:
        convert(task="rsclassify", input=folder, output=tmp_path / "out.jsonl", **settings)  # type: ignore[arg-type]
        return [record.id for record in adapt.read_records(tmp_path / "out.jsonl")]

    whole, first, second = ids(), ids(limit=10), ids(limit=10, seed=1)
    assert len(first) == len(second) == 10
    assert first != second and first == ids(limit=10)
    assert [each for each in whole if each in set(first)] == first
    assert ids(limit=1000) == whole
    test = ids(split="test", limit=3)
    assert len(test) == 3 and set(test) <= set(ids(split="test"))
    assert all("forest, river" in record.question for record in adapt.read_records(tmp_path / "out.jsonl"))


def test_the_seed_moves_no_picture_between_splits(folder: Path, tmp_path: Path) -> None:
    """Train made with one --seed and test made with another share no picture."""
    for split, seed in (("train", 0), ("test", 7)):
        convert(task="rsclassify", input=folder, output=tmp_path / f"{split}.jsonl", split=split, seed=seed)
    train, test = ({each.images for each in adapt.read_records(tmp_path / f"{name}.jsonl")} for name in ("train", "test"))
    assert (len(train), len(test), len(train & test)) == (32, 8, 0)


def test_an_id_seen_before_is_rejected(tmp_path: Path) -> None:
    """Of two pictures with one id the second is rejected, not lost and not doubled."""
    for name in ("River_1.png", "River_1.jpg", "River_2.png"):
        write_picture(tmp_path / "2750" / "River" / name, (1, 2, 3))
    write_picture(tmp_path / "2750" / "Forest" / "Forest_1.png", (1, 2, 3))
    output = tmp_path / "out.jsonl"
    manifest = convert(task="rsclassify", input=tmp_path, output=output, max_bad=1)
    assert rejected_of(output) == [
        {"where": "2750/River/River_1.png", "reason": "the id 'eurosat-River_1' was seen before; ids must be unique"}
    ]
    assert manifest["counts"]["read"] == 4 and manifest["counts"]["records"] == 3


def test_equal_pictures_in_several_splits_are_counted(folder: Path, tmp_path: Path) -> None:
    """The manifest tells how many contents occur twice, and how many of them on both sides of the split."""
    for path in sorted((folder / "2750" / "River").iterdir()):
        shutil.copy(path, path.with_name(f"River_{500 + int(path.stem.partition('_')[2])}.png"))
    manifest = convert(task="rsclassify", input=folder, output=tmp_path / "out.jsonl")
    splits: dict[bytes, set[str]] = {}
    for record in adapt.read_records(tmp_path / "out.jsonl"):
        splits.setdefault((folder / record.images[0]).read_bytes(), set()).add(str(record.split))
    across = sum(len(found) > 1 for found in splits.values())
    assert manifest["pictures"] == {"distinct": 60, "same_content": 20, "in_several_splits": across, "with_orientation_tag": 0}
    assert across > 0


def test_ignored_files_are_counted(folder: Path, tmp_path: Path) -> None:
    """Files that are no pictures by name are counted, not rejected."""
    (folder / "2750" / "River" / "notes.txt").write_text("x")
    (folder / "2750" / "River" / ".DS_Store").write_text("x")
    write_picture(folder / "2750" / "stray.png", (0, 0, 0))
    counts = convert(task="rsclassify", input=folder, output=tmp_path / "out.jsonl")["counts"]
    assert counts["ignored"] == {"hidden file": 1, "not a picture by name": 1, "picture outside a class folder": 1}
    assert counts["read"] == 40


def test_what_was_left_out_explains_that_nothing_was_found(tmp_path: Path) -> None:
    """Where no sample remains, the error counts by reason what the reader left out, with a split or a limit too."""
    write_picture(tmp_path / "a.png", (0, 0, 0))
    crowd = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "iscrowd": 1}
    rows = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 9}] * 3 + [crowd],
            "categories": [{"id": 1, "name": "cell"}]}  # fmt: skip
    (tmp_path / "set.json").write_text(json.dumps(rows))
    left_out = (
        r"left out \(annotation of an image that the file does not list: 3, crowd region: 1, "
        r"picture without an object to ask for: 1\)"
    )
    for settings, fault in (
        ({}, DataError("no samples found")), ({"limit": 5}, DataError("no samples found")),
        ({"split": "train"}, UsageError("no split 'train' in .*: it has no splits")),
    ):  # fmt: skip
        with pytest.raises(type(fault), match=f"{fault}; {left_out}"):
            convert(task="detect", input=tmp_path / "set.json", output=tmp_path / "out.jsonl", **settings)


def test_converting_into_the_input_folder_twice_is_the_same(folder: Path) -> None:
    """What the first run wrote is not taken for input by the second."""
    output = folder / "out.jsonl"
    files = (output, output.with_suffix(".manifest.json"), output.with_suffix(".rejected.jsonl"))
    (folder / "2750" / "River" / "River_99.png").write_bytes(b"")
    found = []
    for _ in range(2):
        convert(task="classify", input=folder, output=output, max_bad=1)
        found.append([path.read_bytes() for path in files])
    assert found[0] == found[1]


def test_the_input_is_not_replaced_by_what_is_made_of_it(folder: Path) -> None:
    """A file of rows, by whatever name, and a table in an input folder stay: only what a run wrote is written over."""
    rows = [{"image": f"2750/River/River_{n}.png", "question": "What?", "answer": "A river"} for n in (1, 2)]
    table = folder / "train.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "link.jsonl").symlink_to(table)
    before = table.read_bytes()
    for input, output, said in ((table, table, "is the input"), (table, folder / "link.jsonl", "is the input"),
                                (folder, table, "is a file of the input")):  # fmt: skip
        with pytest.raises(UsageError, match=f"{said}; choose another name"):
            convert(task="vqa", input=input, output=output, limit=1)
    assert table.read_bytes() == before
    for _ in range(2):
        assert convert(task="vqa", input=table, output=folder / "made.jsonl")["counts"]["read"] == 2


@pytest.mark.parametrize("side", ["manifest.json", "pictures.jsonl", "rejected.jsonl"])
def test_files_beside_the_output_replace_nothing_of_the_users(folder: Path, side: str) -> None:
    """An input, and any other file, that is called as the output's manifest, pictures or rejections would be is left;
    what a conversion wrote there is not."""
    row = {"image": "2750/River/River_1.png", "question": "What?", "answer": "A river"}
    table, output = folder / f"out.{side}", folder / "out.jsonl"
    table.write_text(json.dumps([row]) if side.endswith(".json") else json.dumps(row) + "\n")
    before = table.read_bytes()
    with pytest.raises(UsageError, match=f"its 'out.{side}' would take the place of the input; choose another name"):
        convert(task="vqa", input=table, output=output)
    with pytest.raises(UsageError, match=f"its 'out.{side}' would take the place of a file that no conversion wrote"):
        convert(task="rsclassify", input=folder / "2750", output=output)
    assert table.read_bytes() == before and not output.exists()
    table.unlink()
    (folder / "2750" / "River" / "River_99.png").write_bytes(b"")
    for _ in range(2):
        convert(task="rsclassify", input=folder / "2750", output=output, max_bad=1)
        assert table.exists()
    for path in (output, *folder.glob("out.*.json*")):
        path.unlink()
    table.write_bytes(b"")  # nothing to lose
    convert(task="rsclassify", input=folder / "2750", output=output, max_bad=1)
    assert table.stat().st_size


@pytest.mark.parametrize("held", ['{"task": "buy milk"}', '{"sha256": {"a.png": "0f"}}', '{"counts": {"River": 3}}', None])
def test_a_manifest_is_known_by_more_than_one_common_key(folder: Path, held: str | None) -> None:
    """A user's JSON that shares a key with manifests is left, and so is a folder of the name, which is told as one."""
    place = folder / "out.manifest.json"
    what = "file" if held else "folder"
    if held:
        place.write_text(held)
    else:
        place.mkdir()
    with pytest.raises(UsageError, match=f"of a {what} that no conversion wrote; choose another name, or move that {what}"):
        convert(task="rsclassify", input=folder / "2750", output=folder / "out.jsonl")
    assert place.read_text() == held if held else place.is_dir()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "rsclasify"}, "unknown task 'rsclasify': did you mean 'rsclassify'"),
        ({"input": "nowhere"}, "input 'nowhere' does not exist"),
        ({"images": "nowhere"}, "images 'nowhere'"),
        ({"output": "out.json"}, "ends in .jsonl"),
        ({"split": "tset"}, "no split 'tset' .* it has test, train"),
        ({"limit": 0}, "--limit 0"),
        ({"workers": -1}, "--workers -1"),
        ({"max_bad": -1}, "--max-bad -1"),
        ({"option": ["styl=names"]}, "unknown option of task 'rsclassify' 'styl': did you mean 'style'"),
        ({"option": ["style=numbers"]}, "style=numbers .* expected one of names, letters"),
        ({"option": ["style"]}, "expected name=value"),
        ({"option": ["split_percent=80/10/20"]}, "split_percent=80/10/20"),
        ({"option": ["num_candidates=1"]}, "num_candidates=1"),
        ({"option": ["split_lists=nowhere"]}, "split_lists 'nowhere'"),
    ],
)
def test_a_wrong_call_is_answered_with_what_is_right(folder: Path, tmp_path: Path, settings: dict, message: str) -> None:
    """A mistake in the call is a UsageError that names it, and nothing is written."""
    output = tmp_path / settings.get("output", "out.jsonl")
    with pytest.raises(UsageError, match=message):
        convert(**({"task": "rsclassify", "input": folder} | settings | {"output": output}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_pictures_start_at_images_when_given(folder: Path, tmp_path: Path) -> None:
    """--images moves the root, and the manifest leads to every picture from where the JSONL lies."""
    output = tmp_path / "deep" / "er" / "out.jsonl"
    manifest = convert(task="rsclassify", input=folder / "2750", output=output, images=tmp_path)
    assert manifest["image_root"] == "../.."
    for record in adapt.read_records(output):
        assert record.images[0].startswith("set/2750/")
        assert (output.parent / manifest["image_root"] / record.images[0]).is_file()


def test_tasks_lists_what_each_reads() -> None:
    """Every task says its layout and its sample unit, once."""
    rows = [row for row in tasks() if row["kind"] == "task"]
    names = [row["name"] for row in rows]
    assert len(names) == len(set(names))
    assert {"rsclassify", "rsvqa", "easyvqa", "classify", "vqa", "chat"} <= set(names)
    assert all(row["layout"] and row["unit"] and row["summary"] for row in rows)


@pytest.mark.parametrize("field", ["driving", "general", "medical", "remote_sensing"])
def test_each_dataset_says_its_licence(field: str) -> None:
    """A field's tasks have the licence that the table of its page has, and none is without one."""
    page = Path(__file__).parent.parent.parent / "domains" / field / "README.md"
    cells = [re.split(r"(?<!\\) \| ", line) for line in page.read_text().splitlines() if line.startswith("| `")]
    table = {row[0].strip("| `"): row[2] for row in cells if len(row) == 4 and "adapt convert" in row[3]}
    said = {row["name"]: row["licence"] for row in tasks() if row["kind"] == "task" and row["domain"] == field}
    generic = {"classify", "ground", "detect", "count", "region", "multiview", "video", "vqa", "chat"}
    assert {name: said[name] for name in said if name not in generic} == table
    assert all(table.values()) and not any(said[name] for name in said if name in generic)


def test_the_manifest_names_the_licence(folder: Path, tmp_path: Path) -> None:
    """What is known of a dataset's licence goes where a model's card reads it; pictures of one's own have no such entry."""
    output = tmp_path / "out.jsonl"
    manifest = convert(task="rsclassify", input=folder / "2750", output=output)
    assert manifest["licence"].startswith("EuroSAT MIT")
    assert "licence" not in convert(task="classify", input=folder / "2750", output=tmp_path / "own.jsonl")


def test_convert_does_not_import_torch() -> None:
    """Converting needs no torch: the verb answers at once."""
    script = "import sys; from adapt.verbs.convert import convert; from adapt.domain import all_domains; all_domains(); "
    subprocess.run([sys.executable, "-c", script + "sys.exit('torch' in sys.modules)"], check=True)


@pytest.mark.slow
def test_a_killed_conversion_leaves_all_or_nothing(shared: Path, tmp_path: Path) -> None:
    """SIGKILL at 20 moments: the output is absent or complete, the next run equals an undisturbed one, no orphans stay."""
    data = shared / "data" / "easy_vqa" / "data"
    whole = convert(task="easyvqa", input=data, output=tmp_path / "whole" / "out.jsonl")["sha256"]
    script = (
        "import sys; from adapt.verbs import convert; convert(task='easyvqa', input=sys.argv[1], output=sys.argv[2], workers=2)"
    )
    output = tmp_path / "killed" / "out.jsonl"
    killed = 0
    for number in range(20):
        process = subprocess.Popen([sys.executable, "-c", script, str(data), str(output)], stderr=subprocess.DEVNULL)
        time.sleep(0.3 + 0.1 * number)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not output.exists() or hashlib.sha256(output.read_bytes()).hexdigest() == whole
        output.unlink(missing_ok=True)
    assert killed >= 5, "the moments must fall into the conversion"
    assert convert(task="easyvqa", input=data, output=output)["sha256"] == whole
    left = sorted(path.name for path in output.parent.iterdir())
    assert left == ["out.jsonl", "out.manifest.json", "out.pictures.jsonl"]


def wait_for_handler(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """Until a starting process answers a signal itself: before, it dies of it, having done nothing."""
    status, end = Path(f"/proc/{process.pid}/status"), time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        caught = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
        if int(caught, 16) >> (number - 1) & 1:
            return
        time.sleep(0.01)


@pytest.mark.slow
def test_a_stopped_conversion_leaves_all_or_nothing(shared: Path, tmp_path: Path) -> None:
    """Ctrl-C in a terminal (to the whole group) and SIGTERM at 20 moments: 130 and 143, one line, no file, no worker left."""
    data, output = shared / "data" / "easy_vqa" / "data", tmp_path / "out" / "out.jsonl"
    command = [sys.executable, "-m", "adapt", "convert", "--task", "easyvqa", "--input", str(data), "--output", str(output)]
    command += ["--workers", "2", "--option", "upright=yes"]  # which makes pictures, too
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    took = time.monotonic() - began
    whole = output.read_bytes()
    stopped = 0
    for number in range(20):
        shutil.rmtree(output.parent)
        sent = signal.SIGINT if number % 2 else signal.SIGTERM
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
        )
        began = time.monotonic()
        wait_for_handler(process, signal.SIGTERM)
        time.sleep(0.7 * took * number / 20)
        if process.poll() is None:
            os.killpg(process.pid, sent) if sent == signal.SIGINT else process.send_signal(sent)
        said = process.communicate()[1].replace("\r", "\n").splitlines()
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
        output.parent.mkdir(exist_ok=True)
        if process.returncode == 128 + sent and not output.exists():
            stopped += 1
            assert said[-1] == ("error: interrupted" if number % 2 else "error: stopped by SIGTERM")
            assert not any("Traceback" in line for line in said) and not list(output.parent.iterdir())
        else:  # it was done before
            assert output.exists(), (process.returncode, said)
            assert output.read_bytes() == whole
            took = min(took, time.monotonic() - began)  # the machine was busier when the first was timed
    assert stopped >= 8, "the moments must fall into the conversion"


@pytest.mark.parametrize("name", ["a.json.gz", "set.ZIP", "rows.tar.xz"])
def test_what_is_packed_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"is packed; unpack it, and point --input at what was in it$"):
        convert(task="ground", input=tmp_path / name, output=tmp_path / "out.jsonl")


def test_a_fault_after_the_rows_stand_takes_no_picture_from_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the manifest cannot take its name, the new rows are whole, and so are the pictures that they show."""
    output, replace = tmp_path / "out.jsonl", os.replace

    def fails(source: Path, target: Path) -> None:
        if target.name == "out.manifest.json":
            raise OSError("no space left")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no space left"):
        convert(task="classify", input=folder, output=output, option="upright=yes")
    records = adapt.read_records(output)
    assert len(records) == 40
    assert {record.images[0] for record in records} == {path.name for path in output.with_suffix(".images").iterdir()}


def test_a_fault_before_leaves_no_made_picture(folder: Path, tmp_path: Path) -> None:
    """Pictures that were made for rows that are not written are taken away; those of an earlier run stay with its rows."""
    output = tmp_path / "out.jsonl"
    convert(task="classify", input=folder / "2750", output=output, option="upright=yes", limit=5)
    before = sorted(path.name for path in output.with_suffix(".images").iterdir())
    (folder / "2750" / "River" / "River_99.png").write_bytes(b"")
    with pytest.raises(DataError, match="1 of 41 samples rejected"):
        convert(task="classify", input=folder / "2750", output=output, option="upright=yes")
    assert sorted(path.name for path in output.with_suffix(".images").iterdir()) == before


RUN_NOTED = """
import os, sys

calls = []

def note(event, arguments):
    if event == "ctypes.dlsym" and arguments[1] == "syncfs":
        calls.append("sync")
    if event == "os.rename":
        calls.append(os.path.basename(arguments[1]))

from adapt.verbs import convert
sys.addaudithook(note)
convert(task="classify", input=sys.argv[1], output=sys.argv[2], option=sys.argv[3:], workers=0)
print(*calls)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="syncfs is Linux's")
def test_made_pictures_are_durable_before_the_rows(folder: Path, tmp_path: Path) -> None:
    """One sync for all made pictures, before rows that show them take their name; none where pictures stay where they are."""
    for option, expected in (["upright=yes"], ["sync", "out.jsonl"]), ([], ["out.jsonl"]):
        arguments = [sys.executable, "-c", RUN_NOTED, str(folder / "2750"), str(tmp_path / "out.jsonl"), *option]
        done = subprocess.run(arguments, check=True, capture_output=True, text=True)
        calls = done.stdout.split()
        assert [each for each in calls if each in ("sync", "out.jsonl")] == expected


def test_many_lines_of_one_sample_cost_their_number(tmp_path: Path) -> None:
    """30,000 records of one sample are looked at in no time, and one that comes twice is found."""
    tally = _Tally(numbers_rows=False)
    lines = [Line(f"id-{number}", None, (), b"") for number in range(30_000)]
    sample = Rejected("here", "", None)
    start = time.process_time()
    assert tally.repeated(sample, lines) is None
    assert time.process_time() - start < 5
    fault = tally.repeated(sample, [*lines, lines[7]])
    assert fault is not None and "'id-7' was seen before" in fault.reason


RUN_MEASURED = """
import sys

from adapt.verbs import convert
convert(task="chat", input=sys.argv[1], output=sys.argv[2], workers=0)
# Not getrusage, whose peak begins with that of the process that started this one.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """adapt convert --task chat: 220,000 rows need less than 40 MB more than 20,000."""
    peaks_kb = []
    for count in (20_000, 220_000):
        source = tmp_path / f"{count}.in.jsonl"
        with open(source, "w") as handle:
            for number in range(count):
                question = {"from": "human", "value": f"What is {number} and {number % 97}? " + "Explain every step. " * 15}
                answer = {"from": "gpt", "value": f"It is {number + number % 97}."}
                handle.write(json.dumps({"id": f"row-{number}", "conversations": [question, answer]}) + "\n")
        arguments = [sys.executable, "-c", RUN_MEASURED, str(source), str(tmp_path / f"{count}.jsonl")]
        done = subprocess.run(arguments, check=True, capture_output=True, text=True)
        peaks_kb.append(int(done.stdout))
        with open(tmp_path / f"{count}.jsonl") as handle:
            assert sum(1 for _ in handle) == count
    print(f"peaks: {peaks_kb[0]:,} and {peaks_kb[1]:,} kB")
    assert peaks_kb[1] - peaks_kb[0] < 40_000
