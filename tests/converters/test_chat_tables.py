"""Conversations in tables with embedded pictures, as Hugging Face datasets hold them, and the other spellings of a message."""

import io
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord
from adapt.verbs import convert

OBJECTS = {"objects": {"bbox": [[1, 2, 3, 4]]}}


def encoded(number: int) -> dict[str, Any]:
    content = io.BytesIO()
    Image.new("RGB", (6 + number, 5), (number, 7, 9)).save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def cauldron(pictures: list[list[int]]) -> datasets.Dataset:
    """Rows as HuggingFaceM4/the_cauldron has them: a list of pictures, and exchanges of a user and an assistant."""
    rows = {
        "images": [[encoded(number) for number in shown] for shown in pictures],
        "texts": [
            [{"user": f"what {row}", "assistant": "this", "source": "x"}, {"user": "and", "assistant": "[0.1, 0.2, 0.5, 0.6]"}]
            for row in range(len(pictures))
        ],
    }
    features = datasets.Features(
        images=datasets.List(datasets.Image()),
        texts=[{name: datasets.Value("string") for name in ("user", "assistant", "source")}],
    )
    return datasets.Dataset.from_dict(rows, features=features)


def run(path: Path, **settings: Any) -> list[ChatRecord]:
    convert(task="chat", input=path, output=path.parent / "out.jsonl", workers=0, **settings)
    return adapt.read_records(path.parent / "out.jsonl")


def test_exchanges_beside_embedded_pictures(tmp_path: Path) -> None:
    """The Cauldron's form from one Parquet file: pictures in front, turns in order, boxes in tags."""
    cauldron([[0], [1, 2], []]).to_parquet(tmp_path / "ai2d.parquet")
    one, two, none = run(tmp_path / "ai2d.parquet")
    assert [turn.value for turn in one.turns] == ["<image>\nwhat 0", "this", "and", "<box>[[100, 200, 500, 600]]</box>"]
    assert two.turns[0].value == "<image>\n<image>\nwhat 1" and two.sizes == ((7, 5), (8, 5))
    assert (none.images, none.turns[0].value, none.answer) == ((), "what 2", "[0.1, 0.2, 0.5, 0.6]")
    assert (one.id, one.source) == ("ai2d-1", "ai2d") and one.extra == {}
    assert Image.open(tmp_path / "out.images" / two.images[1]).getpixel((0, 0)) == (2, 7, 9)


def test_parts_of_a_hub_folder_are_one_split(tmp_path: Path) -> None:
    """train-00000-of-00002.parquet and the like are read in order, each row with its split; a missing part is said."""
    folder = tmp_path / "ai2d"
    folder.mkdir()
    cauldron([[0]]).to_parquet(folder / "train-00000-of-00002-0123abcd.parquet")
    with pytest.raises(UsageError, match="1 of 2 parts of train"):
        run(folder)
    cauldron([[1], [2]]).to_parquet(folder / "train-00001-of-00002-4567abcd.parquet")
    cauldron([[3]]).to_parquet(folder / "test-00000-of-00001.parquet")
    assert [(each.sizes[0][0], each.split) for each in run(folder)] == [(6, "train"), (7, "train"), (8, "train"), (9, "test")]


