"""Classification questions: the names, the options, and that only the picture tells the answer."""

import collections
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pytest
from PIL import Image

import adapt
from adapt.domain import Answered, Source, find_benchmark, read_options
from adapt.errors import DataError, UsageError
from adapt.verbs import check, convert
from converters import classification
from converters.classification import ClassSample

CLASSES = tuple("barn bridge field forest harbor lake quarry river road town".split())  # noqa: SIM905


def make_samples(count: int) -> list[ClassSample]:
    labels = [CLASSES[number % len(CLASSES)] for number in range(count)]
    return [ClassSample(f"s-{number}", "", None, ("a.png",), label, label, "test") for number, label in enumerate(labels)]


def make_records(count: int, **options: str) -> list[adapt.records.ChatRecord]:
    source = Source(Path(), None, options, 0)
    classes = classification.read_candidates(options, CLASSES)
    return [record for sample in make_samples(count) for record in classification.convert(sample, classes, source)]


def chi_square(counts: collections.Counter, cells: int) -> float:
    expected = sum(counts.values()) / cells
    return sum((counts[cell] - expected) ** 2 / expected for cell in range(cells))


@pytest.mark.parametrize("style", ["names", "letters"])
@pytest.mark.parametrize("num", [4, 9])
def test_the_place_of_the_label_cannot_be_learnt(style: str, num: int) -> None:
    """Over 4,000 rows the label stands everywhere alike, for each class too, and no distractor is favoured."""
    records = make_records(4000, style=style, num_candidates=str(num))
    places = collections.Counter(record.meta["candidates"].index(record.meta["label"]) for record in records)
    # The 99.99 % points of chi-square with 3 and 8 degrees of freedom are 21.1 and 31.8.
    bound = {4: 21.1, 9: 31.8}[num]
    assert chi_square(places, num) < bound
    for label in CLASSES:
        own = [record for record in records if record.meta["label"] == label]
        assert chi_square(collections.Counter(each.meta["candidates"].index(label) for each in own), num) < bound
        others = collections.Counter(name for each in own for name in each.meta["candidates"] if name != label)
        expected = len(own) * (num - 1) / 9
        assert all(abs(others[name] - expected) < 5 * expected**0.5 for name in CLASSES if name != label)


def test_letters_are_balanced_and_point_at_the_label() -> None:
    """The letter is that of the label's option, and the letters are used alike."""
    records = make_records(2000, style="letters")
    for record in records:
        letter, label = record.answer, record.meta["label"]
        assert f" {letter}. {label}" in record.question
        assert record.meta["candidates"]["ABCDEFGHIJ".index(letter)] == label
        assert sorted(record.meta["candidates"]) == sorted(CLASSES)
    counts = collections.Counter("ABCDEFGHIJ".index(record.answer) for record in records)
    assert chi_square(counts, 10) < 33.7  # 99.99 % point with 9 degrees of freedom


def test_questions_read_as_published() -> None:
    """The two published forms, word for word (arXiv 2410.16261, section 3.3)."""
    names = make_records(1)[0]
    assert names.question == (
        "<image>\nClassify the image within one of the given classes: barn, bridge, field, forest, harbor, lake, quarry, "
        "river, road, town. Answer with one word or short phrase."
    )
    assert names.answer == "barn"
    letters = make_records(
        1, style="letters", num_candidates="2", prefix="Predict the behavior of the ego vehicle.", suffix="Now."
    )[0]
    first, second = letters.meta["candidates"]
    assert letters.question == f"<image>\nPredict the behavior of the ego vehicle. A. {first} B. {second} Now."


def test_draws_depend_on_seed_and_id_alone() -> None:
    """A row's candidates do not change when other rows come or go; another seed draws others."""
    few, many = make_records(10, style="letters"), make_records(100, style="letters")
    assert few == many[:10]
    source = Source(Path(), None, {"style": "letters"}, 1)
    assert classification.convert(make_samples(1)[0], CLASSES, source)[0].question != few[0].question


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DenseResidential", "dense residential"),
        ("AnnualCrop", "annual crop"),
        ("SeaLake", "sea lake"),
        ("sea_ice", "sea ice"),
        ("River", "river"),
        ("SUVCar", "suv car"),
        ("T-junction", "t junction"),
        ("class2Name", "class2 name"),
        ("and/or - not", "and or not"),
        ("Covid-19", "covid 19"),
        ("-1", "-1"),
        ("HER2-", "her2-"),
        ("ER+/PR-", "er+ pr-"),
        ("0-1", "0-1"),
        ("T1/2_N-", "t1/2 n-"),
        ("0 - 10mm", "0 - 10mm"),
        ("-", "-"),
    ],
)
def test_class_names_become_readable(name: str, text: str) -> None:
    """Camel case, underscores and dashes become plain words; signs and ranges of numbers stay what they are."""
    assert classification.readable(name) == text


