"""Questions about videos: folders, lists and files of frames, from tables and from InternVL's own rows."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import adapt
from adapt.data.index import build_index
from adapt.data.loader import TileRule, row_sizes
from adapt.data.template import get_template
from adapt.data.tokenizer import train_tokenizer
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord
from adapt.verbs import convert


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``clips/one`` with 20 frames of 96x48, and ``clips/two.mp4`` with 30 frames at 10 a second, each of its own grey."""
    monkeypatch.setenv("ADAPT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "clips" / "one").mkdir(parents=True)
    for number in range(20):
        Image.new("RGB", (96, 48), (number, 0, 0)).save(tmp_path / "clips" / "one" / f"f_{number}.png")
    with av.open(str(tmp_path / "clips" / "two.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return tmp_path


def run(folder: Path, task: str, rows: list[dict[str, Any]], **settings: Any) -> list[ChatRecord]:
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    convert(task=task, input=folder / "in.jsonl", images=folder / "clips", output=folder / "out.jsonl", **settings)
    return adapt.read_records(folder / "out.jsonl")


def test_a_folder_a_list_and_a_file(folder: Path) -> None:
    """Each becomes frames of one tile; those of the file are made, and the others are copied beside them."""
    rows = [
        {"video": "one/", "question": "What moves?", "answer": "a car"},
        {"video": ["one/f_3.png", "one/f_1.png"], "question": "And here?", "answer": "nothing"},
    ]
    found = run(folder, "video", rows, option=["frames=4"])
    assert [record.images for record in found] == [
        ("one/f_2.png", "one/f_7.png", "one/f_12.png", "one/f_17.png"),
        ("one/f_3.png", "one/f_1.png"),
    ]
    assert found[0].turns[0].value == "".join(f"Frame-{n}: <image>\n" for n in range(1, 5)) + "What moves?"
    assert {record.max_tiles for record in found} == {1} and found[0].sizes == ((96, 48),) * 4
    found = run(folder, "video", [*rows, {"video": "two.mp4", "question": "What?", "answer": "grey"}], option=["frames=3"])
    greys = [np.asarray(Image.open(folder / "out.images" / name)).mean() for name in found[2].images]
    assert greys == pytest.approx([8 * 5, 8 * 15, 8 * 25], abs=4)
    reds = [np.asarray(Image.open(folder / "out.images" / name))[0, 0, 0] for name in found[0].images]
    assert reds == [3, 10, 16]


def test_rows_of_internvl(folder: Path) -> None:
    """<video> becomes the frames where it stands; without it they stand in front; a clip is cut in seconds."""
    talk = [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": "grey"}]
    bare = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "grey"}]
    found = run(
        folder,
        "chat",
        [
            {"id": "a", "video": "two.mp4", "clip": [1.0, 1.9], "conversations": talk},
            {"id": "b", "video": "one/", "conversations": bare},
            {"id": "c", "image": "one/f_0.png", "conversations": bare},
        ],
        option=["frames=2"],
    )
    assert [record.turns[0].value for record in found[:2]] == ["Frame-1: <image>\nFrame-2: <image>\nWhat?"] * 2
    assert [record.max_tiles for record in found] == [1, 1, 0]
    greys = [np.asarray(Image.open(folder / "out.images" / name)).mean() for name in found[0].images]
    assert greys == pytest.approx([8 * 12, 8 * 17], abs=4)


def test_a_video_file_alone_has_its_frames_made(folder: Path) -> None:
    """The first look sees a video file in a line that holds nothing else to be looked for."""
    bare = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "grey"}]
    found = run(folder, "chat", [{"id": "a", "video": "two.mp4", "conversations": bare}], option=["frames=2"])
    assert len(found[0].images) == 2 and all((folder / "out.images" / name).is_file() for name in found[0].images)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"video": "three.mp4"}, "no such file"),
        ({"video": "nowhere/"}, "neither a folder of frames"),
        ({"video": "../two.mp4"}, "leaves its root folder"),
        ({"video": "one/", "clip": [0, 1]}, "'clip' cuts a video file"),
        ({"video": "two.mp4", "clip": [9, 10]}, "no frame from 9 to 10 seconds"),
        ({"video": "two.mp4", "clip": [2, 1]}, "expected [start, end] in seconds"),
        ({"video": "two.mp4", "clip": [0, 10**400]}, "expected [start, end] in seconds"),
        ({"clip": [0, 1]}, "'clip' without a 'video'"),
        ({"conversations": "<video>\nWhat?"}, "<video> without a 'video'"),
        ({"videos": ["one", "two.mp4"]}, "2 videos in one row"),
        ({"video": ["two.mp4", "two.mp4"]}, "a list with a video file in it"),
        ({"video": "two.mp4", "image": "one/f_0.png"}, "both pictures and a video"),
        ({"video": "one/", "conversations": "<video><video>"}, "2 <video> placeholder(s) for one video"),
    ],
)
def test_what_is_wrong_with_a_video_is_named(folder: Path, row: dict[str, Any], reason: str) -> None:
    """The row alone is rejected, with its line and the reason."""
    good = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "grey"}]
    bad = [{"from": "human", "value": row.pop("conversations", "What?")}, good[1]]
    rows = [{"id": "a", "video": "one", "conversations": good}, {"id": "b", **row, "conversations": bad}]
    assert len(run(folder, "chat", rows, max_bad=1)) == 1
    rejected = json.loads((folder / "out.rejected.jsonl").read_text())
    assert rejected["where"] == "in.jsonl:2" and reason in rejected["reason"]


