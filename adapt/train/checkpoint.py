"""Checkpoints: whole, hashed, and either there or not.

A checkpoint is ``step-NNNNNN/`` with ``model.safetensors`` (float32, the names RUN/model uses), ``optimizer.safetensors``,
``state.json`` and, written last, ``manifest.json`` with the sha256 of each. It is staged under a temporary name, synced and
renamed. A folder whose manifest does not verify does not exist.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from adapt import atomic, progress, safe
from adapt.errors import DataError
from adapt.train.optim import MOMENTS

PREFIX = "step-"
MANIFEST = "manifest.json"
FILES = ("model.safetensors", "optimizer.safetensors", "state.json")
_ADVICE = "the checkpoints before it are whole: free some space, or lower train.keep, and go on with --resume"


def checkpoint_path(folder: Path, step: int) -> Path:
    """``step-000020``."""
    return folder / f"{PREFIX}{step:06d}"


def step_of(path: Path) -> int:
    """20 of ``step-000020``."""
    return int(path.name[len(PREFIX) :])


def save_checkpoint(
    folder: Path, step: int, weights: dict[str, Tensor], moments: dict[str, dict[str, Tensor]], state: dict[str, Any], keep: int
) -> Path:
    """Write the checkpoint of ``step`` and remove the oldest beyond ``keep``. Tensors by their names on disk.

    Folders of later steps are neither counted nor touched: they are of a run that went on from another checkpoint.

    Raises DataError, naming path and free bytes, where the disk has no room for it or refuses it.
    """
    flat = {f"{moment}.{name}": tensor for moment, tensors in moments.items() for name, tensor in tensors.items()}
    require_space(folder, sum(tensor.nbytes for tensors in (weights, flat) for tensor in tensors.values()))
    final = checkpoint_path(folder, step)
    with atomic.staged_folder(final, advice=_ADVICE) as staged:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, staged / "model.safetensors")
        save_file({name: tensor.contiguous() for name, tensor in flat.items()}, staged / "optimizer.safetensors")
        (staged / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        files = {name: {"sha256": safe.file_sha256(staged / name), "bytes": (staged / name).stat().st_size} for name in FILES}
        (staged / MANIFEST).write_text(_manifest(step, files), encoding="utf-8")
    earlier = [path for path in list_checkpoints(folder) if step_of(path) <= step]
    for old in earlier[keep:]:
        with atomic.disk_faults_told(old, f"{final} is whole; mend the disk, and go on with --resume"):
            shutil.rmtree(old)
    return final


def _manifest(step: int, files: dict[str, Any]) -> str:
    return json.dumps({"step": step, "files": files}, indent=1)


def remove_after(folder: Path, step: int) -> None:
    """Remove what lies there from steps after ``step``, said aloud: a run goes on from ``step``, and it is not of that run."""
    for path in list_checkpoints(folder):
        if step_of(path) > step:
            progress.say(f"removing {path}: the run goes on from step {step}")
            shutil.rmtree(path)


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raise DataError where ``folder`` has less than that free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise DataError(
            f"{folder}: {free:,} bytes free, {needed_bytes:,} needed for a checkpoint; free some, or lower train.keep"
        )


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first, whether valid or not."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.startswith(PREFIX) and path.name[len(PREFIX) :].isdigit()]
    return sorted(found, key=step_of, reverse=True)


def fault(path: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None. Any changed bit is, the manifest's own too."""
    if not (path / MANIFEST).is_file():
        return f"{path}: no {MANIFEST}: it was never finished"
    try:
        content = safe.read_bytes(path / MANIFEST)
        files = dict(safe.load_json(content, str(path / MANIFEST))["files"])
        if set(files) != set(FILES):
            return f"{path / MANIFEST}: lists {', '.join(sorted(files)) or 'nothing'}"
        for name, stored in files.items():
            size = (path / name).stat().st_size
            if size != stored["bytes"]:
                return f"{path / name}: {size:,} bytes, {stored['bytes']:,} in {MANIFEST}"
            if safe.file_sha256(path / name) != stored["sha256"]:
                return f"{path / name}: its content is not what was saved (its sha256 is not that of {MANIFEST})"
        if content != _manifest(step_of(path), files).encode():
            return f"{path / MANIFEST}: damaged (not as it was written for step {step_of(path)})"
    except (DataError, OSError, KeyError, TypeError, ValueError) as error:
        return f"{path / MANIFEST}: damaged, or a file beside it is gone ({error})"
    return None


def newest_valid(folder: Path) -> Path | None:
    """The newest checkpoint that verifies; says aloud which newer ones do not. Staging left by a kill is removed."""
    if folder.is_dir():
        for left in folder.glob(f"{atomic.STAGING_PREFIX}*"):
            shutil.rmtree(left)
    for path in list_checkpoints(folder):
        problem = fault(path)
        if problem is None:
            return path
        progress.say(f"warning: {problem}; trying the checkpoint before it")
    return None


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]], dict[str, Any]]:
    """(weights, moments, state) by their names on disk."""
    stored: dict[str, dict[str, Tensor]] = {moment: {} for moment in MOMENTS}
    for flat_name, tensor in load_file(path / "optimizer.safetensors").items():
        moment, _, name = flat_name.partition(".")
        stored.setdefault(moment, {})[name] = tensor
    return load_file(path / "model.safetensors"), stored, safe.read_json(path / "state.json")