def test_classes_that_differ_in_their_sign_are_apart(tmp_path: Path) -> None:
    """-1 of a column of labels is not offered as 1, nor answered so."""
    Image.new("RGB", (4, 5)).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("image,label\na.png,-1\na.png,0\na.png,1\n")
    convert(task="classify", input=tmp_path / "t.csv", output=tmp_path / "out.jsonl")
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert [record.answer for record in records] == ["-1", "0", "1"] and records[0].meta["candidates"] == ["-1", "0", "1"]


def test_classes_that_would_read_alike_are_refused() -> None:
    """Two folders must not become one class."""
    with pytest.raises(DataError, match="'SeaIce' and 'sea_ice' would both be called 'sea ice'"):
        classification.readable_names(["sea_ice", "SeaIce"])


def test_candidates_come_from_option_or_file(tmp_path: Path) -> None:
    """A comma list and a file name the candidates; a sample whose class is not among them is refused."""
    path = tmp_path / "classes.txt"
    path.write_text("river\nroad\n\ntown\n")
    assert classification.read_candidates({"candidates": str(path)}, CLASSES) == ("river", "road", "town")
    assert classification.read_candidates({"candidates": "river, road"}, CLASSES) == ("river", "road")
    with pytest.raises(UsageError, match="two or more different"):
        classification.read_candidates({"candidates": "river,river"}, CLASSES)
    with pytest.raises(UsageError, match=r"'images lr' is the only class, .* --option candidates='images lr,\.\.\.', or point"):
        classification.read_candidates({}, ["images lr"])
    with pytest.raises(UsageError, match="no letters"):
        classification.read_candidates({"style": "letters"}, [f"class {number}" for number in range(27)])
    with pytest.raises(DataError, match="'barn' is not among the candidates"):
        make_records(1, candidates="river,road")


def test_an_image_folder_with_splits_is_classified(tmp_path: Path) -> None:
    """Generic folders: splits and nested classes are seen, and the manifest leads back to the folders' names."""
    for split in ("train", "validation", "test"):
        for name in ("animals/BlackCat", "animals/Dog", "Car"):
            path = tmp_path / "set" / split / name / "a.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (4, 5)).save(path)
    manifest = convert(task="classify", input=tmp_path / "set", output=tmp_path / "out.jsonl")
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert manifest["counts"]["splits"] == {"test": 3, "train": 3, "val": 3}
    assert manifest["facts"]["classes"] == {"BlackCat": "black cat", "Car": "car", "Dog": "dog"}
    assert {(record.answer, record.meta["class_name"]) for record in records} == {
        ("black cat", "BlackCat"),
        ("car", "Car"),
        ("dog", "Dog"),
    }
    assert records[0].sizes == ((4, 5),) and records[0].task == "classify"


