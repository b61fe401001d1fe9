"""Damaged medical datasets: whatever is wrong with a file, the answer is a sample, a rejection with its place, or one error."""

import copy
import csv
import dataclasses
import json
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapt import records
from adapt.domain import Rejected, Source, Task, find_task, read_options
from adapt.errors import DataError, UsageError
from domains.medical.sample import write_sample

HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, float("nan"), 2**70, "", " ", "x" * 5000, "../../etc/passwd", "/etc/passwd", "a\x00b", "a\\b",
    "\ud800",
    "<image>", "</ref>", "<|im_end|>", "CLOSED", "zh", [], {}, [[]], [None], {"a": {"a": []}}, [1, 2, 3, 4],
    [0, 0, -1, float("inf")],
)  # fmt: skip
TASKS = ("vqarad", "slake", "pmcvqa", "pathvqa", "medmnist")
OPTIONS = {"slake": {"kinds": "vqa,detect"}}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small set in the native layout of each task."""
    folder = tmp_path_factory.mktemp("sets")
    write_sample(folder, size=32)
    for name in ("trainset.json", "testset.json"):
        path = folder / "vqa_rad" / name
        path.write_text(json.dumps(json.loads(path.read_text())[:6]))
    for name in ("train.json", "validate.json", "test.json"):
        path = folder / "Slake1.0" / name
        path.write_text(json.dumps(json.loads(path.read_text())[:6]))
    paper = folder / "pmc"
    (paper / "images").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(paper / "images" / "a.jpg")
    row = {"Figure_path": "a.jpg", "Question": "what?", "Answer": "b"} | {f"Choice {x}": f" {x}:{x.lower()}" for x in "ABCD"}
    with open(paper / "train.csv", "w", newline="") as handle:
        writer = csv.DictWriter(handle, [*row, "Answer_label"])
        writer.writeheader()
        writer.writerows([row | {"Answer_label": "B"}] * 4)
    path = folder / "pvqa"
    (path / "qas" / "train").mkdir(parents=True)
    (path / "images" / "train").mkdir(parents=True)
    rows = [{"image": "train_1", "question": "what is it?", "answer": "a cell"} for _ in range(4)]
    (path / "qas" / "train" / "train_qa.pkl").write_bytes(pickle.dumps(rows))
    return {
        "vqarad": folder / "vqa_rad", "slake": folder / "Slake1.0", "pmcvqa": paper, "pathvqa": path,
        "medmnist": folder / "bloodmnist",
    }  # fmt: skip


def walk(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in walk(each, (*path, key)))]


def mutate_value(value: Any, draws: np.random.Generator) -> Any:
    """One value inside replaced by a hostile one, or taken away, or a row doubled."""
    value = copy.deepcopy(value)
    paths = walk(value)[1:]
    *above, key = paths[draws.integers(len(paths))]
    holder = value
    for each in above:
        holder = holder[each]
    kind = draws.integers(8)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[key] = HOSTILE[draws.integers(len(HOSTILE))]
    return value


def mutate_bytes(content: bytes, draws: np.random.Generator) -> bytes:
    """A few bytes changed, the end cut off, or a part doubled."""
    changed = bytearray(content)
    for place in draws.integers(0, len(changed), draws.integers(1, 5)):
        changed[place] = draws.integers(256)
    start = int(draws.integers(len(changed)))
    return bytes((changed, changed[:start], changed[:start] + changed[start // 2 :], changed)[draws.integers(4)])


def mutate_file(path: Path, draws: np.random.Generator) -> None:
    content = path.read_bytes()
    dump: Callable[[Any], bytes] | None = None
    if path.suffix == ".json":
        dump, value = (lambda found: json.dumps(found).encode()), json.loads(content)
    elif path.suffix == ".pkl":
        dump, value = (lambda found: pickle.dumps(found, int(draws.integers(6)))), pickle.loads(content)
    path.write_bytes(dump(mutate_value(value, draws)) if dump and draws.random() < 0.7 else mutate_bytes(content, draws))


def read_all(task: Task, source: Source) -> list[str]:
    """What became of each sample: the line that would be written, or why not. Raises what reading raises."""
    reading, outcomes = task.read(source), []
    for sample in reading.samples:
        if isinstance(sample, Rejected):
            assert sample.where and sample.reason
            outcomes.append(sample.reason)
            continue
        assert isinstance(sample.id, str) and all(isinstance(name, str) for name in sample.pictures)
        if hasattr(sample, "sizes"):
            sample = dataclasses.replace(sample, sizes=((96, 96),))
        try:
            for record in task.convert(sample, reading.context, source):
                row = records.record_to_row(record)
                records.parse_record(row, sample.where)
                outcomes.append(records.dump_row(row))
        except DataError as error:
            outcomes.append(str(error))
    return outcomes


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.stress)])
@pytest.mark.parametrize("name", TASKS)
def test_damaged_sets_are_answered(sets: dict[str, Path], tmp_path: Path, name: str, count: int) -> None:
    """No other exception, under a second each; and most damage leaves the samples around it."""
    task, draws = find_task(name), np.random.default_rng(len(name))
    options = read_options(task.options, OPTIONS.get(name, {}), name)
    whole, outcomes = len(read_all(task, Source(sets[name], None, options, 0, tmp_path / "made"))), []
    files = sorted(path for path in sets[name].rglob("*") if path.suffix in (".json", ".csv", ".pkl", ".npz"))
    files = [path for path in files if path.name != "detection.json"] * 3 + [
        path for path in files if path.name == "detection.json"
    ][:9]
    originals = {path: path.read_bytes() for path in files}
    for _ in range(count):
        path = files[draws.integers(len(files))]
        try:
            mutate_file(path, draws)
            begin = time.process_time()
            outcomes.append(len(read_all(task, Source(sets[name], None, options, 0, tmp_path / "made"))))
        except (DataError, UsageError) as error:
            assert "\n" not in str(error)
            outcomes.append(0)
        finally:
            path.write_bytes(originals[path])
        assert time.process_time() - begin < 1
        shutil.rmtree(tmp_path / "made", ignore_errors=True)
    assert whole > 3 and 0 in outcomes and any(found >= whole - 1 for found in outcomes)
