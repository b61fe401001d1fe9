"""A generated driving set in four native layouts, drawn by ``streets`` so that every box and answer is exact.

DriveLM: ``DriveLM/data/QA_dataset_nus/v1_1_train_nus.json``, beside it ``test.json`` of the challenge for other scenes;
pictures ``DriveLM/data/nuscenes/samples/CAM_*/*.jpg``. nuScenes: mmdetection3d's COCO export of the same pictures, in
``DriveLM/data/nuscenes``. BDD100K: ``bdd100k/labels/det_20/det_{train,val}.json`` (Scalabel) and ``images/100k``. BDD-X in
DriveGPT4's form: ``bddx/BDD_X_{training,testing}.json`` and ``bddx/clips``, a folder of frames each. Sources: the readers'.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt import randomness
from adapt.errors import UsageError
from domains.draws import Draws
from domains.driving import cameras, questions, streets
from domains.driving.questions import Frame

DEFAULT_SIZE = 120
LEAST_SIZE = 12
FRAMES_A_SCENE = 4
TEST_SHARE = 0.25
CAMERA_ORDER = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
# The classes of the export, in its order; some are never drawn.
NUSCENES_CLASSES = (
    "car", "truck", "trailer", "bus", "construction_vehicle", "bicycle", "motorcycle", "pedestrian", "traffic_cone", "barrier",
)  # fmt: skip
BDD_SIZE, CLIP_SIZE, CLIP_FRAMES = (1280, 720), (320, 180), 8
BDD_NAMES = {"traffic_light": "traffic light"}
_README = """Generated pictures and questions, not real data.
Made by 'adapt sample --domain driving' with seed {seed} and size {size}.
DriveLM/                  six-camera key frames: DriveLM's questions, and the challenge's test form
DriveLM/data/nuscenes/    the same pictures with boxes in nuScenes' COCO export
bdd100k/                  front pictures with Scalabel labels
bddx/                     clips in DriveGPT4's form of BDD-X
"""


@dataclasses.dataclass(frozen=True)
class KeyFrame:
    """A key frame as it is drawn: its tokens, what each camera sees and where the pictures lie below samples/."""

    scene: str
    token: str
    views: Frame
    paths: Mapping[str, str]


def _token(seed: int, purpose: str, *indices: int | str) -> str:
    return f"{randomness.key(seed, purpose, *indices):032x}"


def _view_of(camera: str, draws: Draws, timeofday: str) -> streets.View:
    """At most three things a camera; lights hang in front, so that the behaviour follows from them."""
    count = draws.pick((0, 1, 1, 2, 2, 3)) if camera != "CAM_FRONT" else draws.pick((1, 2, 3))
    names = [draws.pick(("car", "car", "truck", "bus", "pedestrian", "traffic_cone", "barrier")) for _ in range(count)]
    if camera == "CAM_FRONT" and draws.chance(0.5):
        names[0] = "traffic_light"
    return streets.make_view(draws, tuple(names), timeofday)


def _key_frames(seed: int, count: int) -> list[KeyFrame]:
    a_scene = min(FRAMES_A_SCENE, max(1, count // 2))
    frames = []
    for number in range(count):
        draws = Draws(seed, "sample/driving/frame", number)
        timeofday = draws.pick(("daytime", "daytime", "dawn/dusk"))
        views = {camera: _view_of(camera, draws, timeofday) for camera in CAMERA_ORDER}
        paths = {camera: f"{camera}/generated-{seed}__{camera}__{number:06d}.jpg" for camera in CAMERA_ORDER}
        scene = _token(seed, "sample/driving/scene", number // a_scene)
        frames.append(KeyFrame(scene, _token(seed, "sample/driving/token", number), views, paths))
    return frames


def _split_scenes(frames: Sequence[KeyFrame]) -> tuple[list[KeyFrame], list[KeyFrame]]:
    """(train, test): the last scenes are held out."""
    scenes = list(dict.fromkeys(frame.scene for frame in frames))
    held_out = set(scenes[-max(1, round(len(scenes) * TEST_SHARE)) :])
    return [each for each in frames if each.scene not in held_out], [each for each in frames if each.scene in held_out]


def _draw_frames(folder: Path, frames: Sequence[KeyFrame]) -> None:
    for camera in CAMERA_ORDER:
        (folder / camera).mkdir(parents=True)
    for frame in frames:
        for camera, view in frame.views.items():
            streets.draw_view(view).save(folder / frame.paths[camera], format="JPEG", quality=88)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def _drivelm(frames: Sequence[KeyFrame], seed: int, *, challenge: bool) -> tuple[dict[str, Any], int]:
    """The document of a train file, or of test.json, and the number of its questions."""
    document: dict[str, Any] = {}
    count = 0
    for frame in frames:
        draws = Draws(seed, "sample/driving/questions", frame.token)
        keys = questions.key_objects(frame.views, draws)
        asked = questions.ask(frame.views, keys, draws)
        if challenge:  # its questions in its order: of a kind, language and match before accuracy
            asked = sorted((each for each in asked if each.tags), key=lambda each: each.tags[0] == 0)
        kinds: dict[str, list[dict[str, Any]]] = {"perception": [], "prediction": [], "planning": [], "behavior": []}
        for each in asked:
            row = {"Q": each.question, "A": each.answer, "C": None, "con_up": None, "con_down": None, "cluster": None}
            kinds[each.kind].append(row | {"layer": None} | ({"tag": list(each.tags)} if challenge else {}))
        count += len(asked)
        content = {} if challenge else {"key_object_infos": {key.tag: key.info for key in keys}}
        paths = {camera: f"../nuscenes/samples/{path}" for camera, path in frame.paths.items()}
        scene = document.setdefault(
            frame.scene, {"key_frames": {}} if challenge else {"scene_description": "", "key_frames": {}}
        )
        scene["key_frames"][frame.token] = content | {"QA": kinds, "image_paths": paths}
    return document, count


def _coco(frames: Sequence[KeyFrame], seed: int) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    width, height = cameras.VIEW_SIZE
    for frame in frames:
        for camera, view in frame.views.items():
            identifier = _token(seed, "sample/driving/picture", frame.token, camera)
            place = {"file_name": f"samples/{frame.paths[camera]}", "id": identifier, "token": frame.token}
            images.append(place | {"width": width, "height": height})
            for thing in view.things:
                if thing.name not in NUSCENES_CLASSES:
                    continue
                x1, y1, x2, y2 = thing.box_px
                box = [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]
                shown = {"category_name": thing.name, "category_id": NUSCENES_CLASSES.index(thing.name), "bbox": box}
                annotation = {"file_name": place["file_name"], "image_id": identifier, "area": box[2] * box[3]}
                annotations.append(annotation | shown | {"iscrowd": 0, "segmentation": [], "id": len(annotations)})
    categories = [{"id": number, "name": name} for number, name in enumerate(NUSCENES_CLASSES)]
    return {"annotations": annotations, "images": images, "categories": categories}


def _write_six_cameras(folder: Path, seed: int, size: int) -> dict[str, dict[str, Any]]:
    frames = _key_frames(seed, size // len(CAMERA_ORDER))
    train, test = _split_scenes(frames)
    data = folder / "DriveLM" / "data"
    _draw_frames(data / "nuscenes" / "samples", frames)
    count = 0
    for name, part, challenge in (("v1_1_train_nus.json", train, False), ("test.json", test, True)):
        document, number = _drivelm(part, seed, challenge=challenge)
        _write_json(data / "QA_dataset_nus" / name, document)
        count += 0 if challenge else number
    for split, part in (("train", train), ("val", test)):
        _write_json(data / "nuscenes" / f"nuscenes_infos_{split}_mono3d.coco.json", _coco(part, seed))
    pictures = len(frames) * len(CAMERA_ORDER)
    asked = sum(_boxed_questions(frame) for frame in frames)
    return {
        "drivelm": {"path": "DriveLM", "task": "drivelm", "pictures": len(train) * len(CAMERA_ORDER), "questions": count},
        "nuscenes": {"path": "DriveLM/data/nuscenes", "task": "nuscenes", "pictures": pictures, "questions": asked},
    }


def _boxed_questions(frame: KeyFrame) -> int:
    """How many questions the nuscenes task asks about a frame: for each class where, its boxes, and twice whether and how many.

    Nothing is asked about cameras that do not show it where all six do.
    """
    shown = {camera: {thing.name for thing in view.things} for camera, view in frame.views.items()}
    names = {name for found in shown.values() for name in found} & set(NUSCENES_CLASSES)
    return sum(4 + 2 * any(name not in found for found in shown.values()) for name in names)


def _write_bdd(folder: Path, seed: int, count: int) -> dict[str, Any]:
    count_asked = 0
    across, down = (ours / theirs for ours, theirs in zip(BDD_SIZE, streets.VIEW_SIZE, strict=True))
    for split, numbers in (("train", range(count - max(1, count // 4))), ("val", range(count - max(1, count // 4), count))):
        place = folder / "images" / "100k" / split
        place.mkdir(parents=True)
        frames = []
        for number in numbers:
            draws = Draws(seed, "sample/driving/bdd", number)
            names = tuple(
                draws.pick(("car", "truck", "bus", "pedestrian", "traffic_light")) for _ in range(draws.integer(1, 4))
            )
            timeofday, weather = draws.pick(tuple(streets.SKIES)), draws.pick(("clear", "rainy", "snowy"))
            view = streets.make_view(draws, names, timeofday, weather)
            name = f"generated-{seed}-{number:06d}.jpg"
            streets.draw_view(view, BDD_SIZE).save(place / name, format="JPEG", quality=88)
            labels: list[dict[str, Any]] = []
            for thing in view.things:
                x1, y1, x2, y2 = thing.box_px
                box = {"x1": x1 * across, "y1": y1 * down, "x2": x2 * across, "y2": y2 * down}
                attributes = {"occluded": False, "truncated": False, "trafficLightColor": "none"}
                category = BDD_NAMES.get(thing.name, thing.name)
                labels.append({"id": str(len(labels)), "category": category, "attributes": attributes, "box2d": box})
            ahead = [[496.0, 304.0], [784.0, 304.0], [1280.0, 640.0], [1280.0, 720.0], [0.0, 720.0], [0.0, 640.0]]
            area = [{"vertices": ahead, "types": "LLLLLL", "closed": True}]
            labels.append({"id": str(len(labels)), "category": "drivable area", "attributes": {}, "poly2d": area})
            count_asked += len({thing.name for thing in view.things}) + 3  # where each is, and weather, place and hour
            attributes = {"weather": weather, "scene": "city street", "timeofday": timeofday}
            frames.append({"name": name, "videoName": name[:-4], "frameIndex": 0, "attributes": attributes, "labels": labels})
        _write_json(folder / "labels" / "det_20" / f"det_{split}.json", frames)
    return {"path": folder.name, "task": "bdd", "pictures": count, "questions": count_asked}


# What a clip shows: (what the vehicle does, why, its speed, its turning angle).
_CLIPS = {
    "stops": ("The car slows down to a stop.", "Since the light ahead is red.", 0.0, 0.0),
    "drives": ("The car drives forward.", "Since the light ahead is green.", 8.0, 0.0),
    "turns left": ("The car turns left.", "Because the road ahead is closed by a barrier.", 3.5, -20.0),
    "turns right": ("The car turns right.", "Because the road ahead is closed by a barrier.", 3.5, 20.0),
}
_ASKED = (
    "<video>\nWhat is the current action of this vehicle?",
    "Why does this vehicle behave in this way?",
    "Predict the speed of the vehicle in the next frame in m/s.",
    "Predict the turning angle of the vehicle in the next frame in degrees.",
)


def _clip_view(kind: str, step: int, ground: int) -> streets.View:
    """What a frame of a clip shows: marks that pass by while the vehicle moves, things that slide while it turns."""
    draws = Draws(ground, "sample/driving/clip", kind)
    name = "barrier" if kind.startswith("turns") else "traffic_light"
    thing = streets.make_thing(name, 1, draws)
    slide = {"turns left": 60, "turns right": -40}.get(kind, 0) * step
    x1, y1, x2, y2 = thing.box_px
    left = min(max(x1 + slide, 0), streets.VIEW_SIZE[0] - (x2 - x1))
    moved = (left, y1, left + x2 - x1, y2)
    colour = {"stops": "red", "drives": "green"}.get(kind, thing.colour)
    pace = {"stops": 0.9 / (step + 1), "drives": 0.7}.get(kind, 0.4)
    return streets.View((dataclasses.replace(thing, box_px=moved, colour=colour),), shift=step * pace, ground=ground)


def _write_bddx(folder: Path, seed: int, count: int) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for number in range(count):
        draws = Draws(seed, "sample/driving/bddx", number)
        kind = draws.pick(tuple(_CLIPS))
        clip = f"clips/generated-{seed}-{number:04d}"
        (folder / clip).mkdir(parents=True)
        ground = draws.integer(0, 10**6)
        for step in range(CLIP_FRAMES):
            picture = streets.draw_view(_clip_view(kind, step, ground), CLIP_SIZE)
            picture.save(folder / clip / f"{step}.jpg", format="JPEG", quality=88)
        what, why, speed, angle = _CLIPS[kind]
        answers = (what, why, f"{speed + draws.between(0, 1):.2f}", f"{angle + draws.between(-1, 1):.2f}")
        turns = [
            {"from": role, "value": text}
            for pair in zip(_ASKED, answers, strict=True)
            for role, text in zip(("human", "gpt"), pair, strict=True)
        ]
        rows.append({"id": f"generated-{seed}-{number:04d}", "video": clip, "conversations": turns})
    test = max(1, count // 4)
    _write_json(folder / "BDD_X_training.json", rows[:-test])
    _write_json(folder / "BDD_X_testing.json", rows[-test:])
    return {"path": folder.name, "task": "bddx", "pictures": count * CLIP_FRAMES, "questions": count * len(_ASKED)}


def write_sample(folder: Path, *, seed: int = 0, size: int = DEFAULT_SIZE) -> dict[str, Any]:
    """Write ``size`` pictures of six cameras, and fewer front pictures and clips, the same bytes for the same seed and size.

    Returns {dataset: {path (relative to folder), task, pictures, questions}}. Raises UsageError for a size below 12.
    """
    if size < LEAST_SIZE:
        raise UsageError(f"--size {size}: the driving sample needs at least {LEAST_SIZE}, two key frames of six cameras")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.txt").write_text(_README.format(seed=seed, size=size), encoding="utf-8")
    written = _write_six_cameras(folder, seed, size)
    written["bdd"] = _write_bdd(folder / "bdd100k", seed, max(2, size // 2))
    written["bddx"] = _write_bddx(folder / "bddx", seed, max(2, size // 12))
    return written