def test_a_folder_of_classes_named_for_a_split_is_of_it(tmp_path: Path) -> None:
    """set/test with class folders is of the test split; in a folder train that holds splits those are right."""
    for name in ("set/test/cat/1.png", "set/test/dog/2.png", "train/val/cat/3.png", "train/test/dog/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 5)).save(tmp_path / name)
    for folder, splits in (("set/test", {"test": 2}), ("train", {"val": 1, "test": 1})):
        manifest = convert(task="classify", input=tmp_path / folder, output=tmp_path / "out.jsonl")
        assert manifest["counts"]["splits"] == splits


def test_pictures_of_formats_that_are_not_read_are_rejected(tmp_path: Path) -> None:
    """Each has its reason, and a class of nothing else stays a candidate; a.heic beside a.png takes no part in its id."""
    for name in ("train/cat/a.png", "train/dog/b.png"):
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(tmp_path / "s" / name)
    for name in ("train/cat/a.HEIC", "train/fox/c.avif", "train/fox/notes.txt"):
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / name).write_bytes(b"x")
    with pytest.raises(DataError, match="2 of 4 samples rejected"):
        convert(task="classify", input=tmp_path / "s", output=tmp_path / "o.jsonl")
    counts = convert(task="classify", input=tmp_path / "s", output=tmp_path / "o.jsonl", max_bad=2)["counts"]
    assert counts["ignored"] == {"not a picture by name": 1}
    rejected = [json.loads(line) for line in (tmp_path / "o.rejected.jsonl").read_text().splitlines()]
    reason = "a picture of the format {}, which is not read; convert it to PNG or JPEG"
    assert rejected == [
        {"where": "train/cat/a.HEIC", "reason": reason.format("HEIC")},
        {"where": "train/fox/c.avif", "reason": reason.format("AVIF")},
    ]
    records = adapt.read_records(tmp_path / "o.jsonl")
    assert [record.id for record in records] == ["s-train/cat/a", "s-train/dog/b"]
    assert all("fox" in record.question for record in records)


def test_a_table_is_classified(tmp_path: Path) -> None:
    """A table with pictures and classes works like a folder; a row without a class is rejected by its line."""
    Image.new("RGB", (4, 5)).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("file,kind,split\na.png,DryLand,train\na.png,,train\na.png,wet_land,dev\n")
    options = ["image=file", "label=kind"]
    manifest = convert(task="classify", input=tmp_path / "t.csv", output=tmp_path / "out.jsonl", option=options, max_bad=1)
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert [(record.answer, record.split) for record in records] == [("dry land", "train"), ("wet land", "val")]
    assert manifest["counts"]["reasons"] == {"column ... is empty, expected a class": 1}
    assert '"t.csv:3"' in (tmp_path / "out.rejected.jsonl").read_text()


@pytest.mark.parametrize(("rows", "said"), [("", "no samples found"), ("a.png,\n", "t.csv:2: column 'label' is empty")])
def test_a_table_without_classes_says_what_it_lacks(rows: str, said: str, tmp_path: Path) -> None:
    """Rows, or a class in each: not the candidates, which nobody gave."""
    (tmp_path / "t.csv").write_text(f"image,label\n{rows}")
    with pytest.raises(DataError, match=said):
        convert(task="classify", input=tmp_path / "t.csv", output=tmp_path / "out.jsonl")


@pytest.mark.slow
def test_pictures_inside_tables_are_not_held_together(tmp_path: Path) -> None:
    """Reading 16 files of 0.3 MB, a picture in each, takes the memory of a few: a set may be larger than the machine's."""
    generator = np.random.default_rng(0)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    for number in range(16):
        file = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (300, 300, 3), np.uint8)).save(file, "PNG", compress_level=0)
        row = {"image": [{"bytes": file.getvalue(), "path": None}], "label": ["ab"[number % 2]]}
        datasets.Dataset.from_dict(row, features=features).to_parquet(tmp_path / f"train-{number:05}-of-00016.parquet")
    source = Source(tmp_path, None, read_options(classification.TASK.options, {}, "classify"), 0, tmp_path / "made")
    list(classification.read(source).samples)  # what is imported for it is not counted
    tracemalloc.start()
    try:
        samples = list(classification.read(source).samples)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(samples) == len(list((tmp_path / "made").iterdir())) == 16
    assert peak < 2e6 < sum(path.stat().st_size for path in tmp_path.glob("*.parquet")) / 2


def write_several(folder: Path, labels: list[Any], name: str = "t.jsonl") -> Path:
    Image.new("RGB", (4, 5)).save(folder / "a.png")
    rows = [{"image": "a.png", "label": label} for label in labels]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def test_lists_of_classes_are_all_that_apply(tmp_path: Path) -> None:
    """Lists in a table: the answer names them in the candidates' order whatever the row's was; none is a word of its own."""
    path = write_several(tmp_path, [["LungOpacity", "edema"], [], ["edema"], "mass", ["edema", "mass", "edema"]])
    convert(task="classify", input=path, output=tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["conversations"][1]["value"] for row in rows] == ["edema, lung opacity", "none", "edema", "mass", "edema, mass"]
    assert rows[0] == {
        "id": "t-1", "image": "a.png", "width": 4, "height": 5,
        "conversations": [
            {"from": "human", "value": "<image>\nClassify the image with all of the given classes that apply: edema, lung "
             "opacity, mass. Answer with their names, separated by commas, or with none where no class applies."},
            {"from": "gpt", "value": "edema, lung opacity"},
        ],
        "task": "classify", "source": "t",
        "meta": {"label": ["edema", "lung opacity"], "class_name": ["edema", "LungOpacity"],
                 "candidates": ["edema", "lung opacity", "mass"]},
    }  # fmt: skip
    assert rows[1]["meta"]["label"] == [] and rows[1]["meta"]["class_name"] == []


