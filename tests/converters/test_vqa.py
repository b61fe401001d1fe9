"""Questions from tables of every kind."""

import io
import itertools
import json
import unicodedata
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert

ROWS = [
    {"image": "a.png", "question": "What, then?", "answer": "yes"},
    {"image": "b.png", "question": 'Say "so"', "answer": "Größe"},
]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number, name in enumerate(("a.png", "b.png")):
        Image.new("RGB", (4 + number, 5), (number, 0, 9)).save(tmp_path / name)
    return tmp_path


def write_table(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / name
    table = datasets.Dataset.from_list(rows)
    if name.endswith(".csv"):
        table.to_csv(path)
    elif name.endswith(".tsv"):
        table.to_csv(path, sep="\t")
    elif name.endswith(".jsonl"):
        table.to_json(path)
    elif name.endswith(".json"):
        path.write_text(json.dumps(rows))
    elif name.endswith(".parquet"):
        table.to_parquet(path)
    else:
        table.save_to_disk(path)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.json", "t.jsonl", "t.parquet", "t"])
def test_every_kind_of_table_gives_the_same_rows(pictures: Path, name: str) -> None:
    """What pandas and `datasets` wrote is read back, commas, quotes and letters beyond ASCII included."""
    table = write_table(pictures, name, ROWS)
    convert(task="vqa", input=table, output=pictures / "out.jsonl", images=pictures, option=["suffix=Be brief."])
    records = adapt.read_records(pictures / "out.jsonl")
    assert [record.question for record in records] == ["<image>\nWhat, then?\nBe brief.", '<image>\nSay "so"\nBe brief.']
    assert [record.answer for record in records] == ["yes", "Größe"]
    assert [record.images for record in records] == [("a.png",), ("b.png",)]
    assert [record.id for record in records] == ["t-1", "t-2"]
    assert [record.sizes for record in records] == [((4, 5),), ((5, 5),)]


@pytest.mark.parametrize("name", ["t.parquet", "t"])
def test_pictures_inside_the_table_are_written_out(pictures: Path, name: str) -> None:
    """Embedded pictures lie in FILE.images under content names; equal ones lie there once; class numbers become names."""
    content = [(pictures / each).read_bytes() for each in ("a.png", "b.png", "a.png")]
    features = datasets.Features(
        {"image": datasets.Image(), "question": datasets.Value("string"), "answer": datasets.ClassLabel(names=["no", "yes"])}
    )
    columns = {"image": [{"bytes": each, "path": None} for each in content], "question": ["q"] * 3, "answer": [0, 1, 1]}
    table = datasets.Dataset.from_dict(columns, features=features)
    table.to_parquet(pictures / name) if name.endswith(".parquet") else table.save_to_disk(pictures / name)
    manifest = convert(task="vqa", input=pictures / name, output=pictures / "out.jsonl")
    records = adapt.read_records(pictures / "out.jsonl")
    assert manifest["image_root"] == "out.images"
    assert [record.answer for record in records] == ["no", "yes", "yes"]
    assert records[0].images == records[2].images != records[1].images
    for record, original in zip(records, content, strict=True):
        (pictures / "seen.png").write_bytes(original)
        made = Image.open(pictures / "out.images" / record.images[0])
        assert made.tobytes() == Image.open(pictures / "seen.png").tobytes()
    assert len(list((pictures / "out.images").iterdir())) == 2


@pytest.mark.parametrize("empty", [None, {"bytes": None, "path": None}, []])
def test_a_first_row_without_a_picture_does_not_hide_the_embedded_ones(pictures: Path, empty: Any) -> None:
    """Whether a table holds pictures shows in the first row that has one: the rows before it are rejected alone."""
    picture: Any = {"bytes": (pictures / "a.png").read_bytes(), "path": None}
    cell: Any = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")} if empty else datasets.Image()
    cells = [empty, picture, picture]
    if isinstance(empty, list):
        cells, cell = [empty, [None, picture], [picture]], datasets.List(cell)
    words = datasets.Value("string")
    features = datasets.Features({"image": cell, "question": words, "answer": words})
    columns = {"image": cells, "question": ["q"] * 3, "answer": ["a"] * 3}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(pictures / "t.parquet")
    convert(task="vqa", input=pictures / "t.parquet", output=pictures / "out.jsonl", max_bad=1)
    assert [record.sizes for record in adapt.read_records(pictures / "out.jsonl")] == [((4, 5),)] * 2
    assert json.loads((pictures / "out.rejected.jsonl").read_text())["where"] == "t.parquet#0"


@pytest.mark.parametrize(("task", "name"), [("vqa", "t.parquet"), ("chat", "t.parquet"), ("chat", "t")])
def test_embedded_pictures_are_found_behind_any_number_of_rows_without_one(pictures: Path, task: str, name: str) -> None:
    """More rows without a picture than are kept in memory: the table is looked through once more."""
    picture = {"bytes": (pictures / "a.png").read_bytes(), "path": None}
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    columns = {"image": [None] * 1_003 + [picture] * 2, "question": ["q"] * 1_005, "answer": ["a"] * 1_005,
               "conversations": [turns] * 1_005}  # fmt: skip
    words = datasets.Value("string")
    talk = datasets.List({"from": words, "value": words})
    features = datasets.Features({"image": datasets.Image(), "question": words, "answer": words, "conversations": talk})
    table = datasets.Dataset.from_dict(columns, features=features)
    table.to_parquet(pictures / name) if name.endswith(".parquet") else table.save_to_disk(pictures / name)
    convert(task=task, input=pictures / name, output=pictures / "out.jsonl", max_bad=1_003, workers=0)
    records = adapt.read_records(pictures / "out.jsonl")
    assert len(records) == (2 if task == "vqa" else 1_005)
    assert [record.sizes for record in records[-2:]] == [((4, 5),)] * 2


def test_made_pictures_of_an_earlier_run_go_and_other_files_stay(pictures: Path) -> None:
    """FILE.images holds what the rows show; a file that convert did not name is never touched."""
    images = pictures / "out.images"
    for name in ("a.png", "b.png"):
        bytes_ = {"bytes": (pictures / name).read_bytes(), "path": None}
        row = {"image": [bytes_], "question": ["q"], "answer": ["a"]}
        features = datasets.Features(
            {"image": datasets.Image(), "question": datasets.Value("string"), "answer": datasets.Value("string")}
        )
        datasets.Dataset.from_dict(row, features=features).to_parquet(pictures / "t.parquet")
        convert(task="vqa", input=pictures / "t.parquet", output=pictures / "out.jsonl")
        (images / "mine.png").write_bytes(b"mine")
    record = adapt.read_records(pictures / "out.jsonl")[0]
    assert {path.name for path in images.iterdir()} == {"mine.png", record.images[0]}


def test_bad_rows_are_rejected_with_their_line(pictures: Path) -> None:
    """Too many cells, a broken quote, an empty answer and a missing picture each name their own line."""
    lines = [
        "image,question,answer",
        'a.png,"two\nlines?",yes',
        "a.png,q,a,b",
        "a.png,q,",
        "none.png,q,a",
        'a.png,"q"x,a',
        "b.png,q,a",
    ]
    (pictures / "t.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="4 of 6 samples rejected"):
        convert(task="vqa", input=pictures / "t.csv", output=pictures / "out.jsonl")
    rejected = [json.loads(line) for line in (pictures / "out.rejected.jsonl").read_text().splitlines()]
    assert [row["where"] for row in rejected] == ["t.csv:4", "t.csv:5", "t.csv:6", "t.csv:7"]
    assert [
        word in row["reason"]
        for word, row in zip(("4 cells", "'answer'", "no such file", "not a table row"), rejected, strict=True)
    ]

    (pictures / "t.jsonl").write_text('{"image": "a.png", "question": "q", "answer": "a"}\n{"image": NaN}\n[1]\n\n{"image"')
    with pytest.raises(DataError, match="3 of 4 samples rejected"):
        convert(task="vqa", input=pictures / "t.jsonl", output=pictures / "out.jsonl")
    rejected = [json.loads(line) for line in (pictures / "out.rejected.jsonl").read_text().splitlines()]
    assert [row["where"] for row in rejected] == ["t.jsonl:2", "t.jsonl:3", "t.jsonl:5"]


@pytest.mark.parametrize("end", ['b.png,"q",a', 'b.png,q,5"', "b.png,q,a"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_rows_inside_a_quoted_cell_are_told(pictures: Path, name: str, end: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A stray quotation mark takes the rows up to the next one, or the end, into its cell: the lines are named once."""
    lines = ["image,question,answer", "a.png,q,a", 'a.png,q,"5 inches', "a.png,q,a", "b.png,q,a", end]
    (pictures / name).write_text("\n".join(lines).replace(",", "\t" if name.endswith(".tsv") else ",") + "\n")
    convert(task="vqa", input=pictures / name, output=pictures / "out.jsonl", max_bad=1)
    note = (
        "one quoted cell spans these lines, which look like rows of their own; if they are, double or remove its quotation mark"
    )
    said = capsys.readouterr().err
    assert f"note: {name}:3 to 6: {note}\n" in said and said.count("note:") == 1


def test_a_text_of_several_lines_is_not_taken_for_rows(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A quoted cell whose lines have other numbers of separators than a row is an ordinary one."""
    (pictures / "t.csv").write_text('image,question,answer\na.png,"Which?\nOne, or\nthe\n\nother?",a\nb.png,q,a\n')
    convert(task="vqa", input=pictures / "t.csv", output=pictures / "out.jsonl")
    assert "note:" not in capsys.readouterr().err
    assert len(adapt.read_records(pictures / "out.jsonl")) == 2


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "~/a.png", "C:\\a.png", "x\x00.png"])
def test_no_picture_path_leaves_the_root(pictures: Path, name: str) -> None:
    """A path that climbs out is a rejected row, never a file that is read."""
    inner = pictures / "inner"
    inner.mkdir()
    (inner / "t.json").write_text(json.dumps([{"image": name, "question": "q", "answer": "a"}]))
    with pytest.raises(DataError, match="the path"):
        convert(task="vqa", input=inner / "t.json", output=pictures / "out.jsonl")


@pytest.mark.parametrize("task", ["vqa", "classify"])
def test_pictures_are_found_without_extension_and_by_backslashes(pictures: Path, task: str) -> None:
    """Kaggle names the stem, Windows writes backslashes; a name of two pictures, or of another folder's, is rejected."""
    for name in ("train/x.png", "train/1.2.3.png", "train/y.png", "val/y.png", "val/z.png"):
        (pictures / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 5)).save(pictures / name)
    cells = ["a", "x", "1.2.3", "train\\x.png", "train/x", "val\\y", "y", "train/z", "train\\z.png", "1.2", "none"]
    rows = [f"{cell},q,a,{'cd'[number % 2]}\n" for number, cell in enumerate(cells)]
    (pictures / "t.csv").write_text("image,question,answer,label\n" + "".join(rows))
    counts = convert(task=task, input=pictures / "t.csv", output=pictures / "out.jsonl", max_bad=5)["counts"]
    found = [record.images[0] for record in adapt.read_records(pictures / "out.jsonl")]
    assert found == ["a.png", "train/x.png", "train/1.2.3.png", "train/x.png", "train/x.png", "val/y.png"]
    assert (counts["read"], counts["rejected"]) == (11, 5)
    assert "may be train/y.png or val/y.png" in (pictures / "out.rejected.jsonl").read_text()


@pytest.mark.parametrize("task", ["vqa", "classify"])
def test_a_whole_name_is_found_in_the_folders_below(pictures: Path, task: str) -> None:
    """Chest X-rays lie in twelve folders, and the table gives their names alone; one that several have is rejected."""
    for name in ("part_1/images/x.png", "part_2/images/y.png", "part_1/z.png", "part_2/z.png", "part_1/w.jpg"):
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 5)).save(pictures / name)
    cells = ["x.png", "a.png", "y.png", "z.png", "w.png", "part_1/y.png", "q" * 300 + ".png"]
    rows = [f"{cell},q,a,{'cd'[number % 2]}\n" for number, cell in enumerate(cells)]
    (pictures / "t.csv").write_text("image,question,answer,label\n" + "".join(rows))
    convert(task=task, input=pictures / "t.csv", output=pictures / "out.jsonl", max_bad=4)
    found = [record.images[0] for record in adapt.read_records(pictures / "out.jsonl")]
    assert found == ["part_1/images/x.png", "a.png", "part_2/images/y.png"]
    first, second, third, last = (pictures / "out.rejected.jsonl").read_text().splitlines()
    assert '"t.csv:8"' in last
    assert "may be part_1/z.png or part_2/z.png" in first and "w.png" in second and "part_1/y.png" in third


