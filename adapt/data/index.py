"""The index: what planning and loading must know of each row, made once and memory-mapped.

Text becomes token ids here, with one placeholder a picture; picture sizes and content hashes are taken from the files.
The index is cached by content: the rows' sha256, the tokenizer, the template, and each picture's size and time, and by the
files' names, which stand for a source that the rows do not give.

An index of turned pictures holds the rows with boxes once more for each symmetry, with the boxes where the turned picture
has them: token counts are known for every symmetry before one is drawn.
"""

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adapt import atomic, boxes, progress, safe
from adapt.data.augment import AS_STORED, can_turn, symmetries, turn_text
from adapt.data.template import IGNORED, Template, encode_turns
from adapt.errors import DataError, bad_picture
from adapt.records import ChatRecord, Turn, image_root, iterate_records, read_manifest

if TYPE_CHECKING:
    import datasets

FORMAT = 8


@dataclasses.dataclass(frozen=True)
class Index:
    """Rows of several JSONL files.

    Columns of ``table``: file, line, id, source, split, pictures (rows of ``pictures``), max_tiles (0: the run's own),
    input_ids, supervised, prefix_length, tree_key, turnable (one picture, and a text that can turn with it). ``pictures`` has
    path, width, height and sha256, one row a distinct picture. ``turned`` has row (of ``table``), symmetry, input_ids,
    supervised and prefix_length, the symmetries of a row one after the other; its rows are numbered on from the table's.
    """

    table: "datasets.Dataset"
    pictures: "datasets.Dataset"
    turned: "datasets.Dataset"
    files: tuple[Path, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.table)

    def fields(self, row: int) -> dict[str, Any]:
        """The fields of a row; a turned one has its own ids over those of its record."""
        if row < len(self.table):
            return self.table[int(row)]
        turned = self.turned[int(row) - len(self.table)]
        return self.table[turned["row"]] | turned

    def records(self, rows: Sequence[int]) -> np.ndarray:
        """int64: the row of ``table`` that each row, turned or not, is of."""
        return np.r_[np.arange(len(self.table)), np.asarray(self.turned["row"][:], np.int64)][np.asarray(rows, np.int64)]

    def where(self, row: int) -> str:
        """``file:line`` of a row."""
        fields = self.fields(row)
        return f"{self.files[fields['file']]}:{fields['line']}"


def cache_folder() -> Path:
    """Where indexes are kept: ``$ADAPT_CACHE``, else ``$XDG_CACHE_HOME/adapt``, else ``~/.cache/adapt``."""
    if place := os.environ.get("ADAPT_CACHE"):
        return Path(place)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "adapt"


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Hex digest of everything that decides how text becomes ids."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def build_index(
    files: Sequence[Path], tokenizer: Any, template: Template, images: Path | None = None, *, turned: bool = False
) -> Index:
    """Read, check and encode every row of ``files``, or take the cached index of the same content.

    With ``turned`` the rows with boxes are encoded in every symmetry that their picture may be shown in.

    Raises DataError with file:line for a bad row, a missing or unreadable picture, or an id used twice in a file; for a file
    without rows; and for boxes in more than one scale.
    """
    paths = tuple(Path(file) for file in files)
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such file; 'adapt convert' writes one")
    identity = {
        "format": FORMAT,
        "files": [[safe.file_sha256(path), path.stem, str(image_root(path, images).resolve())] for path in paths],
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "template": template.name,
        "turned": turned,
    }
    base = cache_folder() / "index" / hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
    for path in paths:
        _check_manifest(path, images)
    if (base / "identity.json").exists():
        found = _open(base, paths)
        if _pictures_unchanged(found, base):
            return found
    with atomic.staged_folder(base) as folder:
        _write(folder, paths, tokenizer, template, images, identity)
    return _open(base, paths)


def _check_manifest(path: Path, images: Path | None) -> None:
    manifest = read_manifest(path)
    if manifest.get("sha256") not in (None, safe.file_sha256(path)):
        progress.say(f"note: {path} was edited after its conversion (its sha256 is not the manifest's)")
    root = image_root(path, images)
    if not root.is_dir():
        raise DataError(f"{path}: its picture root {root} is not a folder; give it with --images")


