"""Death, a full disk or a failing one at every file-system call of a save: what was there before is still there."""

import contextlib
import errno
import itertools
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from file_system import count, die_at, fail_at
from safetensors.torch import load_file, save_file

from adapt import atomic
from adapt.data.tokenizer import train_tokenizer
from adapt.errors import DataError
from adapt.model.config import ModelConfig, VisionConfig, for_tokenizer
from adapt.model.internvl import InternVL
from adapt.model.saving import save_model
from adapt.train import checkpoint, keeper
from adapt.train.log import RunLog, read_log

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def tensors(step: int) -> dict[str, torch.Tensor]:
    return {name: torch.full((40 + number,), step + number / 8) for number, name in enumerate(("a", "b", "c"))}


def save(folder: Path, step: int) -> None:
    state = {"step": step, "best_loss": step / 3}
    checkpoint.save_checkpoint(folder, step, tensors(step), {name: tensors(step) for name in checkpoint.MOMENTS}, state, 2)


def save_in_place(folder: Path, step: int) -> None:
    """What most trainers do: the control that shows that these tests bite."""
    place = checkpoint.checkpoint_path(folder, step)
    place.mkdir()
    save_file(tensors(step), place / "model.safetensors")
    moments = {f"{moment}.{name}": tensor for moment in checkpoint.MOMENTS for name, tensor in tensors(step).items()}
    save_file(moments, place / "optimizer.safetensors")
    (place / "state.json").write_text(json.dumps({"step": step}))


def assert_holds(path: Path, step: int) -> None:
    """The checkpoint loads, and every number in it is that of ``step``."""
    weights, moments, state = checkpoint.load_checkpoint(path)
    for found in (weights, *moments.values()):
        assert sorted(found) == sorted(tensors(step))
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors(step).items())
    assert state["step"] == step


@pytest.fixture
def folders(tmp_path: Path) -> Callable[[], Path]:
    """Each call gives a fresh copy of a folder with the checkpoints of steps 1 and 2."""
    for step in (1, 2):
        save(tmp_path / "0", step)

    numbers = itertools.count(1)

    def fresh() -> Path:
        return Path(shutil.copytree(tmp_path / "0", tmp_path / str(next(numbers))))

    return fresh


def refusable(calls: list[tuple[str, Path]]) -> list[int]:
    """All calls but those that make sure of a folder that is there already: whether they succeed does not matter."""
    made = {path for what, path in calls if what == "mkdir" and path.name.startswith(atomic.STAGING_PREFIX)}
    return [k for k, (what, path) in enumerate(calls) if what != "mkdir" or (path in made and calls.index((what, path)) == k)]


def check_after_fault(folder: Path) -> int:
    """Step 2 is whole, the newest that counts is step 2 or 3 and whole, and the next save works. Returns that newest step."""
    assert checkpoint.fault(checkpoint.checkpoint_path(folder, 2)) is None
    assert_holds(checkpoint.checkpoint_path(folder, 2), 2)
    newest = checkpoint.newest_valid(folder)
    assert newest is not None
    step = checkpoint.step_of(newest)
    assert step in (2, 3)
    assert_holds(newest, step)
    save(folder, step + 1)
    assert_holds(checkpoint.checkpoint_path(folder, step + 1), step + 1)
    assert not list(folder.glob(f"{atomic.STAGING_PREFIX}*"))
    return step


def test_calls_of_a_save_are_in_the_order_that_a_power_cut_needs(folders: Callable[[], Path]) -> None:
    """Each file is written, then synced; then its folder; then comes the rename, then the sync of the parent.

    The manifest is written last, and the oldest checkpoint goes after all of it.
    """
    folder = folders()
    calls = count(folder.parent, lambda: save(folder, 3))
    staged = atomic.staging_path(checkpoint.checkpoint_path(folder, 3))
    rename = calls.index(("rename", checkpoint.checkpoint_path(folder, 3)))
    written = [i for i, (what, path) in enumerate(calls) if what == "write" and path.parent == staged]
    assert {calls[i][1].name for i in written} == {*checkpoint.FILES, checkpoint.MANIFEST}
    assert calls[written[-1]][1].name == checkpoint.MANIFEST
    for i in written:
        assert i < calls.index(("fsync", calls[i][1])) < rename
    assert max(written) < calls.index(("fsync", staged)) < rename < calls.index(("fsync", folder))
    removed = [i for i, (what, path) in enumerate(calls) if what in ("unlink", "rmdir")]
    assert len(removed) == 5
    assert min(removed) > calls.index(("fsync", folder))