def test_a_separator_parts_the_classes_of_a_cell(tmp_path: Path) -> None:
    """separator=; reads text cells; an empty cell means that none applies; letters and the word for none can be chosen."""
    Image.new("RGB", (4, 5)).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("image,label\na.png,town;river; road\na.png,\na.png,river;\n")
    options = ["separator=;", "style=letters", "none=nothing"]
    manifest = convert(task="classify", input=tmp_path / "t.csv", output=tmp_path / "out.jsonl", option=options)
    records = adapt.read_records(tmp_path / "out.jsonl")
    assert [record.answer for record in records] == ["A, B, C", "nothing", "A"]
    assert records[0].question == (
        "<image>\nClassify the image with all of the given classes that apply: A. river B. road C. town Answer with their "
        "letters, separated by commas, or with nothing where no class applies."
    )
    assert manifest["facts"]["classes"] == {"river": "river", "road": "road", "town": "town"}


def test_cells_that_are_no_classes_are_rejected(tmp_path: Path) -> None:
    """Null, a truth value, an object or a list in the list rejects the row alone; a class outside the candidates does, too."""
    path = write_several(tmp_path, [["a", "b"], None, True, {"a": 1}, [["a"]], [None], "", 3, ["c"]])
    option = ["candidates=a,b,3"]
    manifest = convert(task="classify", input=path, output=tmp_path / "out.jsonl", option=option, max_bad=7)
    assert [record.answer for record in adapt.read_records(tmp_path / "out.jsonl")] == ["a, b", "3"]
    assert (manifest["counts"]["read"], manifest["counts"]["rejected"]) == (9, 7)


@pytest.mark.parametrize("separator", [[], ["separator=,"]])
def test_lists_written_as_text_are_rejected(tmp_path: Path, separator: list[str]) -> None:
    """What pandas makes of lists in a csv is no class: each such row names its cell, and what to do."""
    Image.new("RGB", (4, 5)).save(tmp_path / "a.png")
    cells = ["['cat', 'dog']", "[0, 2]", "[]", '[""it\'s""]', "['cat' 'dog']", "[10-20]", "cat"]
    (tmp_path / "t.csv").write_text("image,label\n" + "".join(f'a.png,"{cell}"\n' for cell in cells))
    call = {"input": tmp_path / "t.csv", "output": tmp_path / "out.jsonl", "option": separator}
    assert convert(task="classify", **call, max_bad=5)["facts"]["classes"] == {"[10-20]": "[10-20]", "cat": "cat"}
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert len(reasons) == 5 and reasons[0] == (
        "column 'label' is \"['cat', 'dog']\", a list written as text; write the classes as cat|dog and add --option "
        "separator='|', or save the table as JSONL or Parquet with lists in it"
    )


def test_names_with_commas_are_parted_by_semicolons(tmp_path: Path) -> None:
    """Where a class is called "normal, benign" a comma between classes would not tell where one ends."""
    path = write_several(tmp_path, [["normal, benign", "mass"], ["mass"]])
    convert(task="classify", input=path, output=tmp_path / "out.jsonl")
    first = adapt.read_records(tmp_path / "out.jsonl")[0]
    assert first.answer == "mass; normal, benign"
    assert "apply: mass; normal, benign. Answer with their names, separated by semicolons" in first.question
    source = Source(Path(), None, {}, 0)
    sample = ClassSample("s", "", None, ("a.png",), "mass", "mass", "test")
    (single,) = classification.convert(sample, ("mass", "normal, benign"), source)
    assert "given classes: mass; normal, benign. Answer" in single.question