@pytest.mark.parametrize("task", ["vqa", "classify"])
def test_an_extension_in_another_case_is_found(pictures: Path, task: str) -> None:
    """As in lists of boxes: A.PNG is a.png where no other is meant, and never a.jpg, nor A.png another picture."""
    (pictures / "t.csv").write_text("image,question,answer,label\na.PNG,q,a,c\nb.png,q,a,d\na.JPG,q,a,c\nA.png,q,a,c\n")
    convert(task=task, input=pictures / "t.csv", output=pictures / "out.jsonl", max_bad=2)
    assert [record.images for record in adapt.read_records(pictures / "out.jsonl")] == [("a.png",), ("b.png",)]


@pytest.mark.parametrize("task", ["vqa", "classify"])
def test_a_name_without_extension_is_of_its_rows_split(pictures: Path, task: str) -> None:
    """train.csv and test.csv beside train/ and test/: each finds its own picture, and one that is missing is missing."""
    for name in ("train/1.png", "train/2.png", "test/1.png"):
        (pictures / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 5)).save(pictures / name)
    (pictures / "train.csv").write_text("image,question,answer,label\n1,q,a,c\n2,q,a,d\n")
    (pictures / "test.csv").write_text("image,question,answer,label\n1,q,a,c\n2,q,a,d\n")
    convert(task=task, input=pictures, output=pictures / "out.jsonl", max_bad=1)
    found = [(record.split, record.images[0]) for record in adapt.read_records(pictures / "out.jsonl")]
    assert found == [("train", "train/1.png"), ("train", "train/2.png"), ("test", "test/1.png")]