def test_a_set_as_the_hub_keeps_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`hf download` leaves SET/README.md and SET/data/*.parquet: SET is read, and what is not read of it is told. Where a set
    has a folder for each of its parts, these are named."""
    hub = tmp_path / "ai2d"
    (hub / "data").mkdir(parents=True)
    (hub / "README.md").write_text("---\nlicense: mit\n---\n")
    cauldron([[1], [2]]).to_parquet(hub / "data" / "train-00000-of-00001.parquet")
    cauldron([[3]]).to_parquet(hub / "data" / "testmini-00000-of-00001.parquet")
    assert [(each.id, each.sizes[0][0], each.split) for each in run(hub)] == [("ai2d-1", 7, "train"), ("ai2d-2", 8, "train")]
    assert "1 table not read, named for no split: data/testmini-00000-of-00001.parquet;" in capsys.readouterr().err
    for task in ("chat", "vqa"):
        with pytest.raises(UsageError, match=r"; tables are in ai2d below it$"):
            convert(task=task, input=tmp_path, output=tmp_path / "out.jsonl")
    (tmp_path / "other").mkdir()
    cauldron([[1]]).to_parquet(tmp_path / "other" / "train-00000-of-00002.parquet")
    with pytest.raises(UsageError, match=r"; tables are in ai2d, other below it$"):
        run(tmp_path)
    cauldron([[1]]).to_parquet(hub / "train.parquet")
    assert [each.sizes[0][0] for each in run(hub)] == [7]
    told = "2 tables not read, named for no split or in data below tables: data/testmini-00000-of-00001.parquet, data/train-0"
    assert told in capsys.readouterr().err


def test_llava_conversations_in_a_saved_dataset(tmp_path: Path) -> None:
    """LLaVA-OneVision's columns, saved by `datasets`: a text-only row first does not hide that pictures are embedded."""
    turns = [{"from": "human", "value": "<image>\nwhat"}, {"from": "gpt", "value": "this"}]
    plain = [{"from": "human", "value": "what"}, {"from": "gpt", "value": "this"}]
    message = [{name: datasets.Value("string") for name in ("from", "value")}]
    rows = {"id": ["a", "b"], "image": [None, encoded(1)], "conversations": [plain, turns], "data_source": ["t", "v"]}
    features = datasets.Features(
        id=datasets.Value("string"), image=datasets.Image(), conversations=message, data_source=datasets.Value("string")
    )
    saved = datasets.DatasetDict(train=datasets.Dataset.from_dict(rows, features=features))
    saved.save_to_disk(tmp_path / "onevision")
    records = run(tmp_path / "onevision")
    assert [(record.id, len(record.images), record.split) for record in records] == [("a", 0, "train"), ("b", 1, "train")]


def test_a_damaged_embedded_picture_rejects_its_row_alone(tmp_path: Path) -> None:
    """Bytes that are no picture: that row with its place, the others whole."""
    rows = cauldron([[0], [1]]).cast_column("images", datasets.List(datasets.Image(decode=False)))
    damaged = [[rows[0]["images"][0]], [{"bytes": b"none", "path": None}]]
    rows = rows.remove_columns("images").add_column("images", damaged)
    rows.to_parquet(tmp_path / "in.parquet")
    assert len(run(tmp_path / "in.parquet", max_bad=1)) == 1
    assert json.loads((tmp_path / "out.rejected.jsonl").read_text())["where"] == "in.parquet#1"


def lines(tmp_path: Path, *rows: dict[str, Any], **settings: Any) -> list[ChatRecord]:
    Image.new("RGB", (4, 5)).save(tmp_path / "a.png")
    Image.new("RGB", (6, 5)).save(tmp_path / "b.png")
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run(tmp_path / "in.jsonl", **settings)


def test_sharegpt_roles_and_keys_are_read(tmp_path: Path) -> None:
    """user and assistant, human and gpt, from and role, value and content: one shape, with the system turn first."""
    spellings = [
        ("from", "value", "user", "assistant"),
        ("from", "value", "human", "gpt"),
        ("role", "content", "user", "assistant"),
    ]
    rows = [
        {"id": str(place), "conversations": [{role: "system", text: "s"}, {role: asks, text: "q"}, {role: answers, text: "a"}]}
        for place, (role, text, asks, answers) in enumerate(spellings)
    ]
    records = lines(tmp_path, *rows)
    assert len({record.turns for record in records}) == 1
    assert [turn.role for turn in records[0].turns] == ["system", "human", "gpt"]


def test_a_system_prompt_beside_the_messages_is_the_first_turn(tmp_path: Path) -> None:
    """LLaMA-Factory's ``system``, in rows and in a column of a table; an empty one is none, and the same one stands once."""
    talk = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    rows = [
        {"conversations": talk, "system": "be kind"},
        {"conversations": [{"from": "system", "value": "be kind"}, *talk], "system": "be kind\n"},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "system": "be kind"},
        {"texts": [{"user": "q", "assistant": "a"}], "system": "be kind"},
    ]
    records = lines(tmp_path, *rows, {"conversations": talk, "system": " "}, {"conversations": talk, "system": None})
    expected = [("human", "q"), ("gpt", "a")]
    assert [[(turn.role, turn.value) for turn in each.turns] for each in records] == (
        [[("system", "be kind"), *expected]] * 4 + [expected] * 2
    )
    assert not any(each.extra for each in records)
    datasets.Dataset.from_list([{"id": "a"} | rows[0]]).to_parquet(tmp_path / "in.parquet")
    assert run(tmp_path / "in.parquet")[0].turns == records[0].turns


@pytest.mark.parametrize(("system", "named"), [("be cruel", "'be cruel', but its first message, of the system, is 'be kind'"),
                                               (["be kind"], "expected text")])  # fmt: skip
def test_two_system_prompts_are_not_settled(tmp_path: Path, system: Any, named: str) -> None:
    """A system prompt beside the messages that is another than the one in them, or is no text, rejects the row."""
    talk = [{"from": "system", "value": "be kind"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    with pytest.raises(DataError, match="1 of 1 sample rejected"):
        lines(tmp_path, {"conversations": talk, "system": system})
    assert named in (tmp_path / "out.rejected.jsonl").read_text()


def part(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind} | fields


@pytest.mark.parametrize(
    ("content", "more", "expected"),
    [
        ([part("image"), part("text", text="q")], {"images": ["a.png"]}, ("<image>\nq", ("a.png",))),
        ([part("text", text="q"), part("image", image="b.png")], {}, ("q\n<image>", ("b.png",))),
        ([part("input_image", image_url="a.png"), part("input_text", text="q")], {}, ("<image>\nq", ("a.png",))),
        ("<image>q<image>", {"images": ["b.png", "a.png"]}, ("<image>q<image>", ("b.png", "a.png"))),
    ],
)
def test_content_parts_of_other_tools(tmp_path: Path, content: Any, more: dict[str, Any], expected: tuple[str, Any]) -> None:
    """Parts that name a picture in other ways, or leave it to a list beside the messages, in their order."""
    row = {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "a"}]} | more
    record = lines(tmp_path, row)[0]
    assert (record.turns[0].value, record.images) == expected


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"role": "tool", "content": "x"}, "'tool'"),
        ({"role": "function", "content": "x"}, "'function'"),
        ({"role": "assistant", "content": "x", "tool_calls": [{"id": 1}]}, "holds 'tool_calls'"),
        ({"role": "assistant", "tool_calls": [{"id": 1}]}, "holds 'tool_calls'"),
        ({"role": "assistant", "content": None, "refusal": "no"}, "holds 'refusal'"),
        ({"role": "assistant", "content": None, "weight": 0}, "expected text in 'value' or 'content'"),
        ({"role": None, "content": "x"}, "'None'"),
        ({"role": "assistant", "content": [part("image_url", image_url={"url": "a.png"})]}, "<image> stands in a gpt"),
        ({"role": "assistant", "content": [part("image_url", image_url=3)]}, "content part"),
    ],
)
def test_what_no_model_learns_here_is_rejected_by_name(tmp_path: Path, message: dict[str, Any], named: str) -> None:
    """Tool roles and calls, refusals and pictures in answers: the reason names what was found."""
    with pytest.raises(DataError, match="1 of 1 sample rejected"):
        lines(tmp_path, {"messages": [{"role": "user", "content": "q"}, message]})
    assert named in (tmp_path / "out.rejected.jsonl").read_text()


def test_pictures_that_stand_in_the_text_are_read(tmp_path: Path) -> None:
    """Qwen-VL's <img>a.png</img> is a picture where it stands; a tag without a path is text."""
    talk = [("user", "Picture 1: <img>b.png</img>\nPicture 2: <img>a.png</img>\nq"), ("assistant", "a"), ("user", "<img>?")]
    row = {"conversations": [{"from": who, "value": text} for who, text in (*talk, ("assistant", "an <img> tag"))]}
    (record,) = lines(tmp_path, row)
    assert record.images == ("b.png", "a.png") and record.sizes == ((6, 5), (4, 5))
    assert record.turns[0].value == "Picture 1: <image>\nPicture 2: <image>\nq"
    assert [turn.value for turn in record.turns[2:]] == ["<img>?", "an <img> tag"]


@pytest.mark.parametrize(
    ("question", "answer", "more", "named"),
    [
        ("<img>a.png</img> q", "a", {"images": ["b.png"]}, "their order cannot be told"),
        ("<img>a.png</img><image> q", "a", {}, "their order cannot be told"),
        ("q", "<img>a.png</img>", {}, "<image> stands in a gpt"),
        ("<img>c.png</img> q", "a", {}, "c.png: no such file"),
        ("find <ref-object>", "<bbox>", OBJECTS, "holds '<ref-object>', which stands for one of 'objects'"),
        ("find it", "<bbox>", OBJECTS, "holds '<bbox>', which .* as <ref>name</ref><box>[[x1, y1, x2, y2]]</box>"),
    ],
)
def test_pictures_and_boxes_of_other_trainers_are_not_taken_for_text(
    tmp_path: Path, question: str, answer: str, more: dict[str, Any], named: str
) -> None:
    """Qwen-VL's pictures beside others, and ms-swift's placeholders of objects, reject the row with what was found."""
    row = {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
    with pytest.raises(DataError, match="1 of 1 sample rejected"):
        lines(tmp_path, row | more)
    reason = json.loads((tmp_path / "out.rejected.jsonl").read_text())["reason"]
    assert all(part in reason for part in named.split(".*")), reason


@pytest.mark.parametrize("table", [False, True])
def test_two_fields_of_pictures_are_one_or_none(tmp_path: Path, table: bool) -> None:
    """``image`` and ``images`` of one row are equal, or the row is rejected with both; one that is empty does not count."""
    talk = {"conversations": [{"from": "human", "value": "<image>q"}, {"from": "gpt", "value": "a"}]}
    pairs = [("a.png", ["a.png"]), ("", ["b.png"]), ("a.png", []), ("a.png", ["b.png"]), ("a.png", ["a.png", "b.png"])]
    rows = [talk | {"image": image, "images": images} for image, images in pairs]
    found = lines(tmp_path, *rows, max_bad=2)
    if table:
        datasets.Dataset.from_list(rows).to_parquet(tmp_path / "in.parquet")
        found = run(tmp_path / "in.parquet", max_bad=2)
    assert [each.images for each in found] == [("a.png",), ("b.png",), ("a.png",)]
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert reasons[0].startswith("'images' is 'b.png', but 'image' is 'a.png'; write all pictures into one of them")
    assert reasons[1].startswith("'images' is 'a.png, b.png', but 'image' is 'a.png'; write all")


def test_equal_embedded_pictures_are_one(tmp_path: Path) -> None:
    """Bytes are compared, not their names: the table may hold one picture in both columns."""
    one, other = encoded(1), encoded(2)
    talk = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
    rows = [talk | {"image": one | {"path": "x.png"}, "images": [one]}, talk | {"image": one, "images": [other]}]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "in.parquet")
    assert [each.sizes for each in run(tmp_path / "in.parquet", max_bad=1)] == [((7, 5),)]


TALK = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
OTHER_FIELDS = [
    {"image_path": "a.png"},
    {"image_path": "000123"},
    {"image_1": "a.png"},
    {"image-path": "a.png"},
    {"images_path": ["a.png"]},
    {"input_image": "a.heic"},
    {"image_b64": "iVBORw0KGgo" * 30},
    {"image_url": "https://host/picture?id=3"},
    {"imagePath": "a.png"},
    {"img": {"bytes": b"x", "path": None}},
    {"image_file": "a.png"},
    {"image_url": "https://host/a.png"},
    {"image_urls": [{"url": "https://host/a.png"}]},
    {"img_path": "a.png"},
    {"picture": "a.png"},
    {"pictures": ["", "a.png"]},
    {"Image": "a.png"},
    {"file_name": "set/a.PNG"},
    {"path": "a.jpg"},
]


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("field", OTHER_FIELDS)
def test_a_picture_in_a_field_of_another_name_rejects_its_row(tmp_path: Path, field: dict[str, Any], table: bool) -> None:
    """What stands under a name that is not read would be learnt as text alone; beside ``image`` the field is kept as it was."""
    if table:
        datasets.Dataset.from_list([TALK | field, TALK | {next(iter(field)): None}]).to_parquet(tmp_path / "in.parquet")
        assert [each.images for each in run(tmp_path / "in.parquet", max_bad=1)] == [()]
    else:
        field = {"img": "a.png"} if "img" in field else field
        records = lines(tmp_path, TALK | field, TALK | {"image": "b.png"} | field, max_bad=1)
        assert [(each.images, each.extra) for each in records] == [(("b.png",), field)]
    name = next(iter(field))
    reason = json.loads((tmp_path / "out.rejected.jsonl").read_text())["reason"]
    assert reason.startswith(f"'{name}' holds a picture, and pictures are read from 'image' or 'images' only; rename it")


@pytest.mark.parametrize(
    "field",
    [
        {"image_id": 7, "image_size": [4, 5], "url": "https://host/a.png", "category": "image"},
        {"picture": "a cat on a mat", "photo": "no photo", "img": "none", "image_name": "Untitled", "image-title": "a.png"},
        {"image_path": None, "img": "", "pictures": [], "image_url": {}, "photos": [None, ""], "audio": None},
        {
            "file_name": "talk.txt",
            "path": "set/1",
            "has_image": True,
            "picture": False,
            "photo": 0,
            "image_description": "a.png",
        },
    ],
)
def test_fields_about_pictures_are_none(tmp_path: Path, field: dict[str, Any]) -> None:
    """Numbers, sizes, pages, other files and empty values beside a text hold no picture: the row is read with its fields."""
    assert [each.extra for each in lines(tmp_path, TALK | field)] == [field]
    datasets.Dataset.from_list([TALK | {name: value for name, value in field.items() if value not in ({}, [])}]).to_parquet(
        tmp_path / "in.parquet"
    )
    assert len(run(tmp_path / "in.parquet")) == 1


def test_audio_is_not_taken_for_text(tmp_path: Path) -> None:
    """``audios`` stand for <audio> in the text, beside a picture too; the sound beside a picture is a field like any other."""
    heard = {"messages": [{"role": "user", "content": "<audio>q"}, {"role": "assistant", "content": "a"}]}
    sound = {"audios": ["a.wav"]}
    rows = (heard | sound, TALK | sound, heard | sound | {"image": "a.png"}, TALK | sound | {"image": "a.png"}, heard)
    assert [(each.images, each.extra) for each in lines(tmp_path, *rows, max_bad=3)] == [(("a.png",), sound), ((), {})]
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert reasons == ["'audios' holds audio, which cannot be read; leave the row out"] * 3


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        ({"image": "coco/1.jpg", "images": [encoded(1)]}, 1),
        ({"image": encoded(1), "images": ["coco/1.jpg"]}, 1),
        ({"image": 12, "images": ["a.png"]}, 1),
        ({"image": "a.png", "images": ["./a.png"]}, 1),
        ({"image": encoded(1), "images": [encoded(1)]}, 1),
    ],
)
def test_of_two_columns_one_holds_the_pictures(tmp_path: Path, cells: dict[str, Any], shown: int) -> None:
    """Bytes go before paths, which then say where they come from; a number names no picture; two spellings are one path."""
    Image.new("RGB", (4, 5)).save(tmp_path / "a.png")
    datasets.Dataset.from_list([TALK | cells] * 2).to_parquet(tmp_path / "in.parquet")
    assert [len(each.images) for each in run(tmp_path / "in.parquet")] == [shown] * 2


def test_pictures_that_differ_in_two_columns_reject_their_row(tmp_path: Path) -> None:
    """Two paths, or the bytes of two pictures: nobody knows which is meant."""
    Image.new("RGB", (4, 5)).save(tmp_path / "a.png")
    for cells, reason in (
        ({"image": "a.png", "images": ["b.png"]}, "'images' is 'b.png', but 'image' is 'a.png'"),
        ({"image": encoded(1), "images": [encoded(2)]}, "'image' and 'images' hold different pictures"),
    ):
        datasets.Dataset.from_list([TALK | cells]).to_parquet(tmp_path / "in.parquet")
        with pytest.raises(DataError, match=reason):
            run(tmp_path / "in.parquet")


def test_a_refused_row_of_a_table_is_of_its_own_split(tmp_path: Path) -> None:
    """A bad row of test does not reject a conversion of train."""
    folder = tmp_path / "set"
    folder.mkdir()
    datasets.Dataset.from_list([TALK | {"img_path": ""}]).to_parquet(folder / "train.parquet")
    for bad in (
        TALK | {"img_path": "a.png"},
        TALK | {"image": "a.png", "images": ["b.png"]},
        {"messages": [], "img_path": "a"},
    ):
        datasets.Dataset.from_list([bad]).to_parquet(folder / "test.parquet")
        assert len(run(folder, split="train")) == 1
        with pytest.raises(DataError, match="1 of 1 sample rejected"):
            run(folder, split="test")


def test_paths_in_a_folder_of_tables_begin_there(tmp_path: Path) -> None:
    """As ``vqa`` reads them: SET/images/a.png is images/a.png of SET/data/train-....parquet."""
    (tmp_path / "set" / "data").mkdir(parents=True)
    (tmp_path / "set" / "images").mkdir()
    Image.new("RGB", (4, 5)).save(tmp_path / "set" / "images" / "a.png")
    datasets.Dataset.from_list([TALK | {"image": "images/a.png"}]).to_parquet(
        tmp_path / "set" / "data" / "train-00000-of-00001.parquet"
    )
    assert run(tmp_path / "set")[0].images == ("images/a.png",)


def test_parts_of_a_table_need_no_column_of_pictures(tmp_path: Path) -> None:
    """Pictures in the messages of a table are read, whatever its other columns hold."""
    shown = [
        {"type": "image_url", "text": None, "image_url": {"url": "a.png"}},
        {"type": "text", "text": "q", "image_url": None},
    ]
    answer = [{"type": "text", "text": "a", "image_url": None}]
    row = {"messages": [{"role": "user", "content": shown}, {"role": "assistant", "content": answer}]}
    Image.new("RGB", (4, 5)).save(tmp_path / "a.png")
    datasets.Dataset.from_list([row | {"image_url": "https://host/a.png"}]).to_parquet(tmp_path / "in.parquet")
    assert run(tmp_path / "in.parquet")[0].images == ("a.png",)


@pytest.mark.parametrize(
    "mark",
    ["<Image>", "<IMAGE>", "<img>", "<IMG>", "<ImageHere>", "<|image_1|>", "<image_1>", "<image 1>", "<|image|>",
     "<|image_pad|>", "<image_placeholder>", "<image_soft_token>", "<start_of_image>", "<IMG_CONTEXT>", "[IMG]",
     "<image-1>", "<image1_placeholder>", "<|vision_start|>", "<im_patch>"],
)  # fmt: skip
def test_a_placeholder_of_another_tool_rejects_its_row(tmp_path: Path, mark: str) -> None:
    """It would stay in the question beside our own; where ours is missing in a row with a picture, the row is told."""
    asked = {"conversations": [{"from": "human", "value": f"see {mark}\nq"}, {"from": "gpt", "value": "a"}]}
    exchange = {"texts": [{"user": f"{mark}q", "assistant": "a"}]}
    placed = {"conversations": [{"from": "human", "value": f"<image>what is {mark}?"}, {"from": "gpt", "value": "a"}]}
    answered = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": f"{mark}</p>"}]}
    shown = {"image": "a.png"}
    rows = (asked | shown, exchange | shown, asked | {"images": ["a.png", "b.png"]}, placed | shown, answered | shown, asked)
    records = lines(tmp_path, *rows, max_bad=3)
    assert [each.turns[0].value for each in records] == [f"<image>what is {mark}?", "<image>\nq", f"see {mark}\nq"]
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    expected = f"a message holds {mark!r}, which is no placeholder here; write <image> instead, once for each picture"
    assert reasons == [expected] * 3


@pytest.mark.parametrize(
    "words",
    ["image 1", "the [image]", "<imagery>", "<image of a cat", "<img src='a'>", "[img 1]", "img>", "What does <img> do?"],
)
def test_words_about_pictures_are_no_placeholder(tmp_path: Path, words: str) -> None:
    """Only what is a placeholder by its form is one: words in a question stay as they stand, below the picture."""
    row = {"conversations": [{"from": "human", "value": words}, {"from": "gpt", "value": "a"}], "image": "a.png"}
    assert lines(tmp_path, row)[0].question == f"<image>\n{words}"


def test_a_box_in_xml_is_text(tmp_path: Path) -> None:
    """<bbox>1 2 3 4</bbox> holds what it says, and words about a tag are no placeholder where a row has no objects."""
    texts = (("<bbox>", {"images": ["a.png"]}), ("<bbox>1 2 3 4</bbox>", {"images": ["a.png"]} | OBJECTS))
    rows = [
        more | {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": text}]} for text, more in texts
    ]
    assert [each.answer for each in lines(tmp_path, *rows)] == ["<bbox>", "<bbox>1 2 3 4</bbox>"]


@pytest.mark.parametrize("flag", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"loss": False}])
def test_an_answer_that_is_not_to_be_learnt_rejects_its_row(tmp_path: Path, flag: dict[str, Any]) -> None:
    """OpenAI's weight 0, axolotl's train and ms-swift's loss: all answers of a row are learnt here, so the row is none."""
    talk = [{"role": "user", "content": "q", "weight": 0}, {"role": "assistant", "content": "bad"} | flag,
            {"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}]  # fmt: skip
    kept = [each | {"weight": 1, "train": True, "loss": None} if each["role"] == "assistant" else each for each in talk]
    assert len(lines(tmp_path, {"messages": talk}, {"messages": kept}, max_bad=1)) == 1
    reason = json.loads((tmp_path / "out.rejected.jsonl").read_text())["reason"]
    assert reason.startswith(f"an answer has {next(iter(flag))!r} {next(iter(flag.values()))}, and is not to be learnt")


def test_pictures_named_twice_have_no_order(tmp_path: Path) -> None:
    """Parts with a path beside a list of pictures: which comes first cannot be told."""
    row = {"images": ["a.png"], "messages": [{"role": "user", "content": [part("image", image="b.png")]}]}
    with pytest.raises(DataError, match="order cannot be told"):
        lines(tmp_path, row)


def test_a_million_rows_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    """The first sample is there before the second line is read, so no file is held in memory."""
    from adapt.domain import Source, find_task, read_options

    task = find_task("chat")
    row = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    reading = task.read(Source(path, None, read_options(task.options, {}, "chat"), 0, tmp_path / "out.images"))
    samples = iter(reading.samples)
    assert next(samples).id == "in-1"
    with open(path, "a") as handle:
        handle.write(json.dumps(row) + "\n")
    assert [sample.id for sample in samples] == ["in-2", "in-3"]


@pytest.mark.parametrize("name", ["hf:", "hf: ", "hf::subset", "hf:@main"])
def test_a_hub_name_that_is_none_is_wrong_usage(name: str, tmp_path: Path) -> None:
    """Nothing is asked of the hub, and no other exception comes out of it."""
    with pytest.raises(UsageError, match="expected the name of a dataset, such as hf:OWNER/NAME"):
        convert(task="vqa", input=name, output=tmp_path / "o.jsonl", workers=0)
