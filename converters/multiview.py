"""Several views of one moment as one picture: each view resized to a cell of a grid, cells side by side, names drawn on them.

Source of the six-camera form: github.com/OpenGVLab/InternVL ``internvl_chat/tools/images_stitching.py``: cells of 896x448
(Pillow's bicubic), the view's name at (0, 0) in DejaVuSans-Bold of 50 px, fill (255, 0, 255), JPEG of quality 75. Six such
cells are 2688x896, which is exactly 6x2 tiles of 448. A drawn name hides what lies beneath it; the manifest and each record
say whether names are drawn. The text names the views too, row by row, in front of the picture, so that all questions of
one picture share it.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, features

from adapt import made, safe
from adapt.boxes import Box
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn, split_meta
from converters import prompts
from converters.formats import table

CAMERAS_GRID = "CAM_FRONT_LEFT,CAM_FRONT,CAM_FRONT_RIGHT/CAM_BACK_LEFT,CAM_BACK,CAM_BACK_RIGHT"
CELL = "896x448"
PROMPT = "One picture of {count} views. {views}."
JPEG_QUALITY = 75
_FONT_PX, _FILL = 50, (255, 0, 255)
# Where distributions keep it; Pillow looks in the system's font folders for the bare name.
_FONT_PLACES = (
    "/usr/share/fonts/dejavu/DejaVuSans-Bold.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf",
    "/usr/share/fonts/TTF/DejaVuSans-Bold.ttf",
    "DejaVuSans-Bold.ttf",
)
_MAX_VIEWS, _MAX_CELL_PX = 36, 4096
_CELL = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,3})")


@dataclasses.dataclass(frozen=True)
class Rig:
    """Which view stands where: ``rows`` of view names from the top, all of one length, ``cell`` the (width, height) of each."""

    rows: tuple[tuple[str, ...], ...]
    cell: tuple[int, int]
    names_drawn: bool = True

    @property
    def views(self) -> tuple[str, ...]:
        """Row by row, from left to right."""
        return tuple(name for row in self.rows for name in row)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the whole picture."""
        return len(self.rows[0]) * self.cell[0], len(self.rows) * self.cell[1]

    def place(self, view: str) -> tuple[int, int]:
        """(column, row) of a view."""
        number = self.views.index(view)
        return number % len(self.rows[0]), number // len(self.rows[0])

    def move_box(self, view: str, box_px: Box, view_size: tuple[int, int]) -> Box:
        """A box in pixels of one view of ``view_size`` as a box in pixels of the whole picture, kept inside the view's cell."""
        (column, row), (width, height) = self.place(view), self.cell

        def moved(value: float, length: int, start: int, cell: int) -> float:
            return (start + min(max(value / length, 0.0), 1.0)) * cell

        (x1, y1, x2, y2), (view_width, view_height) = box_px, view_size
        return (
            moved(x1, view_width, column, width),
            moved(y1, view_height, row, height),
            moved(x2, view_width, column, width),
            moved(y2, view_height, row, height),
        )

    def describe(self) -> str:
        """The views in words: ``Row 1, from left to right: A, B. Row 2, from left to right: C, D``."""
        lines = [f"Row {number}, from left to right: {', '.join(row)}" for number, row in enumerate(self.rows, start=1)]
        return ". ".join(lines)


@dataclasses.dataclass(frozen=True)
class MultiviewSample:
    """One question about one moment. ``views`` are (name, path below the picture root), in any order."""

    id: str
    where: str
    split: str | None
    views: tuple[tuple[str, str], ...]
    question: str
    answer: str
    source: str
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def pictures(self) -> tuple[str, ...]:
        """The paths of all views."""
        return tuple(path for _, path in self.views)


VIEW_NAMES = Option(
    "view_names", "draw each view's name on it, or not (a drawn name hides what lies beneath)", "drawn", ("drawn", "none")
)
CELL_OPTION = Option("cell", "the width and height that each view is resized to", CELL)
PROMPT_OPTION = Option(
    "prompt",
    "what stands in front of the picture, {count} and {views} filled in; nothing where it is empty; several with "
    f"'{prompts.SEPARATOR}', or a file, one a line",
    PROMPT,
)


