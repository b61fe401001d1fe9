"""Every distinct picture of a conversion: decoded once, its size and content kept, its splits counted."""

import collections
import dataclasses
import hashlib
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import pixels, safe
from adapt.check.ends import file_fault
from adapt.domain import Rejected
from adapt.errors import DataError
from adapt.orientation import UPRIGHT


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """What decoding a picture told: how records show it and its content, or why it cannot be used."""

    held: pixels.Held = pixels.Held("", (0, 0))
    sha256: bytes = b""
    fault: str = ""


def decode_pictures(
    root: Path, names: Sequence[str], settings: pixels.Settings | None = None, folder: Path | None = None
) -> list[Picture]:
    """Decode pictures below ``root`` whole; what ``settings`` make of them goes to ``folder``.

    Faults do not raise; they are what is known of the picture.
    """
    return [_decode(root, name, settings, folder) for name in names]


def _decode(root: Path, name: str, settings: pixels.Settings | None, folder: Path | None) -> Picture:
    try:
        path = safe.inside(root, name, name)
        if not path.is_file():
            raise DataError(f"{name}: no such file under {root}{_in_other_form(root, name)}")
        content = safe.read_bytes(path, safe.MAX_PICTURE_BYTES)
        held = pixels.hold(content, name, settings, folder)
        if fault := file_fault(content, name):
            raise DataError(f"{name}: {fault}")
    except DataError as error:
        return Picture(fault=str(error))
    return Picture(held, hashlib.sha256(content).digest())


def _in_other_form(root: Path, name: str) -> str:
    """What to do where a file has the same letters in another normal form of Unicode: macOS takes accents and Hangul apart."""
    for form, twin in (("NFD", unicodedata.normalize("NFD", name)), ("NFC", unicodedata.normalize("NFC", name))):
        if twin != name and safe.inside(root, twin, name).is_file():
            back = "nfc" if form == "NFD" else "nfd"
            return (
                f", but one whose name is in Unicode's form {form}; rename such files: "
                f"convmv -f utf8 -t utf8 --{back} --notest -r {shlex.quote(str(root))}"
            )
    return ""


class PictureBook:
    """What is known of the pictures so far."""

    def __init__(self) -> None:
        self._known: dict[str, Picture | None] = {}  # None: asked for, the answer is not there yet
        self._splits: dict[str, frozenset[str | None]] = {}
        self._sets: dict[frozenset[str | None], frozenset[str | None]] = {}  # one object for equal sets of splits
        self.listed: set[str] = set()

    def ask(self, samples: Iterable[Any]) -> list[str]:
        """The pictures of those samples that nobody asked for before, in order of appearance."""
        names = dict.fromkeys(name for sample in samples if not isinstance(sample, Rejected) for name in sample.pictures)
        asked = [name for name in names if name not in self._known]
        self._known |= dict.fromkeys(asked)
        return asked

    def learn(self, names: Sequence[str], found: Sequence[Picture]) -> None:
        """What decoding told of those pictures."""
        self._known |= zip(names, found, strict=True)

    def of(self, samples: Iterable[Any]) -> dict[str, Picture]:
        """What is known of the pictures of those samples; their splits are counted."""
        found: dict[str, Picture] = {}
        for sample in samples:
            for name in () if isinstance(sample, Rejected) else sample.pictures:
                picture = self._known[name]
                assert picture is not None, "a picture is used before it is decoded"
                found[name] = picture
                splits = self._splits.get(name, frozenset())
                if not splits or sample.split not in splits:
                    splits |= {sample.split}
                    self._splits[name] = self._sets.setdefault(splits, splits)
        return found

    def rows(self, names: Iterable[str]) -> list[Mapping[str, Any]]:
        """One row for each of those pictures that is shown for the first time: path, width, height, sha256."""
        rows: list[Mapping[str, Any]] = []
        for name in names:
            picture = self._known.get(name)
            if picture is None or picture.fault or name in self.listed:
                continue
            self.listed.add(name)
            width, height = picture.held.size
            rows.append({"path": name, "width": width, "height": height, "sha256": picture.sha256.hex()})
        return rows

    def counts(self) -> dict[str, int]:
        """Distinct pictures, those whose bytes occur under another name, contents in several splits, orientation tags."""
        splits: dict[bytes, set[str | None]] = collections.defaultdict(set)
        usable = turned = 0
        for name, found in self._splits.items():
            picture = self._known[name]
            if picture is not None and not picture.fault:
                usable += 1
                turned += picture.held.orientation != UPRIGHT
                splits[picture.sha256] |= found
        across = sum(len(found) > 1 for found in splits.values())
        return {
            "distinct": usable,
            "same_content": usable - len(splits),
            "in_several_splits": across,
            "with_orientation_tag": turned,
        }