def _open(base: Path, paths: tuple[Path, ...]) -> Index:
    import datasets

    stored = safe.read_json(base / "identity.json")
    table, pictures, turned = (datasets.load_from_disk(str(base / name)) for name in ("rows", "pictures", "turned"))
    return Index(table, pictures, turned, paths, stored["fingerprint"])


def _pictures_unchanged(index: Index, base: Path) -> bool:
    stamps = np.load(base / "stamps.npy", allow_pickle=False)
    return bool(np.array_equal(_stamps(index.pictures["path"]), stamps))


def _stamps(paths: Sequence[str]) -> np.ndarray:
    """int64[P, 2]: size and time of each picture; -1 where it is gone."""
    out = np.full((len(paths), 2), -1, dtype=np.int64)
    for i, path in enumerate(paths):
        try:
            stat = Path(path).stat()
        except OSError:
            continue
        out[i] = stat.st_size, stat.st_mtime_ns
    return out


def _write(
    folder: Path, paths: tuple[Path, ...], tokenizer: Any, template: Template, images: Path | None, identity: dict[str, Any]
) -> None:
    import datasets

    datasets.disable_progress_bars()
    pictures, found = _Pictures(), _Boxes()
    rows = list(_encode_rows(paths, tokenizer, template, images, pictures, found))
    _keep_other_scales(rows, found)
    int32s = datasets.List(datasets.Value("int32"))
    encoded = {
        "input_ids": int32s,
        "supervised": datasets.List(datasets.Value("bool")),
        "prefix_length": datasets.Value("int32"),
    }
    features = datasets.Features(
        file=datasets.Value("int32"),
        line=datasets.Value("int32"),
        id=datasets.Value("string"),
        source=datasets.Value("string"),
        split=datasets.Value("string"),
        pictures=int32s,
        max_tiles=datasets.Value("int32"),
        **encoded,
        tree_key=datasets.Value("int64"),
        turnable=datasets.Value("bool"),
    )
    _save(folder / "rows", rows, features)
    of_turned = datasets.Features(row=datasets.Value("int32"), symmetry=datasets.Value("string"), **encoded)
    turned = _turned_rows(rows, pictures, found, tokenizer, template) if identity["turned"] else ()
    _save(folder / "turned", turned, of_turned)
    kinds = datasets.Features(
        path=datasets.Value("string"),
        width=datasets.Value("int32"),
        height=datasets.Value("int32"),
        sha256=datasets.Value("string"),
    )
    _save(folder / "pictures", pictures.rows, kinds)
    np.save(folder / "stamps.npy", _stamps([row["path"] for row in pictures.rows]))
    hashes = [row["sha256"] for row in pictures.rows]
    content = hashlib.sha256(json.dumps([file[0] for file in identity["files"]]).encode())
    for row in rows:  # which picture a row has is content too
        content.update(json.dumps([hashes[number] for number in row["pictures"]]).encode())
    stored = identity | {"fingerprint": content.hexdigest()}
    (folder / "identity.json").write_text(json.dumps(stored, indent=1), encoding="utf-8")


def _save(folder: Path, rows: Iterable[dict[str, Any]], features: "datasets.Features") -> None:
    """Rows as a dataset, also where there are none: without a shard it could not be read again."""
    import datasets

    left, parts = iter(rows), []
    while part := list(itertools.islice(left, 10_000)):  # what is Python's costs ten times what is Arrow's
        parts.append(datasets.Dataset.from_dict({name: [row[name] for row in part] for name in features}, features=features))
    empty = datasets.Dataset.from_dict({name: [] for name in features}, features=features)
    table = datasets.concatenate_datasets(parts) if parts else empty
    table.save_to_disk(str(folder), num_shards=None if parts else 1)