@pytest.mark.parametrize(("name", "split"), [("test.csv", "test"), ("Valid.csv", "val"), ("my_test.csv", "(none)")])
def test_a_table_named_for_a_split_is_of_it(pictures: Path, name: str, split: str) -> None:
    """The same rows have the same split whether their folder or their file is the input."""
    (pictures / name).write_text("image,question,answer\na.png,q,a\n")
    assert convert(task="vqa", input=pictures / name, output=pictures / "out.jsonl")["counts"]["splits"] == {split: 1}


@pytest.mark.parametrize(
    ("split", "told"),
    [
        ({}, "the folders of the pictures are named for several: test 1, train 2; give each row its own"),
        ({"split": "train"}, ""),
    ],
)
def test_folders_of_several_splits_are_told(
    tmp_path: Path, split: dict[str, str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One list over train/ and test/: rows stream past, so none is divided; a row that has a split says that the list knows."""
    rows = []
    for name in ("train/1.png", "train/2.png", "test/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 5)).save(tmp_path / name)
        rows.append({"image": name, "question": "q", "answer": "a"})
    rows[1] |= split
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    counts = convert(task="vqa", input=tmp_path / "t.jsonl", output=tmp_path / "out.jsonl")["counts"]
    assert counts["splits"] == ({"(none)": 2, "train": 1} if split else {"(none)": 3})
    notes = [line for line in capsys.readouterr().err.splitlines() if "folders of the pictures" in line]
    assert [told in note for note in notes] == ([True] if told else [])


def test_where_rejected_rows_leave_one_class_the_first_is_told(pictures: Path) -> None:
    """What is wrong is the row, not that one class is too few."""
    (pictures / "t.csv").write_text("image,label\na.png,cat\nb.png,\"['cat', 'dog']\"\n")
    with pytest.raises(
        DataError, match=r"'cat' is the only class .* rejected: 1 of 2, first t.csv:3: .* a list written as text"
    ):
        convert(task="classify", input=pictures / "t.csv", output=pictures / "out.jsonl")


def test_text_cannot_forge_a_picture(pictures: Path) -> None:
    """A question that holds more or fewer placeholders than pictures is rejected, with both numbers and what to do."""
    asked = [(["a.png"], "see <image> and <image>"), (["a.png", "b.png"], "<image>\nsee")]
    (pictures / "t.json").write_text(json.dumps([ROWS[0] | {"image": image, "question": text} for image, text in asked]))
    with pytest.raises(DataError, match="2 of 2 samples rejected"):
        convert(task="vqa", input=pictures / "t.json", output=pictures / "out.jsonl")
    assert [json.loads(line)["reason"] for line in (pictures / "out.rejected.jsonl").read_text().splitlines()] == [
        "the question itself holds 2 <image> placeholders for 1 picture; write one for each picture, or none",
        "the question itself holds 1 <image> placeholder for 2 pictures; write one for each picture, or none",
    ]


@pytest.mark.parametrize("question", ["<image>\nsee <image>", "<image>\n<image>\nsee", "first <image>, then <image>?"])
def test_a_question_that_places_its_pictures_stays(pictures: Path, question: str) -> None:
    """As many placeholders as pictures, as tables of LLaVA's form hold: none is added."""
    (pictures / "t.json").write_text(json.dumps([ROWS[0] | {"image": ["a.png", "b.png"], "question": question}]))
    convert(task="vqa", input=pictures / "t.json", output=pictures / "out.jsonl", option=["suffix=Be brief."])
    (record,) = adapt.read_records(pictures / "out.jsonl")
    assert (record.question, record.images) == (f"{question}\nBe brief.", ("a.png", "b.png"))


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"answer": {"a": 1}}, "column 'answer' is \"{'a': 1}\", expected the answer as text"),
        ({"answer": [{"a": 1}]}, "column 'answer' is \"{'a': 1}\", expected the answer as text"),
        ({"question": [3]}, "column 'question' is '[3]', expected the question as text"),
        ({"answer": {}}, "column 'answer' is empty, expected the answer"),
        (
            {"answer": "['yes', \"it's\"]"},
            """column 'answer' is '[\\'yes\\', "it\\'s"]', a list written as text; write the answer alone, or save the """
            "table as JSONL or Parquet with lists in it",
        ),
    ],
)
def test_a_cell_that_is_no_text_is_shown(pictures: Path, cells: dict[str, Any], said: str) -> None:
    """An object or a list in the place of a text is named as what was found, and not as empty."""
    (pictures / "t.json").write_text(json.dumps([ROWS[0] | cells]))
    with pytest.raises(DataError, match="1 of 1 sample rejected"):
        convert(task="vqa", input=pictures / "t.json", output=pictures / "out.jsonl")
    assert json.loads((pictures / "out.rejected.jsonl").read_text())["reason"] == said


