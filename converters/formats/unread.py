"""What rows of other tools hold that no conversation here has: such a row is refused, or it would be learnt without it.

Pictures are read from ``image`` and ``images``; other tools name them in fields of other names. LLaMA-Factory's and ms-swift's
``audios`` stand for ``<audio>`` in the text (github.com/hiyouga/LLaMA-Factory, data/README.md; github.com/modelscope/ms-swift,
docs, Custom-dataset). The place of a picture is ``<image>`` here; others write ``<ImageHere>`` (InternLM-XComposer),
``<|image_1|>`` (Phi-3.5-vision), ``<image 1>`` (MMMU), ``[IMG]`` (Pixtral) or the token of their model.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from adapt import safe
from adapt.errors import DataError
from adapt.records import IMAGE_PLACEHOLDER, Turn

_AUDIO_PLACEHOLDER = "<audio>"
_READ = ("image", "images")
# Fields by their letters: image_path, imagePath and image-path are one, and so are image_1 and image.
_NOUNS = ("image", "img", "picture", "photo", "inputimage", "jpg", "jpeg", "png")
_PATHS = frozenset(f"{noun}{end}" for noun in _NOUNS for end in ("path", "paths", "spath", "file", "files", "filepath"))
_PICTURES = _PATHS | frozenset(
    f"{noun}{end}"
    for noun in _NOUNS
    for end in (
        "",
        "s",
        "filename",
        "filenames",
        "name",
        "names",
        "url",
        "urls",
        "list",
        "data",
        "bytes",
        "b",
        "base",
        "basestr",
    )
)
_FILES = frozenset({"file", "filename", "filepath", "path"})
_AUDIO = frozenset({"audio", "audios", "audiopath", "audiopaths", "audiofile", "audiofiles", "audiourl", "audiourls"})
_ALL = _PICTURES | _FILES | _AUDIO
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]{200,}+")
_URL = re.compile(r"https?://|data:image/", re.IGNORECASE)
# <img> alone may be asked about, as in pictures of web pages: it holds a place at the ends of a line.
_FOREIGN_PLACEHOLDER = re.compile(
    r"<\|?(?:image|img)[ _:-]?(?:\d+(?:_placeholder)?|here|pad|placeholder|(?:soft_)?token|context)\|?>|<\|(?:image|img)\|>|"
    r"<(?:start_of_image|im_patch|\|vision_(?:start|pad)\|)>|<image>|^[ \t]*+<img>|<img>[ \t]*+$|\[IMG\]",
    re.IGNORECASE | re.MULTILINE,
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
        if not shows and letters not in _AUDIO and any(_is_picture(each, letters) for each in named):
            raise DataError(
                f"{where}: '{name}' holds a picture, and pictures are read from 'image' or 'images' only; rename it (a path "
                "or a data: URI, or a list of them; what is a URL must be downloaded first)"
            )


def refuse_foreign_placeholder(turns: Iterable[Turn], where: str) -> None:
    """Raise DataError for another tool's placeholder of a picture in the questions of a row whose ``<image>`` is missing."""
    for turn in turns:
        if turn.role == "human" and (found := _FOREIGN_PLACEHOLDER.search(turn.value)):
            raise DataError(
                f"{where}: a message holds {found[0]!r}, which is no placeholder here; write {IMAGE_PLACEHOLDER} instead, once "
                "for each picture"
            )


@functools.lru_cache(maxsize=1024)  # the fields of a million rows are few
def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if "a" <= letter <= "z")


def _named(value: Any) -> list[str | bytes]:
    """The texts and bytes of a field: a path, a list of them, {bytes, path} or {url}; numbers and flags name no file."""
    cells = value if isinstance(value, list) else [value]
    held = (each for cell in cells for each in (cell.values() if isinstance(cell, dict) else [cell]))
    return [each for each in held if isinstance(each, str | bytes) and each.strip()]


def _is_picture(held: str | bytes, letters: str) -> bool:
    """Whether a field of that name has a picture in what it holds: bytes, a path or URL, or bytes in base64."""
    if isinstance(held, bytes) or letters in _PATHS:
        return True
    text = held.strip()
    if PurePosixPath(text).suffix.lower() in safe.PICTURE_SUFFIXES | safe.UNREAD_SUFFIXES:
        return True
    return letters in _PICTURES and bool(_URL.match(text) or _BASE64.fullmatch(text))