def test_messages_and_single_frames(folder: Path) -> None:
    """OpenAI messages beside a video get its frames too; one frame is a list of one, not a folder."""
    messages = [{"role": "user", "content": "<video>What?"}, {"role": "assistant", "content": "grey"}]
    found = run(folder, "chat", [{"id": "a", "videos": ["one/"], "messages": messages}], option=["frames=2"])
    assert found[0].turns[0].value == "Frame-1: <image>\nFrame-2: <image>\nWhat?" and found[0].max_tiles == 1
    found = run(folder, "video", [{"video": ["one/f_3.png"], "question": "What?", "answer": "red"}])
    assert found[0].images == ("one/f_3.png",)


def test_a_damaged_frame_rejects_the_row(folder: Path) -> None:
    """Frames that lie in files are decoded whole at conversion, like pictures."""
    whole = (folder / "clips" / "one" / "f_2.png").read_bytes()
    (folder / "clips" / "one" / "f_2.png").write_bytes(whole[:-30])
    with pytest.raises(DataError, match="f_2.png: damaged picture"):
        run(folder, "video", [{"video": "one", "question": "What?", "answer": "red"}], option=["frames=20"])


def test_frames_have_one_tile_each(folder: Path) -> None:
    """The plan counts one tile a frame, whatever its shape; the same pictures in a row of pictures have more."""
    names = ["one/f_0.png", "one/f_1.png"]
    as_frames = run(folder, "video", [{"video": names, "question": "What?", "answer": "red"}])
    turns = [{"from": "human", "value": "<image>\n<image>\nWhat?"}, {"from": "gpt", "value": "red"}]
    row = {"id": "p", "image": names, "conversations": turns}
    (folder / "pictures.jsonl").write_text(json.dumps(row) + "\n")
    tokenizer = train_tokenizer(["What? red Frame-1:"] * 9, 300)
    index = build_index(
        [folder / "out.jsonl", folder / "pictures.jsonl"], tokenizer, get_template("internvl2_5"), folder / "clips"
    )
    assert row_sizes(index, TileRule(32, 4, 12)).tiles.tolist() == [2, 6]
    assert len(set(index.table["tree_key"][:])) == 2 and as_frames[0].max_tiles == 1


@pytest.mark.parametrize("frames", ["0", "41", "many"])
def test_the_number_of_frames_is_checked(folder: Path, frames: str) -> None:
    """Outside 1 to 40, and no number, is wrong usage."""
    with pytest.raises(UsageError, match="expected 1 to 40"):
        run(folder, "video", [{"video": "one", "question": "What?", "answer": "red"}], option=[f"frames={frames}"])


@pytest.mark.parametrize("value", [0, -1, "1", 1.5, True, 3_000_000_000])
def test_a_bound_on_tiles_is_a_positive_integer(folder: Path, value: Any) -> None:
    """Any other value is named with its line."""
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "red"}]
    row = {"id": "p", "image": "one/f_0.png", "max_tiles": value, "conversations": turns}
    (folder / "in.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="in.jsonl:1: 'max_tiles' is .*, expected 1 to 10,000"):
        adapt.read_records(folder / "in.jsonl")
