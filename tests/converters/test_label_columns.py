"""Tables with a column for each class: the layouts that are published, one class or several, and what is refused."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert

CHEXPERT = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,"
    "Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


def lay(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 5)).save(root / name)


def table(folder: Path, text: str, name: str = "t.csv") -> Path:
    lay(folder, "a.png")
    (folder / name).write_text(text)
    return folder / name


def run(path: Path, *option: str, max_bad: int = 0) -> tuple[dict[str, Any], list[adapt.records.ChatRecord]]:
    output = path.parent / "out.jsonl"
    manifest = convert(task="classify", input=path, output=output, option=list(option), max_bad=max_bad)
    return manifest, adapt.read_records(output)


def reasons(folder: Path) -> list[str]:
    return [json.loads(line)["reason"] for line in (folder / "out.rejected.jsonl").read_text().splitlines()]


def test_roboflows_classes_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """_classes.csv: blanks after the commas, a row of several classes and one of none; the folder tells name and split."""
    folder = tmp_path / "pets" / "valid"
    lay(folder, "1.jpg", "2.jpg", "3.jpg")
    (folder / "_classes.csv").write_text("filename, Cat, Dog, Guinea-Pig\n1.jpg, 0, 1, 1\n2.jpg, 0, 0, 0\n3.jpg, 1, 0, 0\n")
    manifest, records = run(folder / "_classes.csv", "image=filename", "label_columns=Dog,Cat,Guinea-Pig")
    assert [(record.images, record.answer) for record in records] == [
        (("1.jpg",), "dog, guinea pig"), (("2.jpg",), "none"), (("3.jpg",), "cat")
    ]  # fmt: skip
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "id": "pets-valid-1", "image": "1.jpg", "width": 4, "height": 5,
        "conversations": [
            {"from": "human", "value": "<image>\nClassify the image with all of the given classes that apply: cat, dog, guinea "
             "pig. Answer with their names, separated by commas, or with none where no class applies."},
            {"from": "gpt", "value": "dog, guinea pig"},
        ],
        "task": "classify", "source": "pets-valid",
        "meta": {"split": "val", "label": ["dog", "guinea pig"], "class_name": ["Dog", "Guinea-Pig"],
                 "candidates": ["cat", "dog", "guinea pig"]},
    }  # fmt: skip
    assert manifest["facts"]["classes"] == {"Cat": "cat", "Dog": "dog", "Guinea-Pig": "guinea pig"}
    said = capsys.readouterr().err
    assert "_classes.csv: none, one or several classes a row, of 3: Cat, Dog, Guinea-Pig\n" in said
    assert "empty" not in said and said.count("classes a row") == 1


@pytest.mark.parametrize("columns", ["MEL,NV,BCC,UNK", "MEL..UNK", " MEL .. UNK ", "MEL..BCC, UNK"])
def test_isics_ground_truth_is_read(tmp_path: Path, columns: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One class in each row: single-class rows as of a column of labels; UNK, which no row has, is offered."""
    lay(tmp_path, "images/ISIC_1.jpg", "images/ISIC_2.jpg")
    (tmp_path / "gt.csv").write_text("image,MEL,NV,BCC,UNK\nISIC_1,0.0,1.0,0.0,0.0\nISIC_2,1.0,0.0,0.0,0.0\n")
    manifest, records = run(tmp_path / "gt.csv", f"label_columns={columns}")
    (tmp_path / "plain.csv").write_text("image,label\nISIC_1,NV\nISIC_2,MEL\n")
    plain = run(tmp_path / "plain.csv", "candidates=bcc,mel,nv,unk")[1]
    assert [record.turns for record in records] == [record.turns for record in plain]
    assert [record.meta for record in records] == [record.meta for record in plain]
    assert [record.images for record in records] == [("images/ISIC_1.jpg",), ("images/ISIC_2.jpg",)]
    assert records[0].meta == {"label": "nv", "class_name": "NV", "candidates": ["bcc", "mel", "nv", "unk"]}
    assert manifest["facts"]["classes"] == {"BCC": "bcc", "MEL": "mel", "NV": "nv", "UNK": "unk"}
    said = "gt.csv: one class a row, of 4: BCC, MEL, NV, UNK; where several or none may apply: --option none=none\n"
    assert said in capsys.readouterr().err


