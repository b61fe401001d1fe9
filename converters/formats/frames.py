"""Videos in rows: a video file, a folder of frames or a list of frames becomes the names of the frames to show."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from adapt import made, safe
from adapt.data.video import DEFAULT_FRAMES, MAX_FRAMES, choose_frames, frames_in, is_video
from adapt.domain import Option, Source
from adapt.errors import DataError, UsageError

OPTION = Option("frames", f"the most frames of a video to show, up to {MAX_FRAMES}", str(DEFAULT_FRAMES))
Clip = tuple[float, float]


def needs_decoding(video: Sequence[str]) -> bool:
    """Whether frames must be made: those of a video file."""
    return len(video) == 1 and is_video(video[0])


def most_frames(options: Mapping[str, str]) -> int:
    """The option ``frames``. Raises UsageError where it is no number of frames."""
    text = options[OPTION.name]
    if not text.isdecimal() or not 1 <= int(text) <= MAX_FRAMES:
        raise UsageError(f"option {OPTION.name}={text}: expected 1 to {MAX_FRAMES}")
    return int(text)


class FrameReader:
    """Frames of the videos below ``root``. With ``copies`` all of them go to ``source.made``: one root serves all rows."""

    def __init__(self, source: Source, root: Path, *, copies: bool) -> None:
        self._made, self._root, self._copies = source.made, root, copies
        self._most = most_frames(source.options)
        self._read: dict[tuple[tuple[str, ...], Clip | None], tuple[str, ...]] = {}

    def names(self, video: Sequence[str], where: str, clip: Clip | None = None) -> tuple[str, ...]:
        """The names of the frames of a file, a folder or a list; ``clip`` is a part of a file, in seconds.

        A video that many rows ask about is read once. Raises DataError for what is missing or damaged.
        """
        key = (tuple(video), clip)
        if key not in self._read:
            self._read[key] = self._names(video, where, clip)
        return self._read[key]

    def _names(self, video: Sequence[str], where: str, clip: Clip | None) -> tuple[str, ...]:
        if needs_decoding(video):
            return self._decoded(safe.inside(self._root, video[0], where), where, clip)
        if clip is not None:
            raise DataError(f"{where}: 'clip' cuts a video file in seconds; {video[0][:60]!r} is none")
        if len(video) == 1:
            folder = safe.inside(self._root, video[0], where)
            if not folder.is_dir():
                raise DataError(f"{where}: {video[0][:80]!r} is neither a folder of frames under {self._root} nor a video file")
            video = [f"{video[0].rstrip('/')}/{path.name}" for path in frames_in(folder)]
        names = [video[place] for place in choose_frames(len(video), self._most)]
        if not self._copies:
            return tuple(names)
        assert self._made is not None
        paths = [safe.inside(self._root, name, where) for name in names]
        return tuple(made.write_encoded(self._made, safe.read_bytes(path, safe.MAX_PICTURE_BYTES), where) for path in paths)

    def _decoded(self, path: Path, where: str, clip: Clip | None) -> tuple[str, ...]:
        if not path.is_file():
            raise DataError(f"{where}: no such file: {path}")
        start, end = clip or (0.0, float("inf"))

        def choose(times: Sequence[float]) -> list[int]:
            within = [place for place, time in enumerate(times) if start <= time <= end]
            if not within:
                raise DataError(
                    f"{where}: no frame from {start} to {end} seconds; the last one of {path.name} is at {times[-1:]}"
                )
            return [within[place] for place in choose_frames(len(within), self._most)]

        assert self._made is not None
        names = []
        for frame in safe.decode_video(path, where, choose):
            content = io.BytesIO()
            frame.save(content, "PNG", compress_level=1)
            names.append(made.write_encoded(self._made, content.getvalue(), where))
        return tuple(names)