@pytest.mark.slow
def test_death_at_every_call_of_a_save(folders: Callable[[], Path]) -> None:
    """A process that dies at call k of a save, for every k, leaves the checkpoint before it, or the new one whole as well."""
    folder = folders()
    calls = count(folder.parent, lambda: save(folder, 3))
    assert len(calls) > 20
    found = []
    for k in range(len(calls)):
        folder = folders()
        assert die_at(folder.parent, k, lambda: save(folder, 3))  # noqa: B023 (called at once)
        found.append(check_after_fault(folder))
    assert found == sorted(found), "before the rename the old one counts, after it the new one"
    assert set(found) == {2, 3}
    assert not die_at(folder.parent, 10**6, lambda: save(folder, 9)), "a process that lives on says so"


def test_death_tears_what_is_written_in_place(folders: Callable[[], Path]) -> None:
    """The same deaths leave a writer without staging and manifest with a newest folder that does not load: the test bites."""
    folder = folders()
    calls = count(folder.parent, lambda: save_in_place(folder, 3))
    torn = 0
    for k in range(len(calls)):
        folder = folders()
        assert die_at(folder.parent, k, lambda: save_in_place(folder, 3))  # noqa: B023
        newest = checkpoint.list_checkpoints(folder)[0]
        try:
            assert_holds(newest, checkpoint.step_of(newest))
        except Exception:  # noqa: BLE001 (whatever a torn folder raises)
            torn += 1
            assert checkpoint.fault(newest) is not None
    assert torn > len(calls) // 2


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_any_call_of_a_save(folders: Callable[[], Path], error: int) -> None:
    """ENOSPC and EIO at every call: an error that names the checkpoint, what failed, the free bytes and what to do.

    The checkpoint before it is whole.
    """
    folder = folders()
    calls = count(folder.parent, lambda: save(folder, 3))
    found = []
    for k in refusable(calls):
        folder = folders()
        with pytest.raises(DataError) as raised:
            fail_at(folder.parent, k, error, lambda: save(folder, 3))  # noqa: B023
        said = str(raised.value)
        assert str(folder / "step-00000") in said
        assert os.strerror(error) in said
        assert "bytes are free" in said
        assert "--resume" in said
        assert atomic.STAGING_PREFIX not in said.partition(" (")[0], "the place is one that the user knows"
        found.append(check_after_fault(folder))
    assert set(found) == {2, 3}


@contextlib.contextmanager
def file_limit(size: int) -> Iterator[None]:
    """The kernel refuses to make any file longer than ``size``: Rust's writes too. (Python ignores SIGXFSZ.)"""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [1, 100, 400, 700, 1000, 1200])
def test_a_write_that_the_kernel_refuses(folders: Callable[[], Path], size: int) -> None:
    """Files cut short by the kernel in safetensors' own writes, too: the same error, and the checkpoint before it is whole."""
    folder = folders()
    sizes = sorted(path.stat().st_size for path in (folder / "step-000002").iterdir())
    assert size < sizes[-1]
    with pytest.raises(DataError, match=r"step-000003: not written: File too large \([\d,]+ bytes are free"), file_limit(size):
        save(folder, 3)
    assert check_after_fault(folder) == 2


@pytest.fixture(scope="module")
def model() -> tuple[ModelConfig, dict[str, torch.Tensor], object]:
    tokenizer = train_tokenizer(["Which class is it? A river."] * 50, 400)
    vision = VisionConfig(image_size_px=32, patch_size_px=8, hidden_size=32, num_layers=1, num_heads=2, mlp_size=32)
    language = {
        "model_type": "qwen2", "vocab_size": 512, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "intermediate_size": 32, "max_position_embeddings": 128, "pad_token_id": None,
        "eos_token_id": None, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    }  # fmt: skip
    config = for_tokenizer(ModelConfig(vision, language), tokenizer)
    return config, InternVL(config).state_dict(), tokenizer


def write_model(folder: Path, model: tuple, step: int, *, with_tokenizer: bool = False) -> None:
    config, state, tokenizer = model
    save_model(folder, config, state, tokenizer if with_tokenizer else None, dtype=None, provenance={"step": step})


