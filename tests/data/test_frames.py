"""Frames of videos: which are shown, in which order, and that a file's frames are the encoder's own."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from transformers import InternVLVideoProcessor
from transformers.video_utils import VideoMetadata

from adapt import safe
from adapt.data.video import choose_frames, frames_text, show_video
from adapt.errors import DataError, UsageError
from adapt.safe import video as videos


def write_video(path: Path, count: int, rate: int = 10, first_s: int = 0, size: tuple[int, int] = (32, 24)) -> list[np.ndarray]:
    """A video of ``count`` frames of noise, lossless in .mkv; returns them."""
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8) for _ in range(count)]
    codec, pixels = ("ffv1", "bgr0") if path.suffix == ".mkv" else ("mpeg4", "yuv420p")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = Fraction(1, rate)
        for number, frame in enumerate(frames):
            made = av.VideoFrame.from_ndarray(frame, format="rgb24")
            made.pts, made.time_base = number + first_s * rate, Fraction(1, rate)
            container.mux(stream.encode(made))
        container.mux(stream.encode())
    return frames


@pytest.mark.parametrize(("count", "most"), [(40, 40), (41, 40), (100, 8), (7, 3), (30, 3), (9999, 40)])
def test_frames_are_those_of_transformers(count: int, most: int) -> None:
    """The middles of equal parts, as transformers' own InternVL processor samples them."""
    metadata = VideoMetadata(total_num_frames=count, fps=10)
    expected = InternVLVideoProcessor().sample_frames(metadata, num_frames=most, initial_shift=True)
    assert choose_frames(count, most) == [int(place) for place in expected]


def test_a_short_video_is_shown_whole() -> None:
    """Where fewer frames are there than may be shown, each is, once."""
    assert choose_frames(5, 40) == [0, 1, 2, 3, 4]


def test_the_words_of_frames() -> None:
    """A line for each frame, counted from 1."""
    assert frames_text(2) == "Frame-1: <image>\nFrame-2: <image>\n"


def test_a_folder_is_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    """frame_10 comes after frame_9; other files are no frames; a list stays as it is."""
    for number in (1, 2, 9, 10, 11):
        Image.new("RGB", (8, 8)).save(tmp_path / f"frame_{number}.jpg")
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / "._frame_1.jpg").write_text("what macOS writes beside a file")
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
    """A missing one, another kind, a damaged one, an empty folder, no frames and too many are each said in one line."""
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "damaged.mp4").write_bytes(b"\0" * 100)
    (tmp_path / "empty").mkdir()
    for video, error, message in (
        (tmp_path / "missing.mp4", UsageError, "no such video"),
        (tmp_path / "text.txt", UsageError, "not a video by its name"),
        (tmp_path / "damaged.mp4", DataError, "damaged.mp4: not a video that can be read whole"),
        (tmp_path / "empty", DataError, "no frames"),
        ([], UsageError, "a video of no frames"),
    ):
        with pytest.raises(error, match=message):
            show_video(video, 4, tmp_path)
    for most in (0, 41):
        with pytest.raises(UsageError, match="expected 1 to 40"):
            show_video(tmp_path / "empty", most, tmp_path)


def test_a_list_of_other_files_is_not_followed(tmp_path: Path) -> None:
    """ffmpeg on its own would open the file that a list by the name of a video points to; here it is refused."""
    write_video(tmp_path / "real.mkv", 3)
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile real.mkv\n")
    with av.open(str(tmp_path / "list.mp4")) as container:
        assert len(list(container.decode(video=0))) == 3, "without a guard it would be read"
    with pytest.raises(DataError, match="list.mp4: not a video that can be read whole"):
        show_video(tmp_path / "list.mp4", 4, tmp_path)


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
def test_a_damaged_video_is_not_shown_in_part(tmp_path: Path, name: str) -> None:
    """Cut at two thirds, or with a third of it wiped, a video is refused."""
    write_video(tmp_path / name, 40, size=(96, 64))
    whole = (tmp_path / name).read_bytes()
    third = len(whole) // 3
    for content in (whole[: 2 * third], whole[:third] + b"\0" * third + whole[2 * third :]):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            show_video(tmp_path / name, 4, tmp_path)


def test_odd_videos(tmp_path: Path) -> None:
    """A stream of sound alone, more than 8 bits, frames too large, and a title that is no UTF-8."""
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(tmp_path / "deep.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p10le"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((24, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    for name, message in (("sound.mkv", "holds no video stream"), ("deep.mkv", "more than 8 bits a channel")):
        with pytest.raises(DataError, match=message):
            show_video(tmp_path / name, 4, tmp_path)
    write_video(tmp_path / "large.mkv", 2, size=(64, 48))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(videos, "MAX_PICTURE_PIXELS", 64 * 48 - 1)
        with pytest.raises(DataError, match="frames of 64x48 pixels"):
            show_video(tmp_path / "large.mkv", 4, tmp_path)
    with av.open(str(tmp_path / "title.mkv"), "w") as container:
        container.metadata["title"] = "abcdefgh"
        stream = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "bgr0"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((24, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    stored = (tmp_path / "title.mkv").read_bytes()
    assert b"abcdefgh" in stored
    (tmp_path / "title.mkv").write_bytes(stored.replace(b"abcdefgh", b"abc\xff\xfefgh"))
    assert len(show_video(tmp_path / "title.mkv", 4, tmp_path)) == 1


@pytest.mark.parametrize("name", ["clip.mkv", "clip.ts"])
def test_times_start_with_the_first_frame(tmp_path: Path, name: str) -> None:
    """The chooser sees seconds after the first frame, whatever the file's clock says."""
    write_video(tmp_path / name, 4, rate=10, first_s=3600)
    seen: list[float] = []
    pictures = list(safe.decode_video(tmp_path / name, "clip", lambda times: seen.extend(times) or [3]))
    assert seen == pytest.approx([0, 0.1, 0.2, 0.3], abs=2e-3) and len(pictures) == 1