def test_none_makes_rows_of_one_class_rows_of_several(tmp_path: Path) -> None:
    """What the part at hand does not show, the user knows: the option of several classes asks for them."""
    path = table(tmp_path, "image,a,b\na.png,1,0\na.png,0,1\n")
    _, records = run(path, "label_columns=a,b", "none=nothing")
    assert [record.meta["label"] for record in records] == [["a"], ["b"]]
    assert "or with nothing where no class applies" in records[0].question
    _, records = run(path, "label_columns=a,b", "style=letters", "num_candidates=2")
    assert [record.meta["label"] for record in records] == ["a", "b"] and {record.answer for record in records} <= {"A", "B"}


def chexpert(above: Path) -> Path:
    """As the archive holds it: train.csv lies in the folder with which its paths begin."""
    folder = above / "CheXpert-v1.0-small"
    place = "CheXpert-v1.0-small/train/patient{}/study1/view1_frontal.jpg"
    lay(above, *(place.format(number) for number in range(1, 5)))
    rows = (
        "Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
        "Male,87,Frontal,AP,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
        "Male,71,Frontal,PA,,0.0,,1.0,,1.0,,,,,1.0,,,",
        "Male,60,Frontal,AP,,,,,,,,,,,,,,",
    )
    text = "".join(f"{place.format(number)},{row}\n" for number, row in enumerate(rows, 1))
    (folder / "train.csv").write_text(f"Path,Sex,Age,Frontal/Lateral,AP/PA,{CHEXPERT}\n{text}")
    return folder / "train.csv"


def test_chexperts_labels_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not mentioned is 0 and told; an uncertain row and one without a label are rejected with what is the matter."""
    option = ["image=Path", "label_columns=No Finding..Support Devices"]
    manifest, records = run(chexpert(tmp_path), *option, max_bad=2)
    assert [record.meta["class_name"] for record in records] == [
        ["No Finding", "Support Devices"], ["Edema", "Lung Opacity", "Pleural Effusion"]
    ]  # fmt: skip
    assert sorted(manifest["facts"]["classes"]) == sorted(CHEXPERT.split(",")) and records[0].split == "train"
    assert reasons(tmp_path / "CheXpert-v1.0-small") == [
        "column 'Cardiomegaly' is -1, uncertain; --option uncertain=no or uncertain=yes counts it as 0 or 1",
        "no label: all 14 label columns are empty",
    ]
    assert "train.csv: 21 empty cells of the label columns taken as 0\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("uncertain", "found"),
    [
        ("no", ["Fracture", "Lung Opacity"]),
        (
            "yes",
            ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Fracture", "Lung Opacity", "Pleural Effusion"],
        ),
    ],
)
def test_uncertain_cells_count_as_chosen(
    tmp_path: Path, uncertain: str, found: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """CheXpert's U-zeros and U-ones: -1 is 0, or 1."""
    option = ["image=Path", "label_columns=No Finding..Support Devices", f"uncertain={uncertain}"]
    _, records = run(chexpert(tmp_path), *option, max_bad=1)
    assert records[1].meta["class_name"] == found
    assert f"train.csv: 5 uncertain cells (-1) taken as {int(uncertain == 'yes')}\n" in capsys.readouterr().err


def test_cells_of_every_kind_are_read(tmp_path: Path) -> None:
    """Numbers, truth values and texts in JSONL; a line that lacks a column does not say 0; what is neither is shown."""
    cells: list[Any] = [1, 0, 1.0, 0.0, True, False, " 1 ", "TRUE", "false", None, "nan", 2, 0.5, "x", [1], "-1", -1, -1.0]
    rows = [{"image": "a.png", "a": cell, "b": 1} for cell in cells] + [{"image": "a.png", "b": 1}]
    path = table(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "t.jsonl")
    _, records = run(path, "label_columns=a,b", max_bad=8)
    has_a = [record.meta["label"] == ["a", "b"] for record in records]
    assert has_a == [True, False, True, False, True, False, True, True, False, False, False]
    uncertain = "column 'a' is -1, uncertain; --option uncertain=no or uncertain=yes counts it as 0 or 1"
    assert reasons(tmp_path) == [
        *(f"column 'a' is {shown}, expected 1 or 0" for shown in ("'2'", "'0.5'", "'x'", "'[1]'")),
        *[uncertain] * 3,
        "no column 'a', expected one in each row as in the first",
    ]