@pytest.mark.parametrize("answer", ["[1, 2]", '["cat", "dog"]', "[x]", "[]"])
def test_an_answer_in_brackets_stays(pictures: Path, answer: str) -> None:
    """Coordinates and JSON may be what the question asks for."""
    (pictures / "t.json").write_text(json.dumps([ROWS[0] | {"answer": answer}]))
    convert(task="vqa", input=pictures / "t.json", output=pictures / "out.jsonl")
    assert [record.answer for record in adapt.read_records(pictures / "out.jsonl")] == [answer]


def test_columns_and_splits_are_named_by_options_and_files(pictures: Path) -> None:
    """Columns go by option; files called train, val and test are splits; an unknown column is answered with the nearest."""
    folder = pictures / "tables"
    folder.mkdir()
    for split in ("test", "train", "validation"):
        (folder / f"{split}.csv").write_text(f"pic,ask,say,key\na.png,q,a,{split}-7\n")
    options = ["image=pic", "question=ask", "answer=say", "id=key"]
    convert(task="vqa", input=folder, output=pictures / "out.jsonl", images=pictures, option=options)
    records = adapt.read_records(pictures / "out.jsonl")
    assert [(record.id, record.split) for record in records] == [
        ("train-7", "train"),
        ("validation-7", "val"),
        ("test-7", "test"),
    ]
    with pytest.raises(UsageError, match="'asks': did you mean 'ask'"):
        convert(task="vqa", input=folder, output=pictures / "x.jsonl", option=["image=pic", "question=asks", "answer=say"])


