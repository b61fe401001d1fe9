"""Data that changed since a checkpoint never reaches a step unasked."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tiny_runs import FIXED, run_here, write_data

from adapt.data.index import build_index
from adapt.data.template import get_template
from adapt.errors import DataError, UsageError
from adapt.model.tokenizer_files import load_tokenizer
from adapt.train import checkpoint
from adapt.train.log import read_log
from adapt.verbs import finetune

SETTINGS = ("train.max_steps=5", "train.save_every=2", "train.keep=9", "data.workers=0")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data and ``run``, a run of 5 steps as it was after step 2."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPT_CACHE", str(folder / "cache"))
        data = {name: write_data(folder, name, 24, seed) for name, seed in (("field", 0), ("common", 1000))}
        run_here(data, folder / "run", *SETTINGS)
    for later in ("model", "best", "checkpoints/step-000004", "checkpoints/step-000005"):
        shutil.rmtree(folder / "run" / later)
    return folder


@pytest.fixture
def here(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of its own, indexed."""
    copied = Path(shutil.copytree(stopped, tmp_path / "here"))
    monkeypatch.setenv("ADAPT_CACHE", str(copied / "cache"))
    fingerprint(copied)
    return copied


def resume(here: Path, *, accept_new_data: bool = False) -> None:
    finetune(
        model="nano", data=[here / "field.jsonl"], general=[here / "common.jsonl"], output=here / "run", resume=True,
        accept_new_data=accept_new_data, set=(*FIXED, *SETTINGS),
    )  # fmt: skip


def fingerprint(here: Path) -> str:
    """What the data is now."""
    tokenizer = load_tokenizer(here / "run" / "tokenizer")
    return build_index([here / "field.jsonl", here / "common.jsonl"], tokenizer, get_template("internvl2_5")).fingerprint


def edit_a_byte(here: Path) -> None:
    content = bytearray((here / "field.jsonl").read_bytes())
    content[content.index(b"What colour") + 1] ^= 1
    (here / "field.jsonl").write_bytes(content)


def change_a_picture(here: Path) -> None:
    with Image.open(here / "field" / "3.png") as picture:
        changed = picture.copy()
    changed.putpixel((0, 0), (255, 255, 255))
    changed.save(here / "field" / "3.png")


def reorder_lines(here: Path) -> None:
    lines = (here / "field.jsonl").read_text().splitlines(keepends=True)
    (here / "field.jsonl").write_text("".join([lines[1], lines[0], *lines[2:]]))


def swap_two_pictures(here: Path) -> None:
    first, second, kept = (here / "field" / name for name in ("3.png", "4.png", "kept"))
    first.rename(kept)
    second.rename(first)
    kept.rename(second)


def swap_the_file(here: Path) -> None:
    shutil.rmtree(here / "common")
    write_data(here, "common", 24, 5000)


CHANGES = (edit_a_byte, change_a_picture, reorder_lines, swap_two_pictures, swap_the_file)


