"""Videos as frames: at most 40, one tile each, written into the text as ``Frame-1: <image>`` and so on, a line each.

Sources: ``video_get_item`` in internvl_chat/internvl/train/dataset.py of github.com/OpenGVLab/InternVL for the words;
``InternVLVideoProcessor.sample_frames`` of transformers, with its shift to the middle, for the choice.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from adapt import safe
from adapt.errors import DataError, UsageError
from adapt.records import IMAGE_PLACEHOLDER

VIDEO_PLACEHOLDER = "<video>"
MAX_FRAMES = 40
DEFAULT_FRAMES = 16
FRAME_TILES = 1


def check_frames(most: int) -> int:
    """``most`` itself. Raises UsageError outside 1..40."""
    if not 1 <= most <= MAX_FRAMES:
        raise UsageError(f"{most} frames of a video; expected 1 to {MAX_FRAMES}")
    return most


def choose_frames(count: int, most: int) -> list[int]:
    """Which of ``count`` frames are shown where ``most`` may be: all, or the middle of each of ``most`` equal parts."""
    if count <= most:
        return list(range(count))
    return [(2 * part + 1) * count // (2 * most) for part in range(most)]


def frames_text(count: int) -> str:
    """``Frame-1: <image>``, ``Frame-2: <image>`` ... a line each."""
    return "".join(f"Frame-{number}: {IMAGE_PLACEHOLDER}\n" for number in range(1, count + 1))


def is_video(path: Path | str) -> bool:
    """Whether the name is that of a video file."""
    return Path(path).suffix.lower() in safe.VIDEO_SUFFIXES


def frames_in(folder: Path) -> list[Path]:
    """The pictures of a folder, numbers in their names counted: frame_2 comes before frame_10. Raises DataError without any."""
    named = (path for path in folder.iterdir() if path.suffix.lower() in safe.PICTURE_SUFFIXES)
    found = [path for path in named if not path.name.startswith(".") and path.is_file()]  # "._1.jpg": macOS' own
    if not found:
        raise DataError(f"{folder}: no frames; expected pictures, one a frame, with numbers in their names")
    return sorted(
        found, key=lambda path: [(int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", path.name)]
    )


def show_video(video: Path | str | Sequence[Path | str], most: int, made: Path) -> tuple[Path, ...]:
    """The frames to show of a video file, a folder of frames or a list of frames.

    Frames of a file are written into the folder ``made`` as PNG. Raises UsageError and DataError.
    """
    check_frames(most)
    if not isinstance(video, str | Path):
        paths = [Path(path) for path in video]
    elif Path(video).is_dir():
        paths = frames_in(Path(video))
    elif not Path(video).is_file():
        raise UsageError(f"{video}: no such video; expected a video file or a folder of frames")
    elif not is_video(video):
        raise UsageError(f"{video}: not a video by its name; expected one of {', '.join(sorted(safe.VIDEO_SUFFIXES))}")
    else:
        paths = []
        frames = safe.decode_video(Path(video), str(video), lambda times: choose_frames(len(times), most))
        for number, frame in enumerate(frames, start=1):
            paths.append(made / f"frame_{number}.png")
            frame.save(paths[-1])
    if not paths:
        raise UsageError("a video of no frames; give at least one")
    return tuple(paths[place] for place in choose_frames(len(paths), most))