@pytest.mark.parametrize("task", ["vqa", "classify"])
def test_tables_that_are_named_for_no_split_are_told(pictures: Path, task: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are not read: one note names them and the manifest counts them; what `adapt convert` wrote there is none."""
    folder = pictures / "tables"
    folder.mkdir()
    for name in ("train.csv", "test_a.csv", "extra.jsonl", "0000.parquet", "testmini-00000-of-00001.parquet", "train.txt"):
        (folder / name).write_text("image,question,answer,label\na.png,q,a,x\na.png,q,a,y\n")
    call = {"task": task, "input": folder, "images": pictures}
    told = "0000.parquet, extra.jsonl, test_a.csv, testmini-00000-of-00001.parquet"
    for output in ("one.jsonl", "one.jsonl"):
        counts = convert(**call, output=folder / output, limit=1)["counts"]
        assert counts["ignored"] == {"table that is named for no split": 4} and counts["records"] == 1
        said = capsys.readouterr().err
        assert said.count("note:") == 1
        assert f"note: {folder}: 4 tables not read, named for no split: {told}; to read one, point --input at it\n" in said


@pytest.mark.parametrize(
    ("task", "names", "told"),
    [
        ("vqa", ["data.csv"], "; it holds data.csv, which is"),
        ("vqa", ["b.parquet", "a.parquet"], "; it holds a.parquet, b.parquet, which are"),
        ("vqa", ["train/metadata.csv"], "; it holds train/metadata.csv: point --input at it"),  # the Hub's imagefolder
        ("vqa", ["tables/x.csv"], "; it holds tables/x.csv, which is"),
        ("vqa", [f"{n}.json" for n in range(7)], "; it holds 0.json, 1.json, 2.json, 3.json, 4.json and 2 more, which are"),
        ("vqa", ["tables/train.csv", "b.csv"], "; tables are in tables below it; it holds b.csv, which is"),
        ("chat", ["talk.jsonl", "data.csv"], "; it holds talk.jsonl, which is"),
        ("vqa", ["a.txt", ".git/a.json", "x.jsonl", "x.manifest.json", "x.pictures.jsonl"], ""),
    ],
)
def test_a_folder_without_tables_of_splits_names_those_it_holds(tmp_path: Path, task: str, names: list[str], told: str) -> None:
    """They can be the input: the error says so, and not that there is none. What the task does not read is not named."""
    folder = tmp_path / "tables"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("image,question,answer\na.png,q,a\n")
    with pytest.raises(UsageError) as raised:
        convert(task=task, input=folder, images=tmp_path, output=tmp_path / "out.jsonl")
    which = "it" if told.endswith(" is") else "one"
    end = f"{told} named for no split: point --input at {which}" if told else "or a folder that `datasets` saved"
    end = told if "point" in told else end
    assert str(raised.value).endswith(end) and "holds no table;" not in str(raised.value)


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_in_another_form_of_unicode_is_told(pictures: Path, form: str, other: str) -> None:
    """A missing picture whose name has its letters composed otherwise on disk is rejected with the command that renames it."""
    (pictures / unicodedata.normalize(other, "bär 각.png")).write_bytes((pictures / "a.png").read_bytes())
    name = unicodedata.normalize(form, "bär 각.png")
    (pictures / "t.json").write_text(json.dumps([ROWS[0] | {"image": name}]))
    with pytest.raises(DataError) as raised:
        convert(task="vqa", input=pictures / "t.json", output=pictures / "out.jsonl")
    assert f"{name}: no such file under " in str(raised.value)
    assert f"is in Unicode's form {other}; rename such files: convmv -f utf8 -t utf8 --{form.lower()} " in str(raised.value)


def test_columns_are_checked_after_a_faulty_row_too(pictures: Path) -> None:
    """A first row of too many cells does not hide that the picture's column has another name."""
    (pictures / "t.csv").write_text("images,question,answer\na.png,q,a,more\na.png,q,a\n")
    with pytest.raises(UsageError, match="no column 'image': did you mean 'images'"):
        convert(task="vqa", input=pictures / "t.csv", output=pictures / "out.jsonl")


def test_several_answers_keep_all_for_the_scorer(pictures: Path) -> None:
    """The first answer is learnt, all are in meta."""
    (pictures / "t.json").write_text(json.dumps([ROWS[0] | {"answer": ["yes", "yeah"]}]))
    convert(task="vqa", input=pictures / "t.json", output=pictures / "out.jsonl")
    record = adapt.read_records(pictures / "out.jsonl")[0]
    assert record.answer == "yes" and record.meta["answers"] == ["yes", "yeah"]


@pytest.mark.parametrize("task", ["vqa", "video"])
def test_a_gap_in_numbers_is_no_answer(pictures: Path, task: str) -> None:
    """NaN among the answers of a Parquet table rejects its row: nobody learns to say "nan"."""
    rows = {"image": ["a.png"] * 2, "video": [["a.png"]] * 2, "question": ["q"] * 2, "answer": [float("nan"), 2.5]}
    datasets.Dataset.from_dict(rows).to_parquet(pictures / "t.parquet")
    convert(task=task, input=pictures / "t.parquet", output=pictures / "out.jsonl", max_bad=1)
    assert [record.answer for record in adapt.read_records(pictures / "out.jsonl")] == ["2.5"]
    rejected = json.loads((pictures / "out.rejected.jsonl").read_text())
    assert rejected["reason"] == "column 'answer' is empty, expected the answer"


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "answers", "whole"),
    [
        *itertools.product(["t.parquet", "t", "t.json", "t.jsonl"], [["x", None], [None, "x"], [None]], ["x"]),
        *itertools.product(["t.parquet", "t"], [[1.5, NAN], [NAN]], [1.5]),  # JSON has no NaN
    ],
)
def test_a_gap_in_a_list_of_answers_is_none(pictures: Path, name: str, answers: list[Any], whole: Any) -> None:
    """null and NaN in a list of answers reject its row: no scorer is to take "None" for right."""
    table = write_table(pictures, name, [ROWS[0] | {"answer": answers}, ROWS[1] | {"answer": [whole, whole]}])
    convert(task="vqa", input=table, images=pictures, output=pictures / "out.jsonl", max_bad=1)
    assert [each.meta["answers"] for each in adapt.read_records(pictures / "out.jsonl")] == [[str(whole)] * 2]
    rejected = json.loads((pictures / "out.rejected.jsonl").read_text())
    assert rejected["reason"] == f"column 'answer' is {str(answers)!r}, with a gap among the answers; take it out of the list"