@pytest.mark.parametrize("options", [[], ["style=letters"]])
@pytest.mark.parametrize("labels", [[["a", "b"], [], ["c"]], [["normal, benign", "mass"], [], ["mass"]]])
def test_rows_of_several_classes_have_no_fault_and_score_as_right(
    tmp_path: Path, labels: list[Any], options: list[str]
) -> None:
    """The check finds no answer outside the candidates, and the benchmark marks the truth itself with 1."""
    convert(task="classify", input=write_several(tmp_path, labels), output=tmp_path / "out.jsonl", option=options)
    assert not [fault for fault in check([tmp_path / "out.jsonl"])["faults"] if fault["kind"] == "answer"]
    answered = [Answered(record, record.answer) for record in adapt.read_records(tmp_path / "out.jsonl")]
    scores = find_benchmark("classify").score(answered, {})
    assert scores.metrics["accuracy"].value == scores.metrics["balanced_accuracy"].value == 1.0


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    """A part of the candidates, a word for none that is a class in any spelling, and that word where each row has one class."""
    path = write_several(tmp_path, [["a", "b"], ["none"]])
    with pytest.raises(UsageError, match="none=none: expected a word that is not one of the classes"):
        convert(task="classify", input=path, output=tmp_path / "out.jsonl")
    (tmp_path / "t.csv").write_text("image,label\na.png,No Finding\na.png,Mass|Edema\na.png,\n")
    for given in ("No Finding", "NO_FINDING"):
        option = ["separator=|", f"none={given}"]
        said = rf"none={given}: expected a word that is not one of the classes \(it is 'no finding'\)"
        with pytest.raises(UsageError, match=said):
            convert(task="classify", input=tmp_path / "t.csv", output=tmp_path / "out.jsonl", option=option)
    with pytest.raises(UsageError, match="all are offered"):
        convert(task="classify", input=path, output=tmp_path / "out.jsonl", option=["num_candidates=2", "none=-"])
    single = write_several(tmp_path, ["a", "b"], "s.jsonl")
    with pytest.raises(UsageError, match="each row has one class"):
        convert(task="classify", input=single, output=tmp_path / "out.jsonl", option=["none=-"])


def test_one_picture_in_two_folders_is_two_samples(tmp_path: Path) -> None:
    """Folders give one class each: the same bytes in two of them are told as the same content, not made multi-label."""
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", (4, 5)).save(tmp_path / "set" / name / "a.png")
    manifest = convert(task="classify", input=tmp_path / "set", output=tmp_path / "out.jsonl")
    assert [record.meta["label"] for record in adapt.read_records(tmp_path / "out.jsonl")] == ["cat", "dog"]
    assert manifest["pictures"]["same_content"] == 1