def test_what_did_not_change_goes_on(here: Path) -> None:
    """The control: the same data elsewhere, with other times, is the same data."""
    for path in (here / "field").iterdir():
        os.utime(path, (1, 1))
    resume(here)
    rows = read_log(here / "run")
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5]
    assert "new data accepted" not in [row.get("event") for row in rows]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_data_is_refused(here: Path, change: Callable[[Path], None]) -> None:
    """Each kind of change is refused with the old and the new fingerprint; nothing of the run is touched."""
    was = fingerprint(here)
    before = {path: path.read_bytes() for path in (here / "run").rglob("*") if path.is_file()}
    change(here)
    now = fingerprint(here)
    assert was != now
    message = re.escape(f"the data changed since the checkpoint (fingerprint {was[:12]} then, {now[:12]} now): ")
    as_it_was = r" \(.*\.jsonl, which the run was begun with, is as it was\)"  # the folder was copied
    named = {change: rf".*field\.jsonl{as_it_was}" for change in (edit_a_byte, reorder_lines)}
    named[swap_the_file] = rf".*common\.jsonl{as_it_was}"
    with pytest.raises(DataError, match=message + named.get(change, ".* pictures are not") + "; restore it, or go on"):
        resume(here)
    assert {path: path.read_bytes() for path in (here / "run").rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_accepted_new_data_is_in_the_log_and_is_the_runs_from_then_on(here: Path) -> None:
    """--accept-new-data goes on and leaves a row; the checkpoints after it are of the new data: the old one is refused."""
    was = fingerprint(here)
    shutil.copytree(here / "field", here / "old")
    shutil.copy(here / "field.jsonl", here / "old.jsonl")
    edit_a_byte(here)
    change_a_picture(here)
    now = fingerprint(here)
    resume(here, accept_new_data=True)
    rows = read_log(here / "run")
    assert {"event": "new data accepted", "was": was, "is": now, "step": 2} in rows
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5]
    for later in ("model", "checkpoints/step-000005"):
        shutil.rmtree(here / "run" / later)
    assert json.loads((here / "run" / "checkpoints" / "step-000004" / "state.json").read_text())["data_fingerprint"] == now
    resume(here)
    shutil.rmtree(here / "run" / "model")
    shutil.rmtree(here / "field")
    (here / "old").rename(here / "field")
    (here / "old.jsonl").rename(here / "field.jsonl")
    with pytest.raises(DataError, match=f"fingerprint {now[:12]} then, {was[:12]} now"):
        resume(here)


@pytest.mark.slow
def test_a_picture_changed_in_secret_never_reaches_a_step(here: Path) -> None:
    """One of the same size and time is caught as it is read, and stops the run; what the message offers works."""
    was = fingerprint(here)
    changed = []
    for path in (here / "field").iterdir():  # all, so that the next steps meet one
        stat = path.stat()
        content = bytearray(path.read_bytes())
        content[-20] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        changed.append(path)
    assert fingerprint(here) == was, "size and time tell nothing"
    for accept in (False, True):
        with pytest.raises(DataError, match="the picture changed since the run was planned") as raised:
            resume(here, accept_new_data=accept)
        path = next(path for path in changed if str(path) in str(raised.value))
        assert f"touch '{path}'" in str(raised.value)
        assert "--accept-new-data" in str(raised.value)
        assert [row["step"] for row in read_log(here / "run") if "loss" in row] == [1, 2]
    for path in changed:  # real changes, which decode
        with Image.open(here / "common" / path.name) as other:
            other.save(path)
        path.touch()
    now = fingerprint(here)
    with pytest.raises(DataError, match=f"fingerprint {was[:12]} then, {now[:12]} now"):
        resume(here)
    resume(here, accept_new_data=True)
    assert [row["step"] for row in read_log(here / "run") if "loss" in row] == [1, 2, 3, 4, 5]
    assert checkpoint.newest_valid(here / "run" / "checkpoints") == here / "run" / "checkpoints" / "step-000005"


@pytest.mark.slow
def test_another_file_is_not_called_a_changed_one(here: Path, stopped: Path) -> None:
    """--data of another name is told with both names, more files too; one of the same name elsewhere with the one as it was."""
    edit_a_byte(here)
    (here / "field.jsonl").rename(here / "mix.jsonl")
    fixed = {"model": "nano", "output": here / "run", "resume": True, "set": (*FIXED, *SETTINGS)}
    field, mix, more = stopped / "field.jsonl", here / "mix.jsonl", here / "more.jsonl"
    shutil.copyfile(field, more)
    for data in ([mix], [mix, more]):
        told = f"the run was begun with --data {field}, --data is now {' '.join(map(str, data))}; give what"
        with pytest.raises(UsageError, match=re.escape(told)):
            finetune(data=data, general=[here / "common.jsonl"], **fixed)
    mix.rename(here / "field.jsonl")
    told = re.escape(f"other content in {here / 'field.jsonl'} ({field}, which the run was begun with, is as it was); restore")
    with pytest.raises(DataError, match=told):
        resume(here)