def step_in(folder: Path) -> int:
    """The step of a model folder that is whole."""
    assert sorted(path.name for path in folder.iterdir()) == ["adapt.json", "config.json", "model.safetensors"]
    assert load_file(folder / "model.safetensors")
    json.loads((folder / "config.json").read_text())
    return json.loads((folder / "adapt.json").read_text())["provenance"]["step"]


@pytest.mark.slow
def test_death_at_every_call_of_writing_a_model(tmp_path: Path, model: tuple) -> None:
    """RUN/best replaced by a process that dies at call k is the old one or the new one, whole.

    Between the two renames it has no name; the next write brings it back before anything else.
    """
    write_model(tmp_path / "counted" / "best", model, 1)
    calls = count(tmp_path, lambda: write_model(tmp_path / "counted" / "best", model, 1))
    found = []
    for k in range(len(calls)):
        folder = Path(shutil.copytree(tmp_path / "counted" / "best", tmp_path / str(k) / "best"))
        assert die_at(tmp_path, k, lambda: write_model(folder, model, 2))  # noqa: B023
        if folder.exists():
            found.append(step_in(folder))
        else:
            found.append(0)
            with pytest.raises(DataError), file_limit(1):
                write_model(folder, model, 3)
            assert step_in(folder) == 1
        write_model(folder, model, 4)
        assert step_in(folder) == 4
        assert [path.name for path in folder.parent.iterdir()] == ["best"]
    assert found.count(0) == 1
    assert found == [1] * found.index(0) + [0] + [2] * (len(found) - found.index(0) - 1)


def test_a_disk_that_refuses_any_call_of_writing_a_model(tmp_path: Path, model: tuple) -> None:
    """ENOSPC at every call of replacing RUN/best: an error that names the folder and the free bytes; the old one or the new."""
    write_model(tmp_path / "counted" / "best", model, 1)
    calls = count(tmp_path, lambda: write_model(tmp_path / "counted" / "best", model, 1))
    for k in refusable(calls):
        folder = Path(shutil.copytree(tmp_path / "counted" / "best", tmp_path / str(k) / "best"))
        with pytest.raises(DataError, match=r"best: not written: No space left on device \([\d,]+ bytes are free"):
            fail_at(tmp_path, k, errno.ENOSPC, lambda: write_model(folder, model, 2))  # noqa: B023
        assert step_in(folder) in (1, 2)


@pytest.mark.parametrize("size", [1, 1000, 5000, 9000, 100_000])
def test_a_model_that_the_kernel_refuses(tmp_path: Path, model: tuple, size: int) -> None:
    """The tokenizer's and safetensors' own writes refused by the kernel give the same error, and no half of a model."""
    with pytest.raises(DataError, match=r"model: not written: File too large \([\d,]+ bytes are free"), file_limit(size):
        write_model(tmp_path / "model", model, 1, with_tokenizer=True)
    assert not list(tmp_path.iterdir())


def test_a_run_says_how_to_go_on_where_its_model_is_refused(tmp_path: Path, model: tuple) -> None:
    """What a run writes advises --resume, as its checkpoints are whole; what export writes does not, as it has no run."""
    config, state, tokenizer = model
    for advice in (keeper.ADVICE, atomic.ADVICE):
        with pytest.raises(DataError, match=f"; {advice}$"), file_limit(1000):
            save_model(tmp_path / "best", config, state, None, dtype=None, provenance={}, advice=advice)
    assert "--resume" in keeper.ADVICE and "--resume" not in atomic.ADVICE


def test_a_log_that_the_disk_refuses(tmp_path: Path) -> None:
    """A row that does not fit the disk is an error that names the log; the rows before it stay, and a resume goes on."""
    log = RunLog(tmp_path, resume_step=0, tensorboard=False)
    log.write({"step": 1, "loss": 1.0})
    where = r"log\.jsonl: not written: File too large \([\d,]+ bytes are free"
    with file_limit(30):
        with pytest.raises(DataError, match=where):
            log.write({"step": 2, "loss": 2.0})
        with pytest.raises(DataError, match=where):
            log.close()
    log = RunLog(tmp_path, resume_step=1, tensorboard=False)
    log.write({"step": 2, "loss": 2.0})
    log.close()
    assert [row["step"] for row in read_log(tmp_path)] == [1, 2]