def test_pictures_that_differ_in_their_extension_are_two_samples(tmp_path: Path) -> None:
    """x.png and x.jpg in one class folder get their extensions into their ids; the other ids stay as they are."""
    for name in ("cat/x.png", "cat/x.jpg", "cat/y.png", "dog/x.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 5)).save(tmp_path / "set" / name)
    convert(task="classify", input=tmp_path / "set", output=tmp_path / "out.jsonl")
    assert {record.id: record.images for record in adapt.read_records(tmp_path / "out.jsonl")} == {
        "set-cat/x.png": ("cat/x.png",),
        "set-cat/x.jpg": ("cat/x.jpg",),
        "set-cat/y": ("cat/y.png",),
        "set-dog/x": ("dog/x.png",),
    }


def test_a_blank_is_no_class(tmp_path: Path) -> None:
    """A cell of blanks rejects its row, and no class without a name is offered."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "rows.csv").write_text("image,label\na.png,dog\na.png,cat\na.png,  \n")
    manifest = convert(task="classify", input=tmp_path / "rows.csv", output=tmp_path / "out.jsonl", max_bad=1)
    assert manifest["facts"]["classes"] == {"cat": "cat", "dog": "dog"} and manifest["counts"]["rejected"] == 1


@pytest.mark.parametrize("name", ["t.parquet", "t"])
def test_a_hidden_label_is_no_class(tmp_path: Path, name: str) -> None:
    """-1, as Hugging Face marks a label that is kept back: the row is rejected, and no class of that name is offered."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    features = datasets.Features(image=datasets.Value("string"), label=datasets.ClassLabel(names=["cat", "dog"]))
    table = datasets.Dataset.from_dict({"image": ["a.png"] * 3, "label": [0, -1, 1]}, features=features)
    table.to_parquet(tmp_path / name) if name.endswith(".parquet") else table.save_to_disk(tmp_path / name)
    call = {"input": tmp_path / name, "images": tmp_path, "output": tmp_path / "out.jsonl", "max_bad": 1}
    assert convert(task="classify", **call)["facts"]["classes"] == {"cat": "cat", "dog": "dog"}
    rejected = json.loads((tmp_path / "out.rejected.jsonl").read_text())
    assert (rejected["where"][-2:], rejected["reason"]) == (
        "#1",
        "column 'label' is empty, or -1 as of a hidden label, expected a class",
    )


@pytest.mark.parametrize("name", ["t.parquet", "t"])
def test_lists_of_class_numbers_become_names(tmp_path: Path, name: str) -> None:
    """Several labels a picture, as `datasets` stores them; a hidden one, or one beyond the names, rejects its row alone."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    numbers = {"image": ["a.png"] * 5, "label": [[0, 1], [], [1], [0, -1], [7]]}
    label = datasets.List(datasets.ClassLabel(names=["cat", "dog"]))
    features = datasets.Features(image=datasets.Value("string"), label=label)
    stored = pyarrow.table(numbers).replace_schema_metadata(features.arrow_schema.metadata)
    table = datasets.Dataset(datasets.table.InMemoryTable(stored))
    table.to_parquet(tmp_path / name) if name.endswith(".parquet") else table.save_to_disk(tmp_path / name)
    convert(task="classify", input=tmp_path / name, images=tmp_path, output=tmp_path / "out.jsonl", max_bad=2)
    assert [record.answer for record in adapt.read_records(tmp_path / "out.jsonl")] == ["cat, dog", "none", "dog"]
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert reasons[0] == """column 'label' is "['cat', None]", expected a list of classes ([] for none)"""
    assert reasons[1] == "class 7 in column 'label', but the table names 2 classes, from 0"


@pytest.mark.parametrize("name", ["t.parquet", "t"])
def test_a_gap_in_numbers_is_no_class(tmp_path: Path, name: str) -> None:
    """NaN, which stands for a missing value in a column of numbers, is no class "nan"; in text the word stays what it is.

    The gap made floats of the other numbers: they are classes 1 and 2, as in a column without one.
    """
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    table = datasets.Dataset.from_dict({"image": ["a.png"] * 3, "label": [1.0, float("nan"), 2.0]})
    table.to_parquet(tmp_path / name) if name.endswith(".parquet") else table.save_to_disk(tmp_path / name)
    call = {"images": tmp_path, "output": tmp_path / "out.jsonl", "max_bad": 1}
    assert list(convert(task="classify", input=tmp_path / name, **call)["facts"]["classes"]) == ["1", "2"]
    assert (
        "column 'label' is empty, or -1 as of a hidden label, expected a class" in (tmp_path / "out.rejected.jsonl").read_text()
    )
    (tmp_path / "t.csv").write_text("image,label\na.png,nan\na.png,other\n")
    assert list(convert(task="classify", input=tmp_path / "t.csv", **call)["facts"]["classes"]) == ["nan", "other"]


def lay(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(root / name)


def test_folders_of_one_name_are_a_class_each_or_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sites and folds: which of the two is meant no file says, so it is told, with the option for the other."""
    lay(tmp_path / "s", "a/normal/1.png", "a/tumor/2.png", "b/normal/3.png", "b/cyst/4.png")
    classes = convert(task="classify", input=tmp_path / "s", output=tmp_path / "o.jsonl")["facts"]["classes"]
    assert list(classes) == ["a/normal", "b/normal", "cyst", "tumor"]
    said = capsys.readouterr().err
    assert "the folders are the classes: a/normal, b/normal, cyst, tumor\n" in said
    assert "folders called 'normal' lie in several places" in said and "--option same_names=joined" in said
    option = ["same_names=joined"]
    classes = convert(task="classify", input=tmp_path / "s", output=tmp_path / "o.jsonl", option=option)["facts"]["classes"]
    assert list(classes) == ["cyst", "normal", "tumor"] and "several places" not in capsys.readouterr().err
    records = adapt.read_records(tmp_path / "o.jsonl")
    assert [(record.id, record.answer) for record in records] == [
        ("s-a/normal/1", "normal"), ("s-a/tumor/2", "tumor"), ("s-b/cyst/4", "cyst"), ("s-b/normal/3", "normal")
    ]  # fmt: skip


def test_folders_of_pictures_beside_a_table_are_no_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """HAM10000's layout: the way to its table is named; where folders may be classes a table beside them is told."""
    lay(tmp_path / "h", "HAM_images_part_1/0.png", "HAM_images_part_2/1.png")
    (tmp_path / "h" / "meta.csv").write_text("image_id,dx\n0,bkl\n1,mel\n")
    with pytest.raises(UsageError, match="are no classes by their names, and meta.csv lies beside them") as error:
        convert(task="classify", input=tmp_path / "h", output=tmp_path / "o.jsonl")
    cure = f"--input {tmp_path}/h/meta.csv --images {tmp_path}/h --option image=COLUMN label=COLUMN"
    assert cure in str(error.value)
    option = ["image=image_id", "label=dx"]
    convert(
        task="classify", input=tmp_path / "h" / "meta.csv", images=tmp_path / "h", output=tmp_path / "o.jsonl", option=option
    )
    assert [record.answer for record in adapt.read_records(tmp_path / "o.jsonl")] == ["bkl", "mel"]
    (tmp_path / "h" / "HAM_images_part_2").rename(tmp_path / "h" / "dogs")
    convert(task="classify", input=tmp_path / "h", output=tmp_path / "o.jsonl")
    assert f"note: meta.csv is not read; where it holds the classes: {cure}" in capsys.readouterr().err
    with pytest.raises(UsageError, match="same_names=joined has no effect with a table"):
        option.append("same_names=joined")
        convert(task="classify", input=tmp_path / "h" / "meta.csv", output=tmp_path / "o.jsonl", option=option)


def test_several_classes_in_a_cell_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NIH's findings: where all parts of a cell are classes elsewhere, the option that parts them is named."""
    lay(tmp_path, "1.png", "2.png", "3.png")
    (tmp_path / "t.csv").write_text("image,label\n1.png,mass\n2.png,nodule\n3.png,mass|nodule\n")
    convert(task="classify", input=tmp_path / "t.csv", output=tmp_path / "o.jsonl")
    assert "one class each: mass|nodule; where such a cell names several" in (said := capsys.readouterr().err)
    assert "--option separator='|'" in said
    convert(task="classify", input=tmp_path / "t.csv", output=tmp_path / "o.jsonl", option=["separator=|"])
    assert "one class each" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folders", "are_classes"),
    [
        (("with_mask", "without_mask"), True),
        (("real_images", "fake_images"), True),
        (("images", "dogs"), True),
        (("site1/images", "site2/images"), False),
        (("images", "masks"), False),
        (("part_1_images", "part_2_images"), False),
    ],
)
def test_a_word_more_makes_a_folder_a_class(folders: tuple[str, str], are_classes: bool, tmp_path: Path) -> None:
    """Beside a table only folders whose names say nothing but pictures, their part and their set are refused."""
    lay(tmp_path / "s", *(f"{folder}/{number}.png" for number, folder in enumerate(folders)))
    (tmp_path / "s" / "info.csv").write_text("a,b\n")
    if are_classes:
        assert convert(task="classify", input=tmp_path / "s", output=tmp_path / "o.jsonl")["counts"]["records"] == 2
    else:
        with pytest.raises(UsageError, match="are no classes by their names, and info.csv lies beside them"):
            convert(task="classify", input=tmp_path / "s", output=tmp_path / "o.jsonl")


def test_a_folder_without_classes_names_its_tables(tmp_path: Path) -> None:
    """Pictures right in the folder, and a table of another name than a split's."""
    lay(tmp_path / "s", "1.png")
    (tmp_path / "s" / "labels.csv").write_text("image,label\n1.png,a\n")
    with pytest.raises(UsageError, match="no picture in a class folder.*it holds labels.csv, which is named for no split"):
        convert(task="classify", input=tmp_path / "s", output=tmp_path / "o.jsonl")
