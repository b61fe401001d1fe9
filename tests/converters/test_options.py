"""Options that do nothing beside others: each is refused with the setting that leaves it without effect."""

import re
from pathlib import Path

import pytest
from native_sets import SETS

from adapt.domain import Option
from adapt.errors import UsageError
from adapt.verbs import convert
from converters.options import read_listed, refuse_idle

# (name of the set, its options, the one that does nothing, beside which setting)
IDLE = [
    *[
        ("region", {"form": "coordinates", option: value}, option, "form=coordinates")
        for option, value in (("mark", "mask"), ("colour", "blue"), ("width", "3"), ("opacity", "9"), ("quality", "png"))
    ],
    ("region", {"ask": "caption", "answer_form": "plain"}, "answer_form", "ask=caption"),
    ("region", {"form": "drawn", "answer_form": "plain"}, "answer_form", "form=drawn"),
    ("region", {"form": "drawn", "mark": "mask", "width": "3"}, "width", "mark=mask"),
    ("region", {"form": "drawn", "mark": "contour", "opacity": "3"}, "opacity", "mark=contour"),
    ("rsregion", {"origin": "1"}, "origin", "set=fair1m"),
    ("rsdetect dota", {"origin": "1"}, "origin", "set=dota"),
    ("rsdetect dota", {"kinds": "detect", "absent": "1"}, "absent", "kinds=detect"),
    ("rsdetect dota", {"kinds": "count", "max_objects": "9"}, "max_objects", "kinds=count"),
    ("bdd", {"kinds": "weather", "classes": "car"}, "classes", "kinds=weather"),
    ("bdd", {"kinds": "weather", "absent": "1"}, "absent", "kinds=weather"),
    ("bdd", {"kinds": "weather", "prompt": "Where is {name}?"}, "prompt", "kinds=weather"),
    ("nuscenes", {"cameras": "each", "view_names": "none"}, "view_names", "cameras=each"),
    ("nuscenes", {"cameras": "each", "prompt": "Six."}, "prompt", "cameras=each"),
    ("nuscenes", {"kinds": "there", "absent": "1"}, "absent", "kinds=there"),
    ("drivelm test", {"val_share": "0.5"}, "val_share", "test.json, whose split is test"),
    ("drivelm rows", {"questions": "challenge"}, "questions", "llama.json"),
    ("classify", {"label": "kind"}, "label", "a folder of classes"),
    ("rsclassify", {"split_lists": "lists", "split_percent": "70/10/20"}, "split_percent", "split_lists=lists"),
    ("rsclassify", {"split_lists": "lists", "split_seed": "1"}, "split_seed", "split_lists=lists"),
    ("rsground file", {"case": "lower"}, "case", "expressions.json"),
    ("slake", {"kinds": "detect", "suffix": "Be brief."}, "suffix", "kinds=detect"),
]


def build(name: str, folder: Path) -> tuple[str, Path]:
    """The task and the input of a set; of forms that no generated set has, as much as its reader looks at first."""
    if name.startswith(("drivelm ", "rsground ")):
        file = {"test": "test.json", "rows": "llama.json", "file": "expressions.json"}[name.split()[1]]
        (folder / file).write_text("{}" if name == "drivelm test" else "[]")
        return name.split()[0], folder / file
    if name == "rsclassify":
        for kind in ("River", "Forest"):
            (folder / "2750" / kind).mkdir(parents=True)
            (folder / "2750" / kind / f"{kind}_1.jpg").touch()
        return name, folder
    task, _, builder = SETS[name]
    return task, folder / builder(folder)


@pytest.mark.parametrize(("name", "options", "idle", "beside"), IDLE)
def test_an_option_without_effect_is_refused(
    name: str, options: dict[str, str], idle: str, beside: str, tmp_path: Path
) -> None:
    """The message names the option, its value and the setting beside which it does nothing; nothing is written."""
    task, input = build(name, tmp_path)
    with pytest.raises(UsageError) as error:
        convert(task=task, input=input, output=tmp_path / "out.jsonl", option=options)
    assert str(error.value).startswith(f"option {idle}={options[idle]} has no effect with {beside}")
    assert not (tmp_path / "out.jsonl").exists()


def test_questions_of_cameras_are_refused_where_each_picture_stands_alone(tmp_path: Path) -> None:
    """The kinds that compare cameras, asked for by name, are not dropped silently; the default gives what can be asked."""
    task, input = build("nuscenes", tmp_path)
    with pytest.raises(UsageError, match="kinds=there,ground: with cameras=each expected one or more of ground, detect, count"):
        convert(task=task, input=input, output=tmp_path / "o.jsonl", option={"cameras": "each", "kinds": "there,ground"})
    manifest = convert(task=task, input=input, output=tmp_path / "o.jsonl", option={"cameras": "each"})
    assert manifest["facts"]["kinds"] == ["ground"]


def test_a_column_of_the_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    """--option split=COLUMN of a table without it is refused as any other column is; the default one may be missing."""
    (tmp_path / "rows.csv").write_text("image,question,answer\na.png,what?,a\n")
    with pytest.raises(UsageError, match="no column 'part'"):
        convert(task="vqa", input=tmp_path / "rows.csv", output=tmp_path / "o.jsonl", option={"split": "part"})


def test_a_default_that_is_written_out_does_no_harm() -> None:
    """The value that holds anyway is no contradiction."""
    option = Option("mark", "what is drawn", "box")
    refuse_idle({"mark": "box"}, [option], "form=coordinates")
    refuse_idle({}, [option, Option("width", "of lines")], "form=coordinates")
    with pytest.raises(UsageError, match="option width=2 has no effect"):
        refuse_idle({"width": "2"}, [option, Option("width", "of lines")], "form=coordinates")


def test_a_list_is_text_or_a_file_that_is_there(tmp_path: Path) -> None:
    """What is called like a file and is none is not taken for one text of the list."""
    path = tmp_path / "names.txt"
    path.write_text("a\n\nb, c\n")
    assert read_listed("candidates", str(path), ",") == ("a", "b, c")
    assert read_listed("candidates", "a, b.txt", ",") == ("a", "b.txt")
    for name in ("nope.txt", "my names.txt", "a.md", "a.tsv", "a.JSONL", "a.yaml", "a.yml"):
        with pytest.raises(UsageError, match=f"^prompt file '{re.escape(name)}': no such file$"):
            read_listed("prompt", name, "|")