@pytest.mark.parametrize("name", ["t.parquet", "t", "t.jsonl", "t.csv"])
def test_whole_numbers_of_a_column_with_gaps_are_whole(pictures: Path, name: str) -> None:
    """3.0, as a gap elsewhere in the column makes of 3, is answered with "3"; in a csv it stands as it is written."""
    rows = [{"image": "a.png", "question": "How many?", "answer": answer} for answer in (3.0, 2.5, None, -1.0, 1e20)]
    table = write_table(pictures, name, rows)
    convert(task="vqa", input=table, images=pictures, output=pictures / "out.jsonl", max_bad=1)
    answers = [record.answer for record in adapt.read_records(pictures / "out.jsonl")]
    assert answers == (["3.0", "2.5", "-1.0", "1e+20"] if name == "t.csv" else ["3", "2.5", "-1", "1e+20"])


def test_zero_is_an_id(pictures: Path) -> None:
    """Tables number their rows from 0: that is an id; an empty one is not."""
    rows = [ROWS[0] | {"key": key} for key in (0, 1, None, "")]
    (pictures / "t.json").write_text(json.dumps(rows))
    convert(task="vqa", input=pictures / "t.json", output=pictures / "out.jsonl", option=["id=key"], max_bad=2)
    assert [record.id for record in adapt.read_records(pictures / "out.jsonl")] == ["0", "1"]
    reasons = [json.loads(line)["reason"] for line in (pictures / "out.rejected.jsonl").read_text().splitlines()]
    assert reasons == ["column 'key' is empty, expected an id"] * 2


def test_a_line_too_long_rejects_itself_alone(pictures: Path) -> None:
    """A line above 16 MiB is one rejected row; the rows after it are read."""
    rows = [json.dumps(row) for row in ROWS]
    (pictures / "t.jsonl").write_text(f'{rows[0]}\n{{"a": "{"x" * (17 * 2**20)}"}}\n{rows[1]}\n')
    convert(task="vqa", input=pictures / "t.jsonl", output=pictures / "out.jsonl", max_bad=1)
    assert [record.id for record in adapt.read_records(pictures / "out.jsonl")] == ["t-1", "t-3"]
    rejected = json.loads((pictures / "out.rejected.jsonl").read_text())
    assert rejected["where"] == "t.jsonl:2" and "more than 16,777,216 bytes" in rejected["reason"]


def test_several_embedded_pictures_in_a_row(tmp_path: Path) -> None:
    """A list of pictures in one cell of a Parquet table: a placeholder and a size for each, in their order."""
    cells = []
    for width in (3, 4, 5):
        content = io.BytesIO()
        Image.new("RGB", (width, 2), (width, 0, 0)).save(content, "PNG")
        cells.append({"bytes": content.getvalue(), "path": None})
    features = datasets.Features(
        image=datasets.List(datasets.Image()), question=datasets.Value("string"), answer=datasets.Value("string")
    )
    rows = {"image": [cells[:2], cells[2:]], "question": ["same?", "what?"], "answer": ["no", "this"]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "in.parquet")
    convert(task="vqa", input=tmp_path / "in.parquet", output=tmp_path / "out.jsonl")
    two, one = adapt.read_records(tmp_path / "out.jsonl")
    assert (two.question, two.sizes) == ("<image>\n<image>\nsame?", ((3, 2), (4, 2)))
    assert (one.question, one.sizes) == ("<image>\nwhat?", ((5, 2),))