def parse_rig(grid: str, options: Mapping[str, str]) -> Rig:
    """``A,B/C,D`` and the options ``cell`` and ``view_names`` as a rig. Raises UsageError."""
    rows = tuple(tuple(name.strip() for name in row.split(",")) for row in grid.split("/"))
    views = [name for row in rows for name in row]
    if not all(views) or len({len(row) for row in rows}) != 1 or len(set(views)) != len(views) or len(views) > _MAX_VIEWS:
        raise UsageError(
            f"option grid={grid}: expected rows of as many different names each, such as LEFT,FRONT/BACK,RIGHT, "
            f"at most {_MAX_VIEWS} in all"
        )
    found = _CELL.fullmatch(options["cell"])
    cell = (int(found[1]), int(found[2])) if found else (0, 0)
    if found is None or max(cell) > _MAX_CELL_PX or len(views) * cell[0] * cell[1] > safe.MAX_PICTURE_PIXELS:
        raise UsageError(f"option cell={options['cell']}: expected a width and a height in pixels, such as {CELL}")
    return Rig(rows, cell, options["view_names"] == "drawn")


def facts(rig: Rig) -> dict[str, Any]:
    """What the manifest says of the pictures: where each view stands, and with which letters its name is drawn."""
    found: dict[str, Any] = {"grid": [list(row) for row in rig.rows], "cell": list(rig.cell), "view_names": "none"}
    if rig.names_drawn:
        found |= {"view_names": "drawn: the top left of each view is hidden beneath its name", "font": _font()[1]}
    return found


def read_prompts(options: Mapping[str, str]) -> tuple[str, ...]:
    """The texts of the option ``prompt``; () for none. Raises UsageError for one that cannot stand there."""
    return prompts.read_prompts(options, {}, None, takes=("{count}", "{views}")) if options[PROMPT_OPTION.name].strip() else ()


def stitch(sample: MultiviewSample, rig: Rig, root: Path, folder: Path) -> str:
    """The name in ``folder`` of the picture of all views. One picture is made once a process however many samples show it.

    Raises DataError for a view that the grid has and the sample has not, or the other way round, and for damage.
    """
    paths = dict(sample.views)
    missing = [name for name in rig.views if name not in paths]
    unknown = [name for name in paths if name not in rig.views]
    if missing or unknown:
        raise DataError(
            f"{sample.where}: views {', '.join(paths) or 'none'}; expected those of the grid: {', '.join(rig.views)} "
            f"({f'no {missing[0]}' if missing else f'{unknown[0]} has no place'})"
        )
    places = tuple(safe.inside(root, paths[name], sample.where) for name in rig.views)
    states = tuple(_state(path) for path in places)
    name = _stitched(rig, places, states, folder)
    if not (folder / name).is_file():  # taken away since: by a conversion that failed, or by another tool
        _stitched.cache_clear()
        name = _stitched(rig, places, states, folder)
    return name


def _state(path: Path) -> tuple[int, int]:
    """Tells a picture that was written again from the one that was read: (bytes, time)."""
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    return found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=1024)
def _stitched(rig: Rig, paths: tuple[Path, ...], states: tuple[tuple[int, int], ...], folder: Path) -> str:
    views = (safe.read_picture(path, path.name) for path in paths)
    return made.write_picture(folder, compose(dict(zip(rig.views, views, strict=True)), rig), jpeg_quality=JPEG_QUALITY)


def compose(views: Mapping[str, Image.Image], rig: Rig) -> Image.Image:
    """The RGB picture of all views of the rig."""
    canvas = Image.new("RGB", rig.size)
    for name in rig.views:
        cell = views[name].resize(rig.cell)
        if rig.names_drawn:
            ImageDraw.Draw(cell).text((0, 0), name, fill=_FILL, font=_font()[0])
        column, row = rig.place(name)
        canvas.paste(cell, (column * rig.cell[0], row * rig.cell[1]))
    return canvas


