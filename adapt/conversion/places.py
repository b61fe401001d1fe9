"""The files of an output: none of them takes the place of the input, or of a file that no conversion wrote."""

from collections.abc import Callable
from pathlib import Path

from adapt import records, safe
from adapt.errors import DataError, UsageError

_OF_MANIFESTS = ({"image_root"}, {"facts"}, {"licence"}, {"task", "sha256"}, {"task", "counts"})  # a hand may have written one


def rejected_path(output: Path) -> Path:
    """``train.jsonl`` -> ``train.rejected.jsonl``."""
    return output.with_name(output.name.removesuffix(".jsonl") + ".rejected.jsonl")


def spare_others(input: Path, output: Path) -> None:
    """Nobody's data is replaced by what was made of it. Raises UsageError where a file of the output is, or lies in, the input,
    or has the name of one that no earlier conversion wrote."""
    sides: dict[Path, Callable[[Path], bool]] = {
        records.manifest_path(output): _is_manifest,
        records.pictures_path(output): lambda path: _has_rows_of(path, {"path", "sha256"}),
        rejected_path(output): lambda path: _has_rows_of(path, {"where", "reason"}),
    }
    for side, is_ours in sides.items():
        if not side.exists():
            continue
        if input.is_file() and side.samefile(input):
            raise UsageError(f"output '{output}': its '{side.name}' would take the place of the input; choose another name")
        if not is_ours(side):
            what = "folder" if side.is_dir() else "file"
            raise UsageError(
                f"output '{output}': its '{side.name}' would take the place of a {what} that no conversion wrote; choose "
                f"another name, or move that {what}"
            )
    if not output.exists():
        return
    same = input.is_file() and output.samefile(input)
    ours = any(path.exists() for path in (records.manifest_path(output), records.pictures_path(output)))
    if same or (input.is_dir() and not ours and output.resolve().is_relative_to(input.resolve())):
        raise UsageError(f"output '{output}' is {'the input' if same else 'a file of the input'}; choose another name")


def _is_manifest(path: Path) -> bool:
    """Whether a file has the keys of a manifest; an empty file has nothing to lose."""
    try:
        if next(safe.read_lines(path), None) is None:
            return True
        keys = safe.read_object(path).keys()
    except DataError:
        return False
    return any(of_one <= keys for of_one in _OF_MANIFESTS)


def _has_rows_of(path: Path, keys: set[str]) -> bool:
    """Whether the first line of a file has all these keys; an empty file has nothing to lose."""
    try:
        row = next((safe.load_line(line, path.name) for _, line in safe.read_lines(path)), dict.fromkeys(keys))
    except DataError:
        return False
    return isinstance(row, dict) and keys <= row.keys()
