"""DriveLM: tags both ways, one record a question, one picture a frame, and the way to a submission."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import adapt
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord
from adapt.verbs import convert
from domains.driving import cameras
from domains.driving.drivelm import Team, to_answer, to_camera, to_stitched, write_submission

TAG = re.compile(r"<c\d+,(CAM_\w+),([\d.]+),([\d.]+)>")
TEAM = Team("ours", "team", ("A. Author",), "a@example.org", "institute", "country")


@pytest.fixture(scope="module")
def sample(shared: Path) -> Path:
    return shared / "data" / "drivelm_sample"


@pytest.fixture(scope="module")
def small(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real questions beside tiny pictures of the same names, for what the pixels do not matter to."""
    root = tmp_path_factory.mktemp("small")
    for path in sample.glob("**/*.jpg"):
        place = root / path.relative_to(sample)
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 18), (len(path.name), 90, 90)).save(place)
    for name in ("data/train_sample.json", "test.json", "test_eval.json", "test_llama.json"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes((sample / name).read_bytes())
    return root


@pytest.fixture(scope="module")
def converted(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[ChatRecord], Path]:
    output = tmp_path_factory.mktemp("drivelm") / "train.jsonl"
    manifest = convert(task="drivelm", input=sample, output=output, workers=0)
    return manifest, adapt.read_records(output), output


def questions_of(path: Path) -> list[tuple[str, str]]:
    """(question, answer) of a DriveLM file, in the order of its ids."""
    document = json.loads(path.read_text())
    kinds = ("perception", "prediction", "planning", "behavior")
    frames = [frame for scene in document.values() for frame in scene["key_frames"].values()]
    return [(row["Q"], row["A"]) for frame in frames for kind in kinds for row in frame["QA"][kind]]


def test_the_inverse_is_the_official_one(shared: Path) -> None:
    """On the official script's own pairs the inverse agrees, but for the decimal point that it forgets where it clamps."""
    lines = (shared / "golden" / "geometry" / "ctag_inverse.jsonl").read_text().splitlines()
    forgotten = 0
    for row in map(json.loads, lines):
        ours, official = to_camera(row["model_text"]), row["challenge_text"]
        if ours != official:
            forgotten += 1
            official = re.sub(r"(?<=,)(0|1600|900)(?=[,>])", r"\1.0", official)
        assert ours == official
    assert len(lines) == 24 and forgotten == 7


@pytest.mark.parametrize(
    ("camera", "stitched", "back"),
    [
        ("<c1,CAM_BACK,1088.3,497.5>", "<c1,CAM_BACK,[560,776]>", "<c1,CAM_BACK,1088.0,496.8>"),
        ("<c2,CAM_FRONT,800.0,450.0>", "<c2,CAM_FRONT,[500,250]>", "<c2,CAM_FRONT,800.0,450.0>"),
        ("<c3,CAM_FRONT_LEFT,0.0,0.0>", "<c3,CAM_FRONT_LEFT,[0,0]>", "<c3,CAM_FRONT_LEFT,0.0,0.0>"),
        ("<c4,CAM_BACK_RIGHT,1600.0,900.0>", "<c4,CAM_BACK_RIGHT,[1000,1000]>", "<c4,CAM_BACK_RIGHT,1600.0,900.0>"),
        ("<c5,CAM_FRONT,-3.0,1000>", "<c5,CAM_FRONT,[333,500]>", "<c5,CAM_FRONT,0.0,900.0>"),
        ("<c6, CAM_FRONT, 800.0, 450.0>", "<c6,CAM_FRONT,[500,250]>", "<c6,CAM_FRONT,800.0,450.0>"),
        ("<c7,CAM_TOP,8.0,4.0> and <b>", "<c7,CAM_TOP,8.0,4.0> and <b>", "<c7,CAM_TOP,8.0,4.0> and <b>"),
    ],
)
def test_tags_by_hand(camera: str, stitched: str, back: str) -> None:
    """Tags computed by hand: X = 1000 (column + x/1600) / 3, Y = 1000 (row + y/900) / 2, and back."""
    assert to_stitched(camera) == stitched == to_stitched(stitched)
    assert to_camera(stitched) == back == to_camera(back)


def test_any_tag_comes_back_within_the_rounding() -> None:
    """A tag anywhere in any camera comes back to the same camera within 3.3 px (L1), always with a decimal point."""
    draw = random.Random(0)
    for _ in range(2000):
        camera, x, y = draw.choice(cameras.CAMERAS), round(draw.uniform(0, 1600), 1), round(draw.uniform(0, 900), 1)
        found = TAG.fullmatch(to_camera(to_stitched(f"<c1,{camera},{x},{y}>")))
        assert found and found[1] == camera and "." in found[2] and "." in found[3]
        assert abs(float(found[2]) - x) + abs(float(found[3]) - y) < 3.3


def test_all_tags_of_the_real_sample_come_back(converted: Any, sample: Path) -> None:
    """790 questions are 790 records in the file's order, and their 719 tags come back in order, within 3.3 px (L1)."""
    manifest, records, _ = converted
    assert manifest["counts"]["read"] == manifest["counts"]["converted"] == len(records) == 790
    assert manifest["counts"]["rejected"] == 0 and manifest["pictures"]["distinct"] == 54
    worst, count = 0.0, 0
    for record, texts in zip(records, questions_of(sample / "data" / "train_sample.json"), strict=True):
        assert (record.meta["question_original"], record.meta["answer_original"]) == texts
        for ours, theirs in zip((record.question, record.answer), texts, strict=True):
            assert not TAG.search(ours)
            found, expected = TAG.findall(to_camera(ours)), TAG.findall(theirs)
            assert [tag[0] for tag in found] == [tag[0] for tag in expected]
            count += len(expected)
            for (_, *ours_xy), (_, *theirs_xy) in zip(found, expected, strict=True):
                worst = max(worst, sum(abs(float(a) - float(b)) for a, b in zip(ours_xy, theirs_xy, strict=True)))
    assert count == 719 and worst < 3.3


def test_a_frame_is_one_picture(converted: Any, sample: Path) -> None:
    """Nine frames are nine made pictures of 2688x896, each made of its frame's six views where the camera says."""
    manifest, records, output = converted
    folder = output.with_name("train.images")
    by_frame = {record.meta["frame"]: record.images for record in records}
    assert len(by_frame) == 9 == len(set(by_frame.values())) == len(list(folder.iterdir()))
    assert all(by_frame[record.meta["frame"]] == record.images and record.sizes == ((2688, 896),) for record in records)
    assert manifest["facts"]["grid"][1][1] == "CAM_BACK"
    document = json.loads((sample / "data" / "train_sample.json").read_text())
    frames = {name: frame for scene in document.values() for name, frame in scene["key_frames"].items()}
    name, images = next(iter(by_frame.items()))
    stitched = Image.open(folder / images[0])
    path = sample / "data" / frames[name]["image_paths"]["CAM_BACK"]
    mean = Image.open(path).crop((0, 200, 1600, 900)).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    cell = stitched.crop((896, 448 + 100, 1792, 896)).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert all(abs(a - b) <= 2 for a, b in zip(mean, cell, strict=True))


def test_boxes_stand_behind_the_objects_that_are_listed(converted: Any, sample: Path) -> None:
    """A listed object's box is its 2d_bbox in thousandths of the stitched picture, and only lists of objects carry any."""
    _, records, _ = converted
    boxed = [record for record in records if "<box>" in record.answer]
    assert len(boxed) == 9 and all("important objects" in record.question for record in boxed)
    # 2d_bbox 966.6, 403.3, 1224.1, 591.7 of CAM_BACK, column 1 and row 1: by hand
    assert "<c1,CAM_BACK,[560,776]><box>[[535, 724, 588, 829]]</box>" in boxed[0].answer
    traffic = next(record for record in records if record.question.endswith("relative to the center point."))
    assert "(traffic light, green, 474, 0, 484, 61)" in traffic.answer  # of 674.86, 0.14, 723.33, 109.18 in CAM_FRONT
    for record in (*boxed, traffic):
        back = to_answer(record.answer, str(record.meta["question_original"]))
        assert len(back) >= len(str(record.meta["answer_original"])) - 30 and "<box>" not in back
        numbers = [[float(each) for each in re.findall(r"-?\d+\.\d+", text)] for text in (back, record.meta["answer_original"])]
        assert all(abs(a - b) <= 2.5 for a, b in zip(*numbers, strict=True))


def test_the_challenge_forms_are_read(small: Path, tmp_path: Path) -> None:
    """test.json, test_eval.json and test_llama.json are the test split's 66 questions under one set of ids."""
    read = {}
    for name in ("test", "test_eval", "test_llama"):
        manifest = convert(task="drivelm", input=small / f"{name}.json", output=tmp_path / f"{name}.jsonl", workers=0)
        read[name] = adapt.read_records(tmp_path / f"{name}.jsonl")
        assert manifest["counts"]["splits"] == {"test": 66}
    assert [record.id for record in read["test"]] == [record.id for record in read["test_eval"]]
    assert [record.id for record in read["test"]] == [record.id for record in read["test_llama"]]
    letters = [record.answer for record in read["test_eval"] if "Please select the correct answer" in record.question]
    assert len(letters) == 17 and set(letters) <= set("ABCD")
    assert [record.images for record in read["test"]] == [record.images for record in read["test_llama"]]


def test_a_train_file_knows_what_the_challenge_would_ask(small: Path, tmp_path: Path) -> None:
    """The official script's choice and tags for this very train file are test.json: ours are the same, in the same order."""
    ours = tmp_path / "ours.jsonl"
    options = {"questions": "challenge", "boxes": "no"}
    manifest = convert(task="drivelm", input=small, output=ours, option=options, workers=0)
    assert manifest["counts"]["ignored"] == {"question that the challenge does not ask": 790 - 66}
    convert(task="drivelm", input=small / "test.json", output=tmp_path / "test.jsonl", option={"boxes": "no"}, workers=0)
    found, expected = adapt.read_records(ours), adapt.read_records(tmp_path / "test.jsonl")
    assert [(row.id, row.turns, row.meta["tag"]) for row in found] == [(row.id, row.turns, row.meta["tag"]) for row in expected]


def test_choices_are_the_challenge_s_form(small: Path, tmp_path: Path) -> None:
    """Status and behaviour become four choices with the truth among them, every letter occurs, the other questions stay."""
    output = tmp_path / "choices.jsonl"
    convert(task="drivelm", input=small, output=output, option={"choices": "yes"}, workers=0)
    answers: list[str] = []
    for record, (question, answer) in zip(
        adapt.read_records(output), questions_of(small / "data" / "train_sample.json"), strict=True
    ):
        original = str(record.meta["question_original"])
        if original == question:
            assert record.meta["answer_original"] == answer
            continue
        assert original.startswith(f"{question} Please select the correct answer from the following options: A. ")
        options = dict(re.findall(r"([A-D])\. (.*?)(?= [A-D]\. |$)", original.partition("options: ")[2]))
        assert options[record.answer] == answer and len(set(options.values())) == 4
        answers.append(record.answer)
    assert len(answers) == 24 + 9 and set(answers) == set("ABCD")


def test_a_submission_is_the_official_file(sample: Path, small: Path, tmp_path: Path) -> None:
    """For the sample's own output.json: its ids and questions in its order, and answers with tags in camera pixels."""
    references, predictions = tmp_path / "test.jsonl", tmp_path / "predictions.jsonl"
    convert(task="drivelm", input=small / "test_llama.json", output=references, workers=0)
    official = json.loads((sample / "output.json").read_text())
    rows = [{"id": row["id"], "answer": to_stitched(row["gt_answer"]) + "<box>[[1, 2, 3, 4]]</box>"} for row in official]
    predictions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert write_submission(predictions, references, tmp_path / "submission.json", TEAM) == 66
    ours = json.loads((tmp_path / "submission.json").read_text())
    assert ours.keys() == json.loads((sample / "submission.json").read_text()).keys()
    for found, expected in zip(ours["results"], official, strict=True):
        assert (found["id"], found["question"]) == (expected["id"], expected["question"])
        assert TAG.sub("", found["answer"]) == TAG.sub("", expected["gt_answer"])
        assert len(TAG.findall(found["answer"])) == len(TAG.findall(expected["gt_answer"]))
    predictions.write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    with pytest.raises(DataError, match=f"'{rows[0]['id']}' of 1 questions has no answer"):
        write_submission(predictions, references, tmp_path / "submission.json", TEAM)


# Traps of the format, on a tiny set of our own.


def write_set(root: Path, rows: list[Any], **changes: Any) -> Path:
    """One scene of one frame with six grey pictures of 32x18; ``changes`` replace parts of the frame."""
    paths = {}
    for camera in cameras.CAMERAS:
        folder = root / "nuscenes" / "samples" / camera
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 18), (90, 90, 90)).save(folder / "a.jpg")
        paths[camera] = f"../nuscenes/samples/{camera}/a.jpg"
    frame = {"key_object_infos": {}, "QA": {"perception": rows}, "image_paths": paths} | changes
    (root / "data").mkdir(exist_ok=True)
    path = root / "data" / "v1_1_train_nus.json"
    path.write_text(json.dumps({"s1": {"scene_description": "", "key_frames": {"f1": frame}}}))
    return path


