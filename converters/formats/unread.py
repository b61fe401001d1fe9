"""What rows of other tools hold that no conversation here has: such a row is refused, or it would be learnt without it.

Pictures are read from ``image`` and ``images``; other tools name them in fields of other names. LLaMA-Factory's and ms-swift's
``audios`` stand for ``<audio>`` in the text (github.com/hiyouga/LLaMA-Factory, data/README.md; github.com/modelscope/ms-swift,
docs, Custom-dataset). The place of a picture is ``<image>`` here; others write ``<ImageHere>`` (InternLM-XComposer),
``<|image_1|>`` (Phi-3.5-vision), ``<image 1>`` (MMMU), ``[IMG]`` (Pixtral) or the token of their model.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from adapt import safe
from adapt.errors import DataError
from adapt.records import IMAGE_PLACEHOLDER, Turn

_AUDIO_PLACEHOLDER = "<audio>"
_READ = ("image", "images")
# Fields by their letters: image_path, imagePath and ImagePath are one.
_PICTURES = frozenset(
    f"{noun}{end}"
    for noun in ("image", "img", "picture", "photo")
    for end in ("", "s", "path", "paths", "file", "files", "filename", "filenames", "name", "names", "url", "urls", "base64")
)
_FILES = frozenset({"file", "filename", "filepath", "path"})  # of a picture where their value ends as one
_AUDIO = frozenset({"audio", "audios", "audiopath", "audiopaths", "audiofile", "audiofiles", "audiourl", "audiourls"})
_ALL = _PICTURES | _FILES | _AUDIO
_FOREIGN_PLACEHOLDER = re.compile(
    r"(?i:<\|?(?:image|img)(?:[ _]?(?:\d+|here|pad|placeholder|(?:soft_)?token|context))?\|?>|<start_of_image>)|\[IMG\]"
)


def holds_files(row: Mapping[str, Any]) -> bool:
    """Whether a field of the row may hold pictures or audio under a name that is not read."""
    return any(_letters(name) in _ALL for name in row if name not in _READ)


def refuse_files(row: Mapping[str, Any], turns: Iterable[Turn], *, shows: bool, where: str) -> None:
    """Raise DataError for pictures or audio in a field that is not read; where the row ``shows`` pictures or a video by what is
    read, for audio alone, where ``<audio>`` stands in a message.
    """
    for name, value in row.items():
        if (letters := _letters(name)) not in _ALL or name in _READ or not (named := _named(value)):
            continue
        if letters in _AUDIO and (not shows or any(_AUDIO_PLACEHOLDER in turn.value for turn in turns)):
            raise DataError(f"{where}: '{name}' holds audio, which cannot be read; leave the row out")
        if not shows and (letters in _PICTURES or (letters in _FILES and any(map(_is_picture, named)))):
            raise DataError(
                f"{where}: '{name}' holds a picture, and pictures are read from 'image' or 'images' only; rename it (a path "
                "or a data: URI, or a list of them)"
            )


def refuse_foreign_placeholder(turns: Iterable[Turn], where: str) -> None:
    """Raise DataError for another tool's placeholder of a picture in the questions of a row whose ``<image>`` is missing."""
    for turn in turns:
        if turn.role == "human" and (found := _FOREIGN_PLACEHOLDER.search(turn.value)):
            raise DataError(
                f"{where}: a message holds {found[0]!r}, which is no placeholder here; write {IMAGE_PLACEHOLDER} instead, once "
                "for each picture"
            )


def _letters(name: str) -> str:
    return name.lower().replace("_", "")


def _named(value: Any) -> list[str | bytes]:
    """The texts and bytes of a field: a path, a list of them, {bytes, path} or {url}; numbers and flags name no file."""
    cells = value if isinstance(value, list) else [value]
    held = (each for cell in cells for each in (cell.values() if isinstance(cell, dict) else [cell]))
    return [each for each in held if isinstance(each, str | bytes) and each.strip()]


def _is_picture(name: str | bytes) -> bool:
    return isinstance(name, str) and PurePosixPath(name.strip()).suffix.lower() in safe.PICTURE_SUFFIXES