def test_embedded_pictures_are_not_stored_anew(pictures: Path) -> None:
    """The codes of an embedded JPEG are written as they are: decoding and encoding once more would lose some of it."""
    Image.effect_noise((64, 48), 90).convert("RGB").save(pictures / "a.jpg", quality=70)
    content = (pictures / "a.jpg").read_bytes()
    features = datasets.Features(
        {"image": datasets.Image(), "question": datasets.Value("string"), "answer": datasets.Value("string")}
    )
    columns = {"image": [{"bytes": content, "path": None}], "question": ["q"], "answer": ["a"]}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(pictures / "t.parquet")
    convert(task="vqa", input=pictures / "t.parquet", output=pictures / "out.jsonl")
    (record,) = adapt.read_records(pictures / "out.jsonl")
    made = (pictures / "out.images" / record.images[0]).read_bytes()
    start_of_scan = b"\xff\xda"
    assert made[made.index(start_of_scan) :] == content[content.index(start_of_scan) :]


def test_splits_are_known_in_any_spelling(pictures: Path) -> None:
    """``TRAIN`` and ``Validation`` are train and val, for a rejected row as for others; other names stay."""
    rows = "a.png,Why?,no,TRAIN\na.png,Who?,I,Validation\na.png,,x,Validation\na.png,When?,now,test_B\n"
    (pictures / "rows.csv").write_text("image,question,answer,split\n" + rows)
    call = {"task": "vqa", "input": pictures / "rows.csv", "output": pictures / "out.jsonl", "max_bad": 1}
    assert convert(**call)["counts"]["splits"] == {"train": 1, "val": 1, "test_B": 1}
    counts = convert(**call, split="val")["counts"]
    assert (counts["read"], counts["rejected"]) == (2, 1)


@pytest.mark.parametrize("header", ["Split,other", "SPLIT,other", "other,split", "Split,split"])
def test_the_column_of_the_split_is_known_in_any_case(pictures: Path, header: str) -> None:
    """``Split`` is read as ``split`` is, which wins where both are there; a column that an option names is that one alone."""
    first, second = ("test", "x") if header.endswith("other") else ("train", "test")
    (pictures / "rows.csv").write_text(f"image,question,answer,{header}\na.png,Why?,no,{first},{second}\n")
    call = {"task": "vqa", "input": pictures / "rows.csv", "output": pictures / "out.jsonl"}
    assert convert(**call)["counts"]["splits"] == {"test": 1}
    name = header.partition(",")[0]
    assert convert(**call, option=[f"split={name}"])["counts"]["splits"] == {first: 1}
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    row = {"conversations": turns} | dict(zip(header.split(","), (first, second), strict=True))
    (pictures / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (pictures / "rows.json").write_text(json.dumps([row]))
    datasets.Dataset.from_list([row]).to_parquet(pictures / "rows.parquet")
    for suffix in ("jsonl", "json", "parquet"):
        chat = convert(task="chat", input=pictures / f"rows.{suffix}", output=pictures / "chat.jsonl")
        assert chat["counts"]["splits"] == {"test": 1}, suffix


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["t.csv", "t.json", "t.jsonl"])
def test_a_table_in_utf_16_says_so(pictures: Path, name: str, encoding: str) -> None:
    """What Windows' tools write is named, with what was expected and how to convert it, and not its first odd byte."""
    row = '{"image": "a.png", "question": "q", "answer": "a"}'
    text = {"t.csv": "image,question,answer\na.png,q,a\n", "t.json": f"[{row}]", "t.jsonl": f"{row}\n"}[name]
    (pictures / name).write_bytes(text.encode(encoding))
    with pytest.raises((DataError, UsageError), match="found UTF-16, expected UTF-8.*iconv"):
        convert(task="vqa", input=pictures / name, output=pictures / "out.jsonl")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("line", [1, 2, 3, 700, 5001])
def test_a_csv_that_is_not_utf_8_names_the_line(pictures: Path, line: int, end: str) -> None:
    """A byte of another encoding, in the header, near the start and deep in a large file; another one stands at its end."""
    rows = ["image,question,answer,more", *(f"a.png,question {number},a,Ü" for number in range(5000))]
    lines = [row.encode() for row in rows]
    lines[line - 1] += b" caf\xe9"
    (pictures / "t.csv").write_bytes(b"\xef\xbb\xbf" + end.encode().join([*lines, b"\xff"]))
    with pytest.raises(DataError, match=rf"t.csv:{line}: not UTF-8 \(byte 0xe9\); save the file as UTF-8$"):
        convert(task="vqa", input=pictures / "t.csv", output=pictures / "out.jsonl", workers=0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *itertools.product(["t.csv", "t.tsv", "t.json", "t.jsonl"], [b"", b"\n", b" \r\n\r\n"]),
        ("t.csv", b"\xef\xbb\xbf\r\n"),
        ("t.json", b"\xef\xbb\xbf"),
    ],
)
def test_an_empty_table_is_said_to_be_empty(tmp_path: Path, name: str, content: bytes) -> None:
    """A file of no byte, or of blank lines alone, is named as one, with what was expected."""
    (tmp_path / name).write_bytes(content)
    said = "empty, expected a JSON document$" if name == "t.json" else "the file is empty; expected .*image, question, answer$"
    with pytest.raises(DataError, match=f"{name}: {said}"):
        convert(task="vqa", input=tmp_path / name, output=tmp_path / "out.jsonl")