def test_parquet_is_read(tmp_path: Path) -> None:
    """Floats with gaps and truth values; a name with a blank before it, as pandas leaves Roboflow's, is that without."""
    lay(tmp_path, "a.png")
    values = {"image": ["a.png"] * 2, " Cat": [1.0, float("nan")], " Dog": [False, True]}
    datasets.Dataset.from_dict(values).to_parquet(tmp_path / "t.parquet")
    _, records = run(tmp_path / "t.parquet", "label_columns=Cat,Dog")
    assert [record.meta["class_name"] for record in records] == ["Cat", "Dog"]


def test_rejected_rows_do_not_decide_whether_several_apply(tmp_path: Path) -> None:
    """A row without a picture, and one that cannot be read, are none of those that have one class each."""
    path = table(tmp_path, "image,a,b\na.png,1,0\n,1,1\na.png,1,?\na.png,0,1\n")
    _, records = run(path, "label_columns=a,b", max_bad=2)
    assert [record.meta["label"] for record in records] == ["a", "b"]
    assert reasons(tmp_path) == ["0 pictures, expected one", "column 'b' is '?', expected 1 or 0"]


def test_a_limit_and_a_split_do_not_decide_whether_several_apply(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of the test split are of several classes where those of train are; the note stands once."""
    path = table(tmp_path, "image,a,b,split\na.png,1,1,train\na.png,0,1,test\n")
    output = tmp_path / "out.jsonl"
    convert(task="classify", input=path, output=output, option=["label_columns=a,b"], split="test", limit=1)
    assert [record.meta["label"] for record in adapt.read_records(output)] == [["b"]]
    assert capsys.readouterr().err.count("classes a row") == 1


def test_names_may_hold_commas_and_dots(tmp_path: Path) -> None:
    """A range finds what a list would part; a name with dots in it is a name."""
    path = table(tmp_path, 'image,"a, x","b, y",c..d,e\na.png,1,0,0,0\na.png,0,1,0,0\n')
    assert list(run(path, "label_columns=a, x..e")[0]["facts"]["classes"]) == ["a, x", "b, y", "c..d", "e"]
    assert list(run(path, "label_columns=a, x..c..d")[0]["facts"]["classes"]) == ["a, x", "b, y", "c..d"]
    assert list(run(path, "label_columns=c..d,e", "none=-")[0]["facts"]["classes"]) == ["c..d", "e"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["label_columns=MEL,NVV"], "no column 'NVV': did you mean 'NV'?"),
        (["label_columns=MEL..VASK"], "no column 'VASK': did you mean 'VASC'?"),
        (["label_columns=VASC..MEL"], "'VASC' stands after 'MEL'; write MEL..VASC"),
        (["label_columns=MEL"], "two or more different columns; where one column holds the classes: --option label=MEL"),
        (["label_columns=MEL,NV,MEL"], "expected two or more different columns"),
        (["label_columns= "], "expected two or more different columns"),
        (["label_columns=MEL,NV", "label=kind"], "option label=kind has no effect with label_columns"),
        (["label_columns=MEL,NV", "separator=;"], "option separator=; has no effect with label_columns"),
        (["label=NV", "uncertain=no"], "option uncertain=no has no effect without label_columns"),
        (["label_columns=MEL,NV", "uncertain=maybe"], "expected one of rejected, no, yes"),
        (["label_columns=MEL,NV,VASC", "none=mel"], "none=mel: expected a word that is not one of the classes"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, option: Sequence[str], said: str) -> None:
    """Names that are no columns, ranges that are none, and options beside each other to no effect."""
    path = table(tmp_path, "image,MEL,NV,VASC\na.png,1,0,0\na.png,0,1,0\n")
    with pytest.raises(UsageError, match=re.escape(said)):
        run(path, *option)


@pytest.mark.parametrize("option", ["label_columns=a,b", "uncertain=no"])
def test_a_folder_has_no_columns(tmp_path: Path, option: str) -> None:
    """As with the other options of tables."""
    lay(tmp_path, "s/a/1.png", "s/b/2.png")
    with pytest.raises(UsageError, match=f"{option} has no effect with a folder of classes"):
        run(tmp_path / "s", option)


def test_classes_that_would_read_alike_are_refused(tmp_path: Path) -> None:
    """As with a column of labels."""
    with pytest.raises(DataError, match="'SeaIce' and 'sea_ice' would both be called 'sea ice'"):
        run(table(tmp_path, "image,SeaIce,sea_ice\na.png,1,0\n"), "label_columns=SeaIce,sea_ice")


def test_a_table_without_a_whole_row_says_what_it_lacks(tmp_path: Path) -> None:
    """Rows: not the columns, which cannot be known."""
    with pytest.raises(DataError, match="no samples found"):
        run(table(tmp_path, "image,a,b\n"), "label_columns=a,b")
    with pytest.raises(DataError, match="2 cells, expected 3"):
        run(table(tmp_path, "image,a,b\na.png,1\n"), "label_columns=a,b")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("image,A,B\na.png,1,0\n", "; where the columns of 0 and 1 are a class each: --option label_columns=A,B"),
        ("image,A,B,C,D\na.png,1.0,,-1.0,0.0\n", " --option label_columns=A..D"),
        (",image,A,x,B b\n0,a.png,1,text,0\n", " --option 'label_columns=A,B b'"),
        ('image,"A, a",B\na.png,0,1\n', " --option 'label_columns=A, a..B'"),
    ],
)
def test_a_table_without_a_column_of_classes_tells_the_way(tmp_path: Path, text: str, told: str) -> None:
    """Where its first row holds 0 and 1: the option to add, which then reads it."""
    path = table(tmp_path, text)
    with pytest.raises(UsageError, match="no column 'label': ") as error:
        run(path)
    assert str(error.value).endswith(told)
    option = told.rpartition("--option ")[2].strip("'")
    assert len(run(path, option, "uncertain=no")[1]) == 1


def test_a_table_without_0_and_1_is_told_no_such_way(tmp_path: Path) -> None:
    """One such column is no class each."""
    with pytest.raises(UsageError, match="no column 'label': did you mean 'labels'") as error:
        run(table(tmp_path, "image,labels,fold\na.png,cat,1\n"))
    assert "label_columns" not in str(error.value)


def test_roboflows_root_is_read_at_once(tmp_path: Path) -> None:
    """Each split's table tells of the pictures beside it, which may have one name; all together tell that classes meet."""
    for split, cells in (("test", "1, 1"), ("train", "0, 1"), ("valid", "1, 0")):
        lay(tmp_path / "pets" / split, "a.jpg")
        (tmp_path / "pets" / split / "_classes.csv").write_text(f"filename, Cat, Dog\na.jpg, {cells}\nb.jpg, 1\n")
    with pytest.raises(UsageError, match="no column 'label': .*--option label_columns=Cat,Dog"):
        run(tmp_path / "pets", "image=filename")
    manifest, records = run(tmp_path / "pets", "image=filename", "label_columns=Cat,Dog", max_bad=3)
    assert [(record.id, record.split, record.images, record.answer) for record in records] == [
        ("pets-1", "train", ("train/a.jpg",), "dog"),
        ("pets-3", "val", ("valid/a.jpg",), "cat"),
        ("pets-5", "test", ("test/a.jpg",), "cat, dog"),
    ]
    rejected = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert [row["where"] for row in rejected] == [f"{split}/_classes.csv:3" for split in ("train", "valid", "test")]
    assert manifest["counts"]["splits"] == {"train": 1, "val": 1, "test": 1}


def test_a_folder_that_is_called_like_a_table_is_none(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        lay(tmp_path / "pets" / split, "a.jpg")
    (tmp_path / "pets" / "train" / "_classes.csv").mkdir()
    (tmp_path / "pets" / "valid" / "_classes.csv").write_text("filename, Cat, Dog\na.jpg, 0, 1\n")
    manifest, _ = run(tmp_path / "pets", "image=filename", "label_columns=Cat,Dog")
    assert manifest["counts"]["splits"] == {"val": 1}


def test_other_tasks_do_not_take_roboflows_classes_for_a_table(tmp_path: Path) -> None:
    """Its export of masks names their values so: of boxes there are none, and that is what is said."""
    lay(tmp_path / "pets" / "train", "a.jpg")
    (tmp_path / "pets" / "train" / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, cat\n")
    with pytest.raises(UsageError, match="found no annotations in it; looked for json"):
        convert(task="detect", input=tmp_path / "pets", output=tmp_path / "out.jsonl")


def test_two_tables_of_one_split_are_refused(tmp_path: Path) -> None:
    for folder in ("val", "valid"):
        lay(tmp_path / "pets" / folder, "a.jpg")
        (tmp_path / "pets" / folder / "_classes.csv").write_text("filename, Cat, Dog\na.jpg, 0, 1\n")
    told = "val/_classes.csv and valid/_classes.csv are both the val split; point --input at one$"
    with pytest.raises(UsageError, match=told):
        run(tmp_path / "pets", "image=filename", "label_columns=Cat,Dog")


def test_a_folder_of_a_split_names_its_table(tmp_path: Path) -> None:
    """One level too deep: the options are those of a table, and the error says which to point at."""
    lay(tmp_path / "pets" / "train", "a.jpg")
    (tmp_path / "pets" / "train" / "_classes.csv").write_text("filename, Cat, Dog\na.jpg, 0, 1\n")
    told = "it holds _classes.csv: point --input at it$"
    with pytest.raises(UsageError, match=rf"label_columns=Cat,Dog has no effect with a folder of classes.*; {told}"):
        run(tmp_path / "pets" / "train", "label_columns=Cat,Dog")
    with pytest.raises(UsageError, match=told):
        run(tmp_path / "pets" / "train")


def test_candidates_may_be_spelled_as_the_columns(tmp_path: Path) -> None:
    """Cat is the class that answers call cat."""
    path = table(tmp_path, "image,Cat,Dog\na.png,1,0\n")
    given = ["label_columns=Cat,Dog", "candidates=Dog,Cat"]
    assert [record.answer for record in run(path, *given)[1]] == ["cat"]


def test_columns_that_differ_in_blanks_alone_are_refused(tmp_path: Path) -> None:
    """One of the two would be read for both."""
    rows = {"image": "a.png", "A": 1, " A": 0, "B": 0}
    with pytest.raises(UsageError, match="two columns differ in blanks alone: 'image', 'A', ' A', 'B'; rename one"):
        run(table(tmp_path, json.dumps(rows) + "\n", "t.jsonl"), "label_columns=A,B")


@pytest.mark.parametrize("options", [["label=kind"], ["label_columns=cat,dog"]])
def test_a_list_over_folders_of_splits_is_divided_by_them(tmp_path: Path, options: list[str]) -> None:
    """Pictures of train/ and test/ in one table without a split are of these; where all lie in one, nothing is told by it."""
    lay(tmp_path, "train/a.png", "train/b.png", "x/test/train/c.png", "d.png")  # a train, in the test set
    lines = ["image,kind,cat,dog", "train/a.png,cat,1,0", "train/b.png,dog,0,1", "x/test/train/c.png,cat,1,0", "d.png,cat,1,0"]
    _, records = run(table(tmp_path, "\n".join(lines)), *options)
    assert [record.split for record in records] == ["train", "train", "test", None]
    _, records = run(table(tmp_path, "\n".join(lines[:3])), *options)
    assert [record.split for record in records] == [None, None]
