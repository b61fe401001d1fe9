"""DriveLM's questions about a drawn key frame, in the wording of the real set, with the answers that the drawing gives.

Wording: ``challenge/data/train_sample.json`` of github.com/OpenDriveLab/DriveLM. Which questions the challenge asks, and with
which tags, follows ``challenge/extract_data.py``: each is made here with its tag, so that a file of either kind can be written.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from domains.draws import Draws
from domains.driving.streets import VEHICLES, Thing, View

Frame = Mapping[str, View]  # by camera
MOST_KEY_OBJECTS = 4
STATUSES = {True: "Stopped.", False: "Going ahead."}


@dataclasses.dataclass(frozen=True)
class Key:
    """An object that questions are about: its tag, the camera that sees it, and what it is."""

    tag: str
    camera: str
    thing: Thing

    @property
    def look(self) -> str:
        """``Red car.``, ``Green light.``, ``Traffic cone.``"""
        if self.thing.name in ("traffic_cone", "barrier"):
            return self.thing.name.replace("_", " ").capitalize() + "."
        return f"{self.thing.colour} {self.thing.name.removeprefix('traffic_')}.".capitalize()

    @property
    def info(self) -> dict[str, Any]:
        """What ``key_object_infos`` holds under the tag."""
        category = "Vehicle" if self.thing.name in VEHICLES else "Pedestrian" if self.thing.name == "pedestrian" else None
        status = ("Stationary" if self.thing.braking else "Moving") if category == "Vehicle" else None
        box = [round(float(value), 1) for value in self.thing.box_px]
        found = {"Category": category or "Traffic element", "Status": status, "Visual_description": self.look}
        return found | {"2d_bbox": box}


@dataclasses.dataclass(frozen=True)
class Asked:
    """A question of one of the four kinds. ``tags`` are the challenge's; it does not ask those without."""

    kind: str
    question: str
    answer: str
    tags: tuple[int, ...] = ()


def key_objects(frame: Frame, draws: Draws) -> list[Key]:
    """At most MOST_KEY_OBJECTS things of a frame, those in front first."""
    seen = [(camera, thing) for camera, view in frame.items() for thing in view.things]
    order = sorted(draws.shuffled(seen), key=lambda each: each[0] != "CAM_FRONT")
    keys = []
    for number, (camera, thing) in enumerate(order[:MOST_KEY_OBJECTS], start=1):
        x, y = thing.centre
        keys.append(Key(f"<c{number},{camera},{x:.1f},{y:.1f}>", camera, thing))
    return keys


def side_of(camera: str) -> str:
    """``CAM_FRONT_LEFT`` -> ``front left``."""
    return camera.removeprefix("CAM_").replace("_", " ").lower()


def ask(frame: Frame, keys: Sequence[Key], draws: Draws) -> list[Asked]:
    """The questions of a frame, kind after kind in the set's order."""
    return [*_perception(frame, keys, draws), *_prediction(keys), *_planning(keys), _behaviour(frame)]


def _joined(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b, and c``."""
    if len(parts) < 3:
        return " and ".join(parts)
    return ", ".join(parts[:-1]) + f", and {parts[-1]}"


def _perception(frame: Frame, keys: Sequence[Key], draws: Draws) -> list[Asked]:
    seen = [f"a {key.look[:-1].lower()} to the {side_of(key.camera)} of the ego vehicle" for key in keys]
    listed = f"There is {_joined(seen)}. The IDs of these objects are {_joined([key.tag for key in keys])}."
    text = "What are the important objects in the current scene? Those objects will be considered for the future reasoning and "
    found = [Asked("perception", text + "driving decision.", listed, (2,))]
    vehicles = [key for key in keys if key.thing.name in VEHICLES]
    for number, key in enumerate(vehicles):
        status = STATUSES[key.thing.braking]
        found.append(
            Asked("perception", f"What is the moving status of object {key.tag}?", status, (0,) if number == 0 else ())
        )
    found += [Asked("perception", f"What is the visual description of {key.tag}?", key.look) for key in keys]
    camera = draws.pick(tuple(frame))
    things = [thing.name.replace("_", " ") for thing in frame[camera].things]
    name = draws.pick(("pedestrian", "car", "traffic cone", "bus"))
    question = f"Are there {name}{'es' if name == 'bus' else 's'} to the {side_of(camera)} of the ego car?"
    return [*found, Asked("perception", question, "Yes." if name in things else "No.")]


def _prediction(keys: Sequence[Key]) -> list[Asked]:
    ordinals = ("first", "second", "third")
    text = " ".join(
        f"What object should the ego vehicle notice {ordinal} when the ego vehicle is getting to the next possible location?"
        for ordinal in ordinals
    )
    words = ("Firstly", "Secondly", "Thirdly", "Lastly")
    notice = " ".join(f"{word}, notice that {key.tag}. {_advice(key)}" for word, key in zip(words, keys, strict=False))
    found = []
    for number, key in enumerate(keys):
        is_sign = key.thing.name in ("traffic_light", "barrier", "traffic_cone")
        question = f"Is {key.tag} a traffic sign or a road barrier?"
        found.append(Asked("prediction", question, "Yes." if is_sign else "No.", (0,) if number == 0 else ()))
    return [*found, Asked("prediction", text, notice, (3,))]


def _advice(key: Key) -> str:
    if key.thing.name == "traffic_light":
        action = "stop" if key.thing.colour == "red" else "keep going ahead at the same speed"
        return f"The object is a traffic sign, so the ego vehicle should {action}."
    if key.thing.name in VEHICLES and not key.thing.braking:
        return "The object is going ahead, so the ego vehicle should keep going ahead at the same speed."
    return "The object is stationary, so the ego vehicle should slow down."


def _planning(keys: Sequence[Key]) -> list[Asked]:
    found = []
    for number, key in enumerate(keys):
        tags = (1,) if number == 0 else ()
        advice = _advice(key).rpartition("should ")[2].removesuffix(".")
        ahead = key.camera == "CAM_FRONT"
        actions = f"The action is to {advice}. The reason is to follow the traffic rules, which has a high probability."
        collision = "Accelerating and going straight" if ahead else "No such action"
        question = (
            f"What actions could the ego vehicle take based on {key.tag}? Why take this action and what's the probability?"
        )
        found.append(Asked("planning", question, actions, tags))
        question = f"What actions taken by the ego vehicle can lead to a collision with {key.tag}?"
        found.append(Asked("planning", question, f"{collision} can lead to a collision with {key.tag}.", tags))
    safe = "Brake gently to a stop." if any(key.camera == "CAM_FRONT" for key in keys) else "Keep going at the same speed."
    return [*found, Asked("planning", "In this scenario, what are safe actions to take for the ego vehicle?", safe, (1,))]


def _behaviour(frame: Frame) -> Asked:
    things = frame["CAM_FRONT"].things
    lights = [thing.colour for thing in things if thing.name == "traffic_light"]
    if "red" in lights or any(thing.name == "pedestrian" for thing in things):
        speed = "not moving"
    else:
        speed = "driving slowly" if things and not lights else "driving with normal speed"
    answer = f"The ego vehicle is going straight. The ego vehicle is {speed}."
    return Asked("behavior", "Predict the behavior of the ego vehicle.", answer, (0,))
