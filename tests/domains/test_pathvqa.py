"""PathVQA: its two pickled forms, and pickles that would run code."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.verbs import convert


def write_pickle(path: Path, value: Any, protocol: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol))


def write_pictures(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / "pvqa" / "images" / name.split("_")[0] / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (7, 5)).save(path)
    return folder / "pvqa"


def qa(image: str, question: Any, answer: Any) -> dict[str, Any]:
    return {"image": image, "question": question, "answer": answer}


def vqa(image: str, sent: str, label: Any, kind: str = "other", question_type: str = "what") -> dict[str, Any]:
    return {
        "answer_type": kind, "img_id": image, "label": label, "question_id": 7, "question_type": question_type, "sent": sent
    }  # fmt: skip


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_the_form_with_answers(tmp_path: Path, protocol: int) -> None:
    """qas/{split}/{split}_qa.pkl: splits, pictures and types; one record by hand."""
    root = write_pictures(tmp_path, "train_0001", "val_0001", "test_0001")
    train = [qa("train_0001", "Where is the  cell?", "in the centre "), qa("train_0001", "is it red?", "Yes")]
    write_pickle(root / "qas" / "train" / "train_qa.pkl", train, protocol)
    write_pickle(root / "qas" / "val" / "val_qa.pkl", [qa("val_0001", "how many cells?", 3)], protocol)
    write_pickle(root / "qas" / "test" / "test_qa.pkl", [qa("test_0001.jpg", "does it bleed?", "no")], protocol)
    manifest = convert(task="pathvqa", input=tmp_path, output=tmp_path / "o.jsonl")
    assert manifest["counts"]["splits"] == {"train": 2, "val": 1, "test": 1} and manifest["facts"] == {"file": "qa"}
    records = adapt.read_records(tmp_path / "o.jsonl")
    assert [(record.meta["answer_type"], record.meta["question_type"]) for record in records] == [
        ("open", "where"), ("closed", "yes/no"), ("open", "how"), ("closed", "yes/no")
    ]  # fmt: skip
    assert json.loads((tmp_path / "o.jsonl").read_text().splitlines()[0]) == {
        "id": "pathvqa-train-0", "image": "images/train/train_0001.jpg", "width": 7, "height": 5,
        "conversations": [
            {"from": "human", "value": "<image>\nWhere is the  cell?\nAnswer the question using a single word or phrase."},
            {"from": "gpt", "value": "in the centre"},
        ],
        "task": "pathvqa", "source": "pathvqa",
        "meta": {"split": "train", "answer_type": "open", "question_type": "where"},
    }  # fmt: skip
    assert records[3].images == ("images/test/test_0001.jpg",)


def test_the_form_with_labels(tmp_path: Path) -> None:
    """qas/{split}_vqa.pkl: the label with the best score is the answer; a row without one is rejected."""
    root = write_pictures(tmp_path, "test_0001")
    rows = [
        vqa("test_0001", "what is it?", {"a nerve": 0.3, "a vessel": 1}),
        vqa("test_0001", "is it?", {"yes": 1}, "yes/no", "is"),
        vqa("test_0001", "what?", {}), vqa("test_0001", "what?", ["a"]), vqa("test_0001", "what?", {"a": "b"}),
        vqa("../test_0001", "what?", {"a": 1}), ["row"],
    ]  # fmt: skip
    write_pickle(root / "qas" / "test_vqa.pkl", rows)
    manifest = convert(task="pathvqa", input=root, output=tmp_path / "o.jsonl", max_bad=5)
    records = adapt.read_records(tmp_path / "o.jsonl")
    assert [(record.answer, record.meta["answer_type"]) for record in records] == [("a vessel", "open"), ("yes", "closed")]
    assert manifest["counts"]["rejected"] == 5 and manifest["facts"] == {"file": "vqa"}
    rejected = [json.loads(line) for line in (tmp_path / "o.rejected.jsonl").read_text().splitlines()]
    assert rejected[0]["where"] == "test_vqa.pkl#2" and "the form qa may have the answer" in rejected[0]["reason"]


def test_the_form_can_be_chosen(tmp_path: Path) -> None:
    """With both forms there the one with whole answers is read unless the other is asked for."""
    root = write_pictures(tmp_path, "test_0001")
    write_pickle(root / "qas" / "test_vqa.pkl", [vqa("test_0001", "what is it?", {"b": 1})])
    write_pickle(root / "qas" / "test" / "test_qa.pkl", [qa("test_0001", "what is it?", "a")])
    for form, answer in (("auto", "a"), ("qa", "a"), ("vqa", "b")):
        convert(task="pathvqa", input=root, output=tmp_path / "o.jsonl", option=[f"file={form}"])
        assert adapt.read_records(tmp_path / "o.jsonl")[0].answer == answer
    (root / "qas" / "test_vqa.pkl").unlink()
    with pytest.raises(UsageError, match="file=vqa"):
        convert(task="pathvqa", input=root, output=tmp_path / "o.jsonl", option=["file=vqa"])
    with pytest.raises(UsageError, match="holds no folder qas"):
        convert(task="pathvqa", input=root / "images", output=tmp_path / "o.jsonl")


def test_no_split_is_left_unread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A form with every split comes before the preferred one without; else each split has its own; what lacks is told."""
    root = write_pictures(tmp_path, "train_0001", "val_0001")
    write_pickle(root / "qas" / "train" / "train_qa.pkl", [qa("train_0001", "what is it?", "a")])
    for split in ("train", "val"):
        write_pickle(root / "qas" / f"{split}_vqa.pkl", [vqa(f"{split}_0001", "what is it?", {"b": 1})])

    def read(file: str) -> tuple[list[str], Any, str]:
        manifest = convert(task="pathvqa", input=root, output=tmp_path / "o.jsonl", option=[f"file={file}"])
        notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
        return [record.answer for record in adapt.read_records(tmp_path / "o.jsonl")], manifest["facts"]["file"], "".join(notes)

    note = f"note: {root / 'qas'}: the form qa has no val; read: {{}}; --option file= chooses"
    assert read("auto") == (["b", "b"], "vqa", note.format("train (vqa), val (vqa)"))
    assert read("qa") == (["a"], "qa", note.format("train (qa)"))
    assert read("vqa") == (["b", "b"], "vqa", "")
    (root / "qas" / "train_vqa.pkl").unlink()
    assert read("auto") == (["a", "b"], {"train": "qa", "val": "vqa"}, note.format("train (qa), val (vqa)"))


class Hostile:
    """Calls a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def test_a_hostile_pickle_runs_nothing(tmp_path: Path) -> None:
    """A command inside a row is refused with the file's name and never run; a list is expected."""
    root = write_pictures(tmp_path, "test_0001")
    path = root / "qas" / "test_vqa.pkl"
    write_pickle(path, [qa("test_0001", "what?", Hostile(f"touch {tmp_path / 'ran'}"))])
    with pytest.raises(DataError, match=r"test_vqa\.pkl: a pickle that would build or call something"):
        convert(task="pathvqa", input=root, output=tmp_path / "o.jsonl")
    assert not (tmp_path / "ran").exists()
    write_pickle(path, {"a": 1})
    with pytest.raises(DataError, match="expected a list of questions"):
        convert(task="pathvqa", input=root, output=tmp_path / "o.jsonl")
