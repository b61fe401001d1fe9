"""DOTA: a text file a picture, a line a turned box: x1 y1 x2 y2 x3 y3 x4 y4 category difficult (captain-whu.github.io/DOTA).

Two header lines (``imagesource:...``, ``gsd:...``) may stand above; the last number may be left out. Pictures lie in ``images``
beside ``labelTxt*``, below a folder a split or not. The corners stay with the object; its box is the one that encloses them.
"""

from pathlib import Path

from adapt import safe
from adapt.domain import Rejected, Source
from adapt.errors import DataError, UsageError
from converters.formats import textlabels
from converters.formats.pictures import sample_id
from converters.objects import Objects, ObjectsSample, PictureObject, check_object, class_names, enclosing, to_number

HEADERS = ("imagesource:", "gsd:", "acquisition dates:")


def read(source: Source) -> Objects:
    """All label files of the set, in the order of their paths; pictures without one are counted as ignored."""
    root = textlabels.data_root(source)
    pictures_root = source.images or root
    files = textlabels.label_files(source) if source.input.is_dir() else []
    if not files:
        raise UsageError(f"input '{source.input}': expected a folder with label files (.txt), such as labelTxt")
    pictures = textlabels.pictures_below(pictures_root, source.made)
    found = textlabels.pair(pictures, files, source.input, pictures_root)
    name = root.resolve().name
    samples = [_sample(each, source.input, pictures_root, name) for each in found if each.labels is not None]
    num_unlabelled = len(found) - len(samples)
    ignored = {"picture without a label file": num_unlabelled} if num_unlabelled else {}
    return Objects(name, pictures_root, samples, class_names(samples), ignored)


def _sample(found: textlabels.Pair, folder: Path, pictures_root: Path, name: str) -> ObjectsSample | Rejected:
    assert found.labels is not None
    where = str(found.labels)
    split = textlabels.split_of(found, folder, pictures_root)
    try:
        lines = [line.strip() for line in safe.read_text(folder / found.labels, safe.MAX_LINE_BYTES).splitlines()]
        rows = [(number, line) for number, line in enumerate(lines, 1) if line and not is_header(line)]
        objects = tuple(
            check_object(_object(line, f"{where}:{number}"), place, f"{where}:{number}")
            for place, (number, line) in enumerate(rows, 1)
        )
        if found.picture is None:
            raise DataError(f"{where}: no picture of this name under {pictures_root}")
        textlabels.refuse_unread(found.picture, where)
    except DataError as error:
        return Rejected(where, str(error).removeprefix(f"{where}: "), split)
    picture = str(found.picture)
    return ObjectsSample(sample_id(name, picture), where, split, (picture,), objects, name)


def is_header(line: str) -> bool:
    """Whether a line is one of those above the objects."""
    return line.lower().startswith(HEADERS)


def is_line(line: str) -> bool:
    """Whether a line is an object: eight numbers and a word that is none."""
    words = line.split()
    return len(words) in (9, 10) and all(map(_is_number, words[:8])) and not _is_number(words[8])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _object(line: str, what: str) -> PictureObject:
    words = line.split()
    if len(words) not in (9, 10):
        raise DataError(f"{what}: {len(words)} words, expected x1 y1 x2 y2 x3 y3 x4 y4 category difficult")
    numbers = [to_number(word, f"{what}: a corner of '{words[8][:80]}'") for word in words[:8]]
    corners = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    attributes = {"difficult": words[9]} if len(words) == 10 else {}
    return PictureObject(words[8], enclosing(corners), oriented_px=corners, attributes=attributes)