@pytest.mark.parametrize(("name", "text"), [("t.csv", "image,question,answer\n"), ("t.json", "[]")])
def test_a_table_without_rows_says_what_was_expected(tmp_path: Path, name: str, text: str) -> None:
    """A header alone, or an empty list, is not an empty file."""
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=f"{name}: no samples found; expected a table .*columns image, question, answer$"):
        convert(task="vqa", input=tmp_path / name, output=tmp_path / "out.jsonl")


@pytest.mark.parametrize("task", ["vqa", "chat", "ground"])
@pytest.mark.parametrize("damage", ["emptied", "cut", "gone", "state"])
def test_a_damaged_saved_folder_is_named_in_one_line(tmp_path: Path, task: str, damage: str) -> None:
    """A shard or a json of what `datasets` saved that is missing, empty or cut: one line with the folder and what to do."""
    rows = {"image": ["a.png"] * 50, "question": ["q" * 50] * 50, "answer": ["a"] * 50, "objects": [[]] * 50}
    rows["conversations"] = [[{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]] * 50
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "set")
    (shard,) = (tmp_path / "set").glob("*.arrow")
    if damage == "state":
        (tmp_path / "set" / "state.json").write_text("{bad")
    elif damage == "gone":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2] if damage == "cut" else b"")
    with pytest.raises(
        DataError, match=r"set: not a whole folder that `datasets` saved: [^\n]*; a file of it is missing, or was"
    ):
        convert(task=task, input=tmp_path / "set", output=tmp_path / "out.jsonl")


def test_an_empty_split_is_read(pictures: Path) -> None:
    """A Parquet file without rows is a split without rows."""
    rows = {"image": ["a.png"], "question": ["q"], "answer": ["a"]}
    (pictures / "set").mkdir()
    for split, values in (("train", rows), ("test", {key: [] for key in rows})):
        features = datasets.Features(dict.fromkeys(rows, datasets.Value("string")))
        datasets.Dataset.from_dict(values, features=features).to_parquet(pictures / "set" / f"{split}.parquet")
    manifest = convert(task="vqa", input=pictures / "set", images=pictures, output=pictures / "out.jsonl")
    assert manifest["counts"]["splits"] == {"train": 1}


@pytest.mark.parametrize("kind", ["empty", "cut", "without its end", "text", "a hole"])
def test_a_damaged_parquet_file_is_named_in_one_line(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Its path and what to do, and no line of the library's own; a hole inside is found where it is read."""
    rows = {"image": ["a.png"] * 500, "question": [f"{number**9}?" for number in range(500)], "answer": ["x"] * 500}
    path = tmp_path / "t.parquet"
    datasets.Dataset.from_dict(rows).to_parquet(path)
    whole = path.read_bytes()
    third = len(whole) // 3
    path.write_bytes({
        "empty": b"", "cut": whole[:third], "without its end": whole[:-4], "text": b"a text of some length",
        "a hole": whole[:third] + b"\xff" * third + whole[2 * third :],
    }[kind])  # fmt: skip
    with pytest.raises(DataError, match=r"t.parquet: not a whole Parquet file: [^.\n]*; it was cut or damaged, fetch or write"):
        convert(task="vqa", input=path, output=tmp_path / "out.jsonl", workers=0)
    assert "Failed to read" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["t.parquet", "t"])
def test_a_class_number_without_a_name_is_one_rejected_row(tmp_path: Path, name: str) -> None:
    """Class 7 of two in a sound table: the row is listed with its place, and the others are converted."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    words, names = datasets.Value("string"), datasets.ClassLabel(names=["no", "yes"])
    features = datasets.Features({"image": words, "question": words, "answer": names})
    cells = {"image": ["a.png"] * 3, "question": ["0?", "1?", "2?"], "answer": [0, 7, 1]}
    stored = pyarrow.table(cells).replace_schema_metadata(features.arrow_schema.metadata)
    table = datasets.Dataset(datasets.table.InMemoryTable(stored))
    table.to_parquet(tmp_path / name) if name.endswith(".parquet") else table.save_to_disk(tmp_path / name)
    with pytest.raises(DataError, match=r"1 of 3 samples rejected"):
        convert(task="vqa", input=tmp_path / name, output=tmp_path / "out.jsonl", images=tmp_path, workers=0)
    convert(task="vqa", input=tmp_path / name, output=tmp_path / "out.jsonl", images=tmp_path, workers=0, max_bad=1)
    assert [record.answer for record in adapt.read_records(tmp_path / "out.jsonl")] == ["no", "yes"]
    listed = json.loads((tmp_path / "out.rejected.jsonl").read_text())
    assert listed["where"].endswith(f"{name}#1")
    assert "class 7 in column 'answer', but the table names 2 classes, from 0" in listed["reason"]