def rejected(output: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in output.with_name("out.rejected.jsonl").read_text().splitlines()]


def test_a_bad_row_is_rejected_alone(tmp_path: Path) -> None:
    """Each fault names its question; the rest is converted under its own number."""
    rows: list[Any] = [
        {"Q": "A?", "A": "Yes."}, {"Q": "", "A": "Yes."}, {"Q": "B?", "A": 3}, "row", {"Q": "C?", "A": ""},
        {"Q": "<c1,CAM_TOP,1.0,2.0>?", "A": "No."}, {"Q": "D?", "A": "No.", "tag": [7]}, {"Q": "E?", "A": "No."},
    ]  # fmt: skip
    path = write_set(tmp_path, rows)
    manifest = convert(task="drivelm", input=path, output=tmp_path / "out.jsonl", max_bad=6, workers=0)
    assert [record.id for record in adapt.read_records(tmp_path / "out.jsonl")] == ["s1_f1_0", "s1_f1_7"]
    assert manifest["counts"]["read"] == 8
    found = rejected(tmp_path / "out.jsonl")
    assert [row["where"] for row in found] == [f"v1_1_train_nus.json#s1_f1_{number}" for number in range(1, 7)]
    words = ("'Q' is", "'A' is 3", "expected an object", "unanswered=keep", "CAM_TOP,1.0,2.0", "'tag' is [7]")
    assert all(word in row["reason"] for word, row in zip(words, found, strict=True))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_paths": None}, "'image_paths' is None"),
        ({"image_paths": {"CAM_FRONT": "../nuscenes/samples/CAM_FRONT/a.jpg"}}, "no CAM_FRONT_LEFT"),
        ({"image_paths": {"CAM_FRONT": "../../../etc/passwd.jpg"}}, "no CAM_FRONT_LEFT|passwd"),
        ({"image_paths": {"CAM_FRONT": "/etc/passwd"}}, "not a plain relative path"),
        ({"image_paths": {"CAM_FRONT": "../a/../../b.jpg"}}, "leaves the picture root"),
        ({"key_object_infos": {"<c1,CAM_BACK,1.0,2.0>": {"2d_bbox": [9, 1, 2, 3]}}}, "x1 <= x2"),
        ({"key_object_infos": {"<c1,CAM_BACK,1.0,2.0>": {"2d_bbox": ["a"]}}}, "expected four numbers"),
    ],
)
def test_a_bad_frame_rejects_its_questions(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    """Paths that leave the root, missing views and bad boxes reject every question of their frame and none of another."""
    path = write_set(tmp_path, [{"Q": "A?", "A": "Yes."}, {"Q": "B?", "A": "No."}], **changes)
    document = json.loads(path.read_text())
    good = json.loads(write_set(tmp_path, [{"Q": "A?", "A": "Yes."}]).read_text())["s1"]
    path.write_text(json.dumps(document | {"s2": good}))
    convert(task="drivelm", input=path, output=tmp_path / "out.jsonl", max_bad=2, workers=0)
    found = rejected(tmp_path / "out.jsonl")
    assert len(found) == 2 and all(re.search(reason, row["reason"]) for row in found), found
    assert [record.id for record in adapt.read_records(tmp_path / "out.jsonl")] == ["s2_f1_0"]


@pytest.mark.parametrize("frame", [None, [], {"QA": []}, {"QA": {"perception": {}}}, {"QA": {"poetry": []}}])
def test_a_frame_of_another_shape_is_one_rejected_sample(tmp_path: Path, frame: Any) -> None:
    """What holds no lists of questions is rejected by scene and frame."""
    path = write_set(tmp_path, [{"Q": "A?", "A": "Yes."}])
    document = json.loads(path.read_text())
    document["s1"]["key_frames"]["f0"] = frame
    path.write_text(json.dumps(document | {"s0": 3}))
    convert(task="drivelm", input=tmp_path, output=tmp_path / "out.jsonl", max_bad=2, workers=0)
    places = [row["where"] for row in rejected(tmp_path / "out.jsonl")]
    assert places == ["v1_1_train_nus.json#s1_f0", "v1_1_train_nus.json#s0"]


def test_questions_without_answers_are_kept_for_a_submission(tmp_path: Path) -> None:
    """unanswered=keep writes the validation questions with a marked answer, and a submission can be made of them."""
    path = write_set(tmp_path, [{"Q": "Where is <c1,CAM_BACK,800.0,450.0>?", "A": ""}])
    path = path.rename(path.with_name("v1_1_val_nus_q_only.json"))
    output = tmp_path / "val.jsonl"
    with pytest.raises(DataError, match="unanswered=keep"):
        convert(task="drivelm", input=path, output=output)
    convert(task="drivelm", input=path, output=output, option={"unanswered": "keep"})
    (record,) = adapt.read_records(output)
    assert (record.split, record.answer, record.meta["answer_original"]) == ("val", "(no answer was published)", "")
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": record.id, "answer": "At <c1,CAM_BACK,[500,750]>."}) + "\n")
    write_submission(tmp_path / "p.jsonl", output, tmp_path / "s.json", TEAM)
    (row,) = json.loads((tmp_path / "s.json").read_text())["results"]
    assert row["question"] == "<image>\nWhere is <c1,CAM_BACK,800.0,450.0>?"
    assert row["answer"] == "At <c1,CAM_BACK,800.0,450.0>."


def test_a_share_of_the_scenes_can_be_held_out(tmp_path: Path) -> None:
    """val_share=0.3 moves whole scenes, the same ones under any --seed."""
    path = write_set(tmp_path, [{"Q": "A?", "A": "Yes."}, {"Q": "B?", "A": "No."}])
    scene = json.loads(path.read_text())["s1"]
    path.write_text(json.dumps({f"s{number}": scene for number in range(40)}))
    splits = []
    for seed in (0, 1):
        convert(task="drivelm", input=path, output=tmp_path / "out.jsonl", option={"val_share": "0.3"}, seed=seed, workers=0)
        splits.append({(row.meta["scene"], row.split) for row in adapt.read_records(tmp_path / "out.jsonl")})
    assert splits[0] == splits[1] and len(splits[0]) == 40
    assert 5 <= sum(split == "val" for _, split in splits[0]) <= 19
    with pytest.raises(UsageError, match="expected a share"):
        convert(task="drivelm", input=path, output=tmp_path / "out.jsonl", option={"val_share": "2"})


def test_what_is_no_drivelm_is_refused(tmp_path: Path) -> None:
    """A folder without the file, and a document that is neither scenes nor rows, say what was expected."""
    with pytest.raises(UsageError, match="point --input at one JSON file"):
        convert(task="drivelm", input=tmp_path, output=tmp_path / "out.jsonl")
    (tmp_path / "a.json").write_text("3")
    with pytest.raises(DataError, match="expected an object of scenes"):
        convert(task="drivelm", input=tmp_path / "a.json", output=tmp_path / "out.jsonl")
    for row in (3, {"id": "a_b_0"}, {"id": "x", "image": [], "conversations": [{}, {}]}, {"conversations": 3}):
        (tmp_path / "a.json").write_text(json.dumps([row]))
        with pytest.raises(DataError, match="a.json#0: "):
            convert(task="drivelm", input=tmp_path / "a.json", output=tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    ("name", "split"),
    [("v1_1_train_nus", "train"), ("test_eval", "test"), ("llama_test", "test"), ("my_val", "val"), ("evaluation", "train")],
)
def test_the_split_is_a_word_of_the_file_name(tmp_path: Path, name: str, split: str) -> None:
    """A test file that is called so at its end is no training data, and letters inside a word are no split."""
    path = write_set(tmp_path, [{"Q": "What is ahead?", "A": "A car."}])
    manifest = convert(task="drivelm", input=path.rename(path.with_name(f"{name}.json")), output=tmp_path / "out.jsonl")
    assert manifest["counts"]["splits"] == {split: 1}
