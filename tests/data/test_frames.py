"""Frames of videos: which are shown, in which order, and that a file's frames are the encoder's own."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from adapt import safe
from adapt.data.video import choose_frames, frames_text, show_video
from adapt.errors import DataError, UsageError


def write_video(path: Path, count: int, rate: int = 10) -> list[np.ndarray]:
    """A lossless video of ``count`` frames of noise; returns them."""
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (24, 32, 3), dtype=np.uint8) for _ in range(count)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "bgr0"
        stream.codec_context.time_base = Fraction(1, rate)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return frames


@pytest.mark.parametrize(("count", "most"), [(1, 1), (5, 40), (40, 40), (41, 40), (100, 8), (7, 3), (9999, 40)])
def test_frames_are_the_middles_of_equal_parts(count: int, most: int) -> None:
    """All where they fit; else one of each part, no further than half a part from its middle."""
    chosen = choose_frames(count, most)
    assert len(chosen) == min(count, most) == len(set(chosen)) and chosen == sorted(chosen)
    assert chosen[0] >= 0 and chosen[-1] < count
    if count > most:
        part = count / most
        assert all(abs(place - (number + 0.5) * part) <= 1 for number, place in enumerate(chosen))


def test_the_words_of_frames() -> None:
    assert frames_text(2) == "Frame-1: <image>\nFrame-2: <image>\n"


def test_a_folder_is_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    """frame_10 comes after frame_9; other files are no frames; a list stays as it is."""
    for number in (1, 2, 9, 10, 11):
        Image.new("RGB", (8, 8)).save(tmp_path / f"frame_{number}.jpg")
    (tmp_path / "notes.txt").write_text("no frame")
    found = [path.name for path in show_video(tmp_path, 40, tmp_path)]
    assert found == [f"frame_{number}.jpg" for number in (1, 2, 9, 10, 11)]
    assert [path.name for path in show_video([tmp_path / "frame_9.jpg", tmp_path / "frame_1.jpg"], 40, tmp_path)] == [
        "frame_9.jpg",
        "frame_1.jpg",
    ]


def test_frames_of_a_file_are_those_that_were_encoded(tmp_path: Path) -> None:
    """Of a lossless video of 23 frames the 5 middles come back to the last bit, as PNG."""
    frames = write_video(tmp_path / "clip.mkv", 23)
    (tmp_path / "made").mkdir()
    shown = show_video(tmp_path / "clip.mkv", 5, tmp_path / "made")
    assert len(shown) == 5
    for path, place in zip(shown, choose_frames(23, 5), strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), frames[place])


def test_what_is_no_video(tmp_path: Path) -> None:
    """A missing one, another kind, a damaged one, a playlist that names another file, an empty folder, too many frames."""
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "damaged.mp4").write_bytes(b"\0" * 100)
    write_video(tmp_path / "real.mkv", 3)
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{tmp_path / 'real.mkv'}\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile {tmp_path / 'real.mkv'}\n")
    (tmp_path / "empty").mkdir()
    for name, error, message in (
        ("missing.mp4", UsageError, "no such video"),
        ("text.txt", UsageError, "not a video by its name"),
        ("damaged.mp4", DataError, "damaged.mp4: not a video that can be read"),
        ("list.mp4", DataError, "list.mp4: not a video that can be read"),
        ("concat.mp4", DataError, "concat.mp4: not a video that can be read"),
        ("empty", DataError, "no frames"),
    ):
        with pytest.raises(error, match=message):
            show_video(tmp_path / name, 4, tmp_path)
    for most in (0, 41):
        with pytest.raises(UsageError, match="expected 1 to 40"):
            show_video(tmp_path / "real.mkv", most, tmp_path)


def test_times_follow_the_rate(tmp_path: Path) -> None:
    """The chooser sees a frame's time in seconds."""
    write_video(tmp_path / "clip.mkv", 4, rate=10)
    seen: list[float] = []
    pictures = list(safe.decode_video(tmp_path / "clip.mkv", "clip", lambda times: seen.extend(times) or [3]))
    assert seen == pytest.approx([0, 0.1, 0.2, 0.3], abs=1e-3) and len(pictures) == 1
