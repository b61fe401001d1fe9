"""Videos from outside: frames of whole files, and no other file or address is opened."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from adapt.errors import DataError, UsageError
from adapt.progress import say
from adapt.safe.pictures import MAX_PICTURE_PIXELS

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts"})
# ffmpeg sniffs by content, and a playlist by any name would make it open other files and addresses.
_VIDEO_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts"


def decode_video(path: Path, where: str, choose: Callable[[Sequence[float]], Sequence[int]]) -> Iterator[Image.Image]:
    """The frames of a video file that ``choose`` picks, as RGB pictures in stored orientation, in order.

    ``choose`` gets the time of every frame in seconds after the first (NaN where the file has none), and answers with rising
    places among them. Raises DataError for damage, for frames too large, and for more than 8 bits a channel; UsageError where
    PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UsageError(f"{path}: reading a video needs PyAV; run: pip install 'adapt-vlm[video]'") from error
    try:
        with _open_video(path) as container:
            stream = _video_stream(container, where)
            times = []
            for frame in _video_frames(container, stream, where):
                times.append(math.nan if frame.time is None else float(frame.time))
                if frame.rotation and len(times) == 1:
                    say(f"note: {where} asks players to turn it by {frame.rotation} degrees; its frames are used as stored")
            _check_whole(container, stream, times, where)
        chosen = choose([time - times[0] for time in times])
        with _open_video(path) as container:
            stream = _video_stream(container, where)
            for place, frame in enumerate(_video_frames(container, stream, where)):
                if place in chosen:
                    yield frame.to_image()
                if place == chosen[-1]:
                    return
    except (av.FFmpegError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: not a video that can be read whole: {error}") from error


def _open_video(path: Path) -> Any:
    """The container, opened so that damage raises and no other file or address is."""
    import av

    guards = {"format_whitelist": _VIDEO_FORMATS, "protocol_whitelist": "file", "err_detect": "explode"}
    return av.open(f"file:{path}", options=guards, metadata_errors="replace")


def _video_stream(container: Any, where: str) -> Any:
    stream = next(iter(container.streams.video), None)
    if stream is None:
        raise DataError(f"{where}: holds no video stream")
    if stream.codec_context is None:
        raise DataError(f"{where}: its codec is unknown to this ffmpeg; store it as H.264")
    return stream


def _video_frames(container: Any, stream: Any, where: str) -> Iterator[Any]:
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise DataError(f"{where}: a damaged packet at byte {packet.pos}")
        for frame in packet.decode():
            if frame.width * frame.height > MAX_PICTURE_PIXELS:
                raise DataError(f"{where}: frames of {frame.width}x{frame.height} pixels; {MAX_PICTURE_PIXELS:,} are allowed")
            if any(part.bits > 8 for part in frame.format.components):
                raise DataError(f"{where}: more than 8 bits a channel ({frame.format.name}); store it with 8 bits first")
            if frame.is_corrupt:
                raise DataError(f"{where}: a damaged frame at {frame.time} seconds")
            yield frame


def _check_whole(container: Any, stream: Any, times: Sequence[float], where: str) -> None:
    """Raise DataError where fewer frames came out than the file says that it holds. Frames cut away by its maker may lack."""
    if not times:
        raise DataError(f"{where}: no frame can be read")
    stated = float(stream.duration * stream.time_base) if stream.duration else None
    if stated is None and container.duration and len(container.streams) == 1:
        stated = container.duration / 1e6
    if stated is None or len(times) < 2 or math.isnan(times[0] + times[-1]):
        return
    span = times[-1] - times[0]
    frame_s = 1 / float(stream.average_rate) if stream.average_rate else span / (len(times) - 1)
    # Some containers state where the last frame ends, others how long all last. A tenth: durations are rounded, and rates vary.
    if max(span, times[-1]) + 4 * frame_s < 0.9 * stated:
        raise DataError(f"{where}: its frames end after {span:.1f} of {stated:.1f} seconds; fetch it again")
    if len(times) + 4 < 0.9 * span / frame_s:
        raise DataError(f"{where}: {len(times):,} frames can be read, expected about {span / frame_s:,.0f}; fetch it again")