@functools.cache
def _font() -> tuple[Any, str]:
    """The font, and what the manifest says of it: letters of another font or layout are another picture."""
    layout = "raqm" if features.check("raqm") else "basic"
    for place in _FONT_PLACES:
        try:
            font = ImageFont.truetype(place, _FONT_PX)
        except OSError:
            continue
        return font, f"DejaVuSans-Bold {_FONT_PX} px, {layout} layout"
    return ImageFont.load_default(_FONT_PX), f"Pillow's own, {_FONT_PX} px, {layout} layout (DejaVuSans-Bold is not installed)"


@dataclasses.dataclass(frozen=True)
class Stitching:
    """How the samples of a set are shown: the grid, the texts in front of the picture, and where the views lie."""

    rig: Rig
    prompts: tuple[str, ...]
    root: Path


def to_record(sample: MultiviewSample, stitching: Stitching, source: Source, *, task: str) -> ChatRecord:
    """One of the prompts, the stitched picture, the question. All questions of one picture get the same prompt."""
    assert source.made is not None
    rig = stitching.rig
    name = stitch(sample, rig, stitching.root, source.made)
    head = ""
    if stitching.prompts:
        prompt = prompts.choose(stitching.prompts, source.seed, "|".join(sample.pictures))
        head = prompts.fill(prompt, count=str(len(rig.views)), views=rig.describe()) + "\n"
    meta = split_meta(sample.split)
    meta |= {"view_names": "drawn" if rig.names_drawn else "none"} | dict(sample.meta)
    turns = (Turn("human", f"{head}{IMAGE_PLACEHOLDER}\n{sample.question}"), Turn("gpt", sample.answer))
    return ChatRecord(sample.id, turns, (name,), (rig.size,), task=task, source=sample.source, meta=meta)


def convert(sample: MultiviewSample, context: Stitching, source: Source) -> list[ChatRecord]:
    """One record a question."""
    return [to_record(sample, context, source, task="multiview")]


def read(source: Source) -> Reading:
    """A table with the views, a question and an answer in each row."""
    rig = parse_rig(source.options["grid"], source.options)
    found = table.read_tables(source, picture_column=source.options["views"])
    samples = (row if isinstance(row, Rejected) else _sample(row, rig, source.options, found.name) for row in found.rows)
    root = found.image_root
    assert source.made is not None
    stitching = Stitching(rig, read_prompts(source.options), root)
    return Reading(source.made, samples, stitching, found.ignored, facts(rig), pictures_root=root)


def _sample(row: table.Row, rig: Rig, options: Mapping[str, str], source: str) -> MultiviewSample | Rejected:
    texts = {}
    for name in ("question", "answer"):
        value = row.values.get(options[name])
        if value is None or isinstance(value, dict | list) or not str(value).strip():
            return Rejected(row.where, f"column '{options[name]}' is empty, expected the {name}", row.split)
        texts[name] = table.text_of_cell(value).strip()
    given: Any = row.values.get(options["views"])
    names: tuple[str, ...] = tuple(given) if table.is_named(given) else rig.views
    if len(row.pictures) != len(names):
        return Rejected(
            row.where,
            f"column '{options['views']}' holds {len(row.pictures)} pictures, expected {len(names)}: {', '.join(names)}",
            row.split,
        )
    views = tuple(zip(names, row.pictures, strict=True))
    return MultiviewSample(row.id, row.where, row.split, views, texts["question"], texts["answer"], source)


TASK = Task(
    name="multiview",
    summary="questions about several views of one moment, stitched into one picture",
    layout="a table (json, jsonl, parquet, or a folder of them named by split) with columns views (an object name -> picture, "
    "or a list in the grid's order), question, answer",
    unit="question",
    read=read,
    convert=convert,
    options=(
        Option("grid", "the views' names: rows from the top, parted by '/', names by ','", CAMERAS_GRID),
        VIEW_NAMES,
        CELL_OPTION,
        PROMPT_OPTION,
        Option("views", "the column of the views", "views"),
        Option("question", "the column of the question", "question"),
        Option("answer", "the column of the answer", "answer"),
        Option("id", "the column of the id (default: counted)"),
        Option("split", "the column of the split", "split"),
    ),
    example="adapt convert --task multiview --input rig.jsonl --output rig-chat.jsonl --option grid=LEFT,RIGHT",
)