class _Pictures:
    """Distinct pictures in the order they are met."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._number: dict[Path, int] = {}

    def number(self, path: Path, where: str) -> int:
        if path not in self._number:
            try:
                content = safe.read_bytes(path, safe.MAX_PICTURE_BYTES)
                width, height = safe.size_of(content, str(path))
            except DataError as error:
                raise bad_picture(where, error) from error
            self._number[path] = len(self.rows)
            digest = hashlib.sha256(content).hexdigest()
            self.rows.append({"path": str(path), "width": width, "height": height, "sha256": digest})
        return self._number[path]


class _Boxes:
    """The boxes met: where, for the one scale that a run has, and the turns of the rows whose boxes may have to move."""

    def __init__(self) -> None:
        self.places: list[tuple[str, str, list[boxes.FoundBoxes]]] = []
        self.turns: dict[int, tuple[Turn, ...]] = {}

    def meet(self, row: int, record: ChatRecord, where: str, source: str) -> None:
        """Keep what a record has of boxes."""
        texts = [turn.value for turn in record.turns if "[" in turn.value or "<box>" in turn.value]
        found = [each for text in texts for each in boxes.find_boxes(text)]
        if found:
            self.places.append((where, source, found))
        if any(each.tagged for each in found):
            self.turns[row] = record.turns


def _keep_other_scales(rows: list[dict[str, Any]], found: _Boxes) -> None:
    """Rows with boxes in another scale than 0-1000 do not turn: only boxes of that one are known to lie where they say."""
    if any(use.scale != boxes.THOUSAND for use in boxes.scales_in_use(found.places)):
        for number in found.turns:
            rows[number]["turnable"] = False


def _turned_rows(
    rows: list[dict[str, Any]], pictures: _Pictures, found: _Boxes, tokenizer: Any, template: Template
) -> Iterator[dict[str, Any]]:
    """The rows whose boxes move, in every symmetry but the stored one."""
    for number, turns in found.turns.items():
        row = rows[number]
        if not row["turnable"]:
            continue
        picture = pictures.rows[row["pictures"][0]]
        size = picture["width"], picture["height"]
        for symmetry in symmetries(size):
            if symmetry != AS_STORED:
                moved = [dataclasses.replace(turn, value=turn_text(turn.value, symmetry, size)) for turn in turns]
                yield {"row": number, "symmetry": symmetry} | encode_row(moved, tokenizer, template)


def encode_row(turns: Sequence[Turn], tokenizer: Any, template: Template) -> dict[str, Any]:
    """What the index keeps of a conversation: token ids (one a picture), which are supervised, where the prefix ends."""
    encoded = encode_turns(turns, template, tokenizer)
    # What follows the last answer's end token is never supervised and nothing sees it.
    length = max(place for place, label in enumerate(encoded.labels) if label != IGNORED) + 1
    return {
        "input_ids": encoded.input_ids[:length],
        "supervised": [label != IGNORED for label in encoded.labels[:length]],
        "prefix_length": encoded.prefix_length,
    }


def _encode_rows(
    paths: tuple[Path, ...], tokenizer: Any, template: Template, images: Path | None, pictures: _Pictures, found: _Boxes
) -> Iterator[dict[str, Any]]:
    number = 0
    for file, path in enumerate(paths):
        root = image_root(path, images).resolve()
        seen: dict[str, str] = {}
        for where, record in progress.track(iterate_records(path), None, f"indexing {path.name}"):
            if record.id in seen:
                raise DataError(
                    f"{where}: the id '{record.id}' was seen before, at {seen[record.id]}; ids must be unique in a file"
                )
            seen[record.id] = where
            source = record.source or path.stem
            found.meet(number, record, where, source)
            number += 1
            numbers = [pictures.number(safe.inside(root, name, where), where) for name in record.images]
            encoded = encode_row(record.turns, tokenizer, template)
            line = int(where.rsplit(":", 1)[1])
            key = hashlib.blake2b(digest_size=8)
            # A row without pictures shares nothing worth sharing: it is a tree of its own.
            key.update(repr([pictures.rows[n]["sha256"] for n in numbers] or (file, line)).encode())
            key.update(f"at most {record.max_tiles} tiles".encode() if record.max_tiles else b"")
            key.update(np.asarray(encoded["input_ids"][: encoded["prefix_length"]], dtype=np.int32).tobytes())
            yield {
                "file": file,
                "line": line,
                "id": record.id,
                "source": source,
                "split": record.split or "",
                "pictures": numbers,
                "max_tiles": record.max_tiles,
                **encoded,
                "tree_key": int.from_bytes(key.digest(), "little", signed=True),
                "turnable": len(numbers) == 1 and can_turn(turn.value for turn in record.turns),
            }
        if not seen:
            raise DataError(f"{path}: no rows; expected one chat record a line, as 'adapt convert' writes them")
    boxes.refuse_mixed_scales(found.places)
