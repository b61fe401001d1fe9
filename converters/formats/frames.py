"""Videos in rows: a video file, a folder of frames or a list of frames becomes the names of the frames to show."""

import dataclasses
import functools
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import made, safe
from adapt.data.video import DEFAULT_FRAMES, MAX_FRAMES, check_frames, choose_frames, frames_in, is_video
from adapt.domain import Option, Source
from adapt.errors import DataError, UsageError

OPTION = Option("frames", f"the most frames of a video to show, up to {MAX_FRAMES}", str(DEFAULT_FRAMES))


@dataclasses.dataclass(frozen=True)
class Video:
    """What a row names: a video file, a folder of frames (one name each) or frames; ``clip`` is a file's part in seconds."""

    names: tuple[str, ...]
    clip: tuple[float, float] | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a video file, by its name."""
        return len(self.names) == 1 and is_video(self.names[0])


@dataclasses.dataclass(frozen=True)
class FrameReader:
    """Frames of the videos below ``root``, at most ``most`` of each; written into ``made`` unless that is None."""

    root: Path
    made: Path | None
    most: int

    def names(self, video: Video, where: str) -> tuple[str, ...]:
        """The names of the frames, below ``made`` or else ``root``; every one is whole.

        A video that many rows ask about is read once a process. Raises DataError for what is missing or damaged.
        """
        found = _read(self, video)
        if isinstance(found, str):
            raise DataError(f"{where}: video {found}")
        return found


def frame_reader(source: Source, root: Path, videos: Iterable[Video]) -> FrameReader:
    """The reader of all videos of an input. Where one of them is a file, the frames of all are copied: one root serves all."""
    text = source.options[OPTION.name]
    if not text.isdecimal():
        raise UsageError(f"option {OPTION.name}={text}: expected 1 to {MAX_FRAMES}")
    copies = any(video.is_file for video in videos)
    return FrameReader(root, source.made if copies else None, check_frames(int(text)))


@functools.lru_cache(maxsize=1024)
def _read(reader: FrameReader, video: Video) -> tuple[str, ...] | str:
    """The names, or what is wrong: a fault is found once too."""
    name = video.names[0][:80]
    try:
        if video.is_file:
            return _decoded(reader, video)
        if video.clip is not None:
            raise DataError(f"{name}: 'clip' cuts a video file in seconds; this is none")
        return _listed(reader, video.names, name)
    except DataError as error:
        return str(error)


def _listed(reader: FrameReader, names: tuple[str, ...], where: str) -> tuple[str, ...]:
    if len(names) == 1 and Path(names[0]).suffix.lower() not in safe.PICTURE_SUFFIXES:
        folder = safe.inside(reader.root, names[0], where)
        if not folder.is_dir():
            raise DataError(f"{where}: neither a folder of frames under {reader.root} nor a video file by its name")
        names = tuple(f"{names[0].rstrip('/')}/{path.name}" for path in frames_in(folder))
    if any(is_video(name) for name in names):
        raise DataError(f"{where}: a list with a video file in it; expected frames, or one video")
    shown = [names[place] for place in choose_frames(len(names), reader.most)]
    contents = {name: safe.read_bytes(safe.inside(reader.root, name, where), safe.MAX_PICTURE_BYTES) for name in shown}
    if reader.made is not None:
        return tuple(made.write_encoded(reader.made, contents[name], name) for name in shown)
    for name, content in contents.items():
        safe.decode_picture(content, name)
    return tuple(shown)


def _decoded(reader: FrameReader, video: Video) -> tuple[str, ...]:
    name = video.names[0]
    path = safe.inside(reader.root, name, name[:80])
    if not path.is_file():
        raise DataError(f"{name}: no such file under {reader.root}")

    def choose(times: Sequence[float]) -> list[int]:
        if video.clip is None:
            return choose_frames(len(times), reader.most)
        if not all(first <= second for first, second in itertools.pairwise(times)):  # NaN too
            raise DataError(f"{name}: its frames have no rising times, so no 'clip' of it can be cut")
        start, end = video.clip
        within = [place for place, time in enumerate(times) if start <= time <= end]
        if not within:
            raise DataError(f"{name}: no frame from {start:g} to {end:g} seconds; the last one is at {times[-1]:g}")
        return [within[place] for place in choose_frames(len(within), reader.most)]

    assert reader.made is not None
    names = []
    for frame in safe.decode_video(path, name, choose):
        content = io.BytesIO()
        frame.save(content, "PNG", compress_level=1)
        names.append(made.write_encoded(reader.made, content.getvalue(), name))
    return tuple(names)


def parse_video(row: Mapping[str, Any], where: str) -> Video | None:
    """The ``video`` (or a ``videos`` of one) and ``clip`` of a chat row. Raises DataError(``where``: found, expected)."""
    value = row.get("video", row.get("videos"))
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{where}: the video is {str(value)[:60]}, expected a file, a folder or a list of frames")
    if "videos" in row and len(names) > 1:
        raise DataError(f"{where}: {len(names)} videos in one row; expected one")
    clip = _parse_clip(row.get("clip"), where)
    if clip is not None and not names:
        raise DataError(f"{where}: 'clip' without a 'video'")
    return Video(tuple(names), clip) if names else None


def _parse_clip(value: Any, where: str) -> tuple[float, float] | None:
    if value is None:
        return None
    numbers = isinstance(value, list) and len(value) == 2 and all(type(each) in (int, float) for each in value)
    if not numbers or not 0 <= value[0] < value[1] < 1e9:
        raise DataError(f"{where}: 'clip' is {str(value)[:40]}, expected [start, end] in seconds")
    return float(value[0]), float(value[1])
