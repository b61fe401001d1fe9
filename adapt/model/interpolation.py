"""A model between two others: each weight is (1 - alpha) of the base's and alpha of the tuned one's.

Source: Wortsman et al., "Robust fine-tuning of zero-shot models" (WiSE-FT), CVPR 2022, arXiv 2109.01903, section 3. Weights are
read and written a tensor at a time; a file that is written has the header of the tuned model's, to the byte. The format:
github.com/huggingface/safetensors, "Format" (eight bytes of length, little end first; JSON; the tensors).
"""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import safe_open
from torch import Tensor

from adapt import atomic, safe
from adapt.errors import DataError, UsageError
from adapt.model.folder import load_config
from adapt.model.layouts import listing, stored_name
from adapt.model.loading import find_model
from adapt.model.tokenizer_files import load_tokenizer

MAX_HEADER_BYTES = 100_000_000  # safetensors' own bound
# The card tells of the tuned model's run; figures in it are not this model's.
NOT_COPIED = (".safetensors", "README.md")


def interpolate(base: Path | str, tuned: Path | str, alpha: float, output: Path | str) -> Path:
    """Write the model at ``alpha`` (0 is the base, 1 the tuned one, both to the last bit) to ``output`` and return that folder.

    Both are models in the transformers layout (``RUN/model``, or the run). Sums are made in float32 and stored in the tuned
    model's type. Raises UsageError for an alpha outside 0..1 and DataError where the two are not of one shape and tokenizer.
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha {alpha}: expected 0 (the base) to 1 (the tuned model)")
    one, other = _folder(base), _folder(tuned)
    check_alike(one, other)
    places = {stored_name(name): (path, name) for path in sorted(one.glob("*.safetensors")) for name in _names(path)}
    with atomic.staged_folder(Path(output)) as staged:
        for path in sorted(other.iterdir()):
            if path.is_file() and not path.name.endswith(NOT_COPIED):
                shutil.copyfile(path, staged / path.name)
        for path in sorted(other.glob("*.safetensors")):
            with open(staged / path.name, "wb") as handle:
                _write_file(handle, path, places, alpha)
        own = safe.read_object(other / "adapt.json")
        between = {"interpolated": {"alpha": alpha, "base": _digest(one), "tuned": own.get("provenance", {})}}
        (staged / "adapt.json").write_text(json.dumps(own | {"provenance": between}, indent=2) + "\n", encoding="utf-8")
    return Path(output)


def check_alike(base: Path, tuned: Path) -> None:
    """Raise DataError where two model folders differ in shape, template, vocabulary or names of tensors."""
    one, other = (dataclasses.replace(load_config(folder), max_tiles=0, preset=None) for folder in (base, tuned))
    different = [field.name for field in dataclasses.fields(one) if getattr(one, field.name) != getattr(other, field.name)]
    if different:
        raise DataError(f"{base} and {tuned} differ in {', '.join(different)}; only models of one shape can be interpolated")
    if load_tokenizer(base).get_vocab() != load_tokenizer(tuned).get_vocab():
        raise DataError(f"{base} and {tuned} have different vocabularies; a row would stand for two tokens")
    shapes, others = _shapes(base), _shapes(tuned)
    unlike = {name for name in shapes.keys() | others.keys() if shapes.get(name) != others.get(name)}
    if unlike:
        raise DataError(f"{base} and {tuned} differ in their weights{listing('unlike', unlike)}")


def _folder(model: Path | str) -> Path:
    found = find_model(model)
    if found.folder is None or safe.read_object(found.folder / "config.json").get("model_type") != "internvl":
        raise DataError(
            f"{model}: not a model in the transformers layout, as a run leaves it; 'adapt export --model {model} --format "
            "transformers --output DIR' writes one"
        )
    return found.folder


def _digest(folder: Path) -> dict[str, str]:
    return {path.name: safe.file_sha256(path) for path in sorted(folder.glob("*.safetensors"))}


def _names(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def _shapes(folder: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found |= {stored_name(name): file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (no dict)
    return found


def _write_file(handle: IO[bytes], path: Path, places: Mapping[str, tuple[Path, str]], alpha: float) -> None:
    head, names = _header(path)
    handle.write(head)
    for name in names:
        handle.write(_bytes(_between(_read(*places[stored_name(name)]), _read(path, name), alpha)))


def _header(path: Path) -> tuple[bytes, Iterator[str]]:
    """The bytes in front of a file's tensors, and the tensors' names in the order in which they stand."""
    with open(path, "rb") as handle:
        length = handle.read(8)
        size = int.from_bytes(length, "little")
        if size > MAX_HEADER_BYTES:
            raise DataError(f"{path}: a header of {size:,} bytes, more than the {MAX_HEADER_BYTES:,} allowed; fetch it again")
        text = handle.read(size)
    entries: dict[str, Any] = safe.load_json(text.decode("utf-8"), str(path))
    tensors = {name: entry["data_offsets"] for name, entry in entries.items() if name != "__metadata__"}
    return length + text, iter(sorted(tensors, key=lambda name: tensors[name]))


def _read(path: Path, name: str) -> Tensor:
    # Opened anew each time: a mapped file that stays open keeps every page that was read in memory.
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)


def _between(base: Tensor, tuned: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) base + alpha tuned, rounded once; the ends are copies, for 0 * inf is no number."""
    if alpha in (0, 1):
        return (tuned if alpha else base).to(tuned.dtype)
    return (base.float() * (1 - alpha) + tuned.float() * alpha).to(tuned.dtype)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
