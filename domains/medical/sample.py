"""A generated medical set in four native layouts: drawn blood smears with boxes, questions in two languages, and single cells.

| folder | layout of | source of the layout |
|---|---|---|
| ``BCCD`` | Pascal VOC: ``Annotations/*.xml``, ``JPEGImages``, ``ImageSets/Main`` | github.com/Shenggan/BCCD_Dataset |
| ``vqa_rad`` | VQA-RAD's re-split: ``trainset.json``, ``testset.json``, ``images`` | github.com/Awenbocc/med-vqa |
| ``Slake1.0`` | ``{train,validate,test}.json``, ``imgs/xmlab<n>/{source.jpg,mask.png,detection.json}`` | arXiv 2102.09542 |
| ``bloodmnist`` | ``bloodmnist.npz`` | github.com/MedMNIST/MedMNIST |

The first three show the same smears, and every answer follows from them; unlike VQA-RAD's, test pictures are not in train.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adapt.errors import UsageError
from domains.draws import Draws
from domains.medical import cells
from domains.medical.cells import PLATELET, RED, Smear

DEFAULT_SIZE = 600
LEAST_SIZE = 16
SPLIT_SHARES = {"test": 0.2, "val": 0.1}
SLAKE_FILES = {"train": "train", "val": "validate", "test": "test"}
VOC_NAMES = {RED: "RBC", PLATELET: "Platelets"}  # all white cells are WBC
MASK_VALUES = {"RBC": 80, "WBC": 160, "Platelets": 240}
CHINESE = {
    "basophil": "嗜碱性粒细胞",
    "eosinophil": "嗜酸性粒细胞",
    "lymphocyte": "淋巴细胞",
    "monocyte": "单核细胞",
    "neutrophil": "中性粒细胞",
    "white cell": "白细胞",
    RED: "红细胞",
    PLATELET: "血小板",
}
_README = """Generated pictures and questions, not real data, and of no medical use.
Made by 'adapt sample --domain medical' with seed {seed} and size {size}.
BCCD/        blood smears with the boxes of their cells, Pascal VOC
vqa_rad/     questions about these smears in the layout of VQA-RAD's re-split
Slake1.0/    questions in English and Chinese, boxes and masks in SLAKE's layout
bloodmnist/  single cells of eight kinds in MedMNIST's file
"""


@dataclasses.dataclass(frozen=True)
class Question:
    """A question with its answer; ``type`` as VQA-RAD names them, ``closed`` where a few answers are possible."""

    type: str
    closed: bool
    text: str
    answer: str | int


def voc_name(kind: str) -> str:
    """What BCCD calls a kind of cell."""
    return VOC_NAMES.get(kind, "WBC")


def count_cells(smear: Smear) -> dict[str, int]:
    """How many red cells, platelets, white cells and white cells of each kind a smear has."""
    kinds = [cell.kind for cell in smear.cells]
    counts = {name: kinds.count(name) for name in (RED, PLATELET, *cells.WHITE_KINDS)}
    return counts | {"white cell": sum(cell.is_white for cell in smear.cells)}


def _yes_no(holds: bool) -> str:
    return "Yes" if holds else "No"


def ask(smear: Smear, draws: Draws) -> list[Question]:
    """Nine or ten questions: how many, is there, more or fewer, and which kind where there is one white cell."""
    counts = count_cells(smear)
    asked = [
        Question("COUNT", False, draws.pick((f"how many {name}s are there?", f"what is the number of {name}s?")), counts[name])
        for name in (RED, PLATELET, "white cell")
    ]
    there = [name for name in cells.WHITE_KINDS if counts[name]]
    absent = draws.shuffled([name for name in cells.WHITE_KINDS if not counts[name]])
    present = (draws.pick(there),) if there and draws.chance(0.6) else ()
    for name in ("white cell", PLATELET, *(present or absent[:1]), absent[1]):
        article = "an" if name[0] in "ae" else "a"
        form = draws.pick((f"is there {article} {name}?", f"is {article} {name} present?"))
        asked.append(Question("PRES", True, form, _yes_no(counts[name] > 0)))
    limit = draws.integer(2, 6)
    asked.append(Question("COUNT", True, f"are there more than {limit} red cells?", _yes_no(counts[RED] > limit)))
    if counts[PLATELET] != counts[RED]:
        answer = "red cells" if counts[RED] > counts[PLATELET] else "platelets"
        asked.append(Question("SIZE", True, "are there more red cells or more platelets?", answer))
    if counts["white cell"] == 1:
        form = draws.pick(("what kind of white cell is this?", "which white cell is shown?"))
        asked.append(Question("ABN", False, form, there[0]))
    return draws.shuffled(asked)


def ask_in_both(smear: Smear, draws: Draws) -> list[tuple[str, Question]]:
    """(language, question): the same four or five questions in English and in Chinese."""
    counts = count_cells(smear)
    name, kind = draws.pick(("white cell", PLATELET, RED)), draws.pick(cells.WHITE_KINDS)
    asked = [
        ("en", Question("Quantity", False, f"How many {name}s are in the image?", str(counts[name]))),
        ("zh", Question("Quantity", False, f"图中有几个{CHINESE[name]}?", str(counts[name]))),
        ("en", Question("Modality", False, "What modality is used to take this image?", "Microscopy")),
        ("zh", Question("Modality", False, "这张图片的成像方式是什么?", "显微镜")),
    ]
    for thing in (name, kind):
        asked.append(("en", Question("Organ", True, f"Does the picture contain a {thing}?", _yes_no(counts[thing] > 0))))
        asked.append(("zh", Question("Organ", True, f"图中有{CHINESE[thing]}吗?", "有" if counts[thing] else "没有")))
    if counts["white cell"] == 1:
        there = next(cell.kind for cell in smear.cells if cell.is_white)
        asked.append(("en", Question("KG", False, "Which kind of white cell is in the image?", there)))
        asked.append(("zh", Question("KG", False, "图中的白细胞是哪一种?", CHINESE[there])))
    return asked


def _splits(size: int, seed: int) -> dict[str, list[int]]:
    """Split -> the numbers of its smears, in order."""
    order, start, splits = Draws(seed, "sample/medical/splits", 0).shuffled(range(size)), 0, {}
    for name, share in SPLIT_SHARES.items():
        count = max(1, round(size * share))
        splits[name], start = sorted(order[start : start + count]), start + count
    return {"train": sorted(order[start:])} | splits


def _write_voc(folder: Path, smears: Sequence[Smear], splits: dict[str, list[int]]) -> None:
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for number, smear in enumerate(smears):
        stem = f"BloodImage_{number:05}"
        _save_jpeg(smear.picture, folder / "JPEGImages" / f"{stem}.jpg")
        (folder / "Annotations" / f"{stem}.xml").write_text(voc_text(smear, stem), encoding="utf-8")
    lists = splits | {"trainval": sorted(splits["train"] + splits["val"])}
    for name, members in lists.items():
        text = "".join(f"BloodImage_{number:05}\n" for number in members)
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text(text, encoding="utf-8")


def voc_text(smear: Smear, stem: str) -> str:
    """A smear's annotation: whole pixels counted from 1, both ends included."""
    objects = []
    for cell in smear.cells:
        x1, y1, x2, y2 = cell.box_px
        corners = {"xmin": math.floor(x1) + 1, "ymin": math.floor(y1) + 1, "xmax": math.ceil(x2), "ymax": math.ceil(y2)}
        box = "".join(f"\n\t\t\t<{name}>{value}</{name}>" for name, value in corners.items())
        objects.append(
            f"\t<object>\n\t\t<name>{voc_name(cell.kind)}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>"
            f"\n\t\t<difficult>0</difficult>\n\t\t<bndbox>{box}\n\t\t</bndbox>\n\t</object>\n"
        )
    width, height = smear.picture.size
    size = f"<width>{width}</width>\n\t\t<height>{height}</height>\n\t\t<depth>3</depth>"
    return (
        f"<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>{stem}.jpg</filename>\n\t<size>\n\t\t{size}\n\t</size>\n"
        f"\t<segmented>0</segmented>\n{''.join(objects)}</annotation>\n"
    )


def _write_vqa(folder: Path, smears: Sequence[Smear], splits: dict[str, list[int]], seed: int) -> int:
    (folder / "images").mkdir(parents=True)
    rows: dict[str, list[dict[str, Any]]] = {"trainset": [], "testset": []}
    number_of_row = 0
    for number, smear in enumerate(smears):
        name = f"synpic{number:05}.jpg"
        _save_jpeg(smear.picture, folder / "images" / name)
        for asked in ask(smear, Draws(seed, "sample/medical/vqa_rad", number)):
            number_of_row += 1
            fields = {"image_name": name, "image_organ": "BLOOD", "answer": asked.answer}
            kinds = {"answer_type": "CLOSED" if asked.closed else "OPEN", "question_type": asked.type}
            row = {"qid": number_of_row, **fields, **kinds, "question": asked.text, "phrase_type": "freeform"}
            rows["testset" if number in splits["test"] else "trainset"].append(row)
    for stem, found in rows.items():
        (folder / f"{stem}.json").write_text(json.dumps(found), encoding="utf-8")
    return number_of_row


def _write_slake(folder: Path, smears: Sequence[Smear], splits: dict[str, list[int]], seed: int) -> int:
    rows: dict[int, list[dict[str, Any]]] = {}
    qid = 0
    for number, smear in enumerate(smears):
        place = folder / "imgs" / f"xmlab{number}"
        place.mkdir(parents=True)
        _save_jpeg(smear.picture, place / "source.jpg")
        mask_of(smear).save(place / "mask.png", format="PNG")
        (place / "detection.json").write_text(json.dumps(detections_of(smear)), encoding="utf-8")
        rows[number] = []
        for language, asked in ask_in_both(smear, Draws(seed, "sample/medical/slake", number)):
            picture_fields = {"img_id": number, "img_name": f"xmlab{number}/source.jpg"}
            text = {"question": asked.text, "answer": asked.answer, "q_lang": language, "location": "Blood"}
            kinds = {"modality": "Microscopy", "answer_type": "CLOSED" if asked.closed else "OPEN", "base_type": "vqa"}
            details = {"triple": ["vhead", "_", "_"], "qid": qid, "content_type": asked.type}
            rows[number].append(picture_fields | text | kinds | details)
            qid += 1
    for split, stem in SLAKE_FILES.items():
        found = [row for number in splits[split] for row in rows[number]]
        (folder / f"{stem}.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    return qid


def detections_of(smear: Smear) -> list[dict[str, list[float]]]:
    """SLAKE's marks: one {name: [x, y, width, height]} a cell."""
    found = []
    for cell in smear.cells:
        x1, y1, x2, y2 = cell.box_px
        found.append({voc_name(cell.kind): [x1, y1, x2 - x1, y2 - y1]})
    return found


def mask_of(smear: Smear) -> Image.Image:
    """A grey picture with one value for each kind of cell."""
    values = np.array([0] + [MASK_VALUES[voc_name(cell.kind)] for cell in smear.cells], np.uint8)
    return Image.fromarray(values[smear.places_HW])


def _save_jpeg(picture: Image.Image, path: Path) -> None:
    picture.save(path, format="JPEG", quality=92, subsampling=0)


def _write_medmnist(folder: Path, seed: int, size: int) -> int:
    """``bloodmnist.npz`` with as many cells of each of its eight kinds."""
    folder.mkdir(parents=True)
    kinds = (*cells.LOOKS, PLATELET)  # in the order of BloodMNIST's numbers
    each = size // len(kinds)
    counts = {"test": max(1, round(each * SPLIT_SHARES["test"])), "val": round(each * SPLIT_SHARES["val"])}
    starts = {"test": range(counts["test"]), "val": range(counts["test"], sum(counts.values()))}
    arrays: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        numbers = starts.get(split, range(sum(counts.values()), each))
        if not numbers:
            continue
        cases = Draws(seed, "sample/medical/bloodmnist", split).shuffled([(kind, n) for kind in kinds for n in numbers])
        pictures = [cells.draw_single(kind, Draws(seed, f"sample/bloodmnist/{kind}", number)) for kind, number in cases]
        arrays[f"{split}_images"] = np.stack([np.asarray(picture) for picture in pictures])
        arrays[f"{split}_labels"] = np.array([[kinds.index(kind)] for kind, _ in cases], np.uint8)
    np.savez_compressed(folder / "bloodmnist.npz", **arrays)
    return each * len(kinds)


def write_sample(folder: Path, *, seed: int = 0, size: int = DEFAULT_SIZE) -> dict[str, Any]:
    """Write about ``size`` pictures of each dataset under ``folder``, the same bytes for the same seed and size.

    Returns {dataset: {path (relative to folder), task, pictures, questions}}; of BCCD's cells it is asked what each one is, and
    of each kind in a picture where and how many. Raises UsageError for a size below 16.
    """
    if size < LEAST_SIZE:
        raise UsageError(f"--size {size}: the medical sample needs at least {LEAST_SIZE}, two pictures of each kind of cell")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.txt").write_text(_README.format(seed=seed, size=size), encoding="utf-8")
    smears = [cells.compose(Draws(seed, "sample/medical/smears", number)) for number in range(size)]
    splits = _splits(size, seed)
    boxed = sum(len(smear.cells) + 2 * len({voc_name(cell.kind) for cell in smear.cells}) for smear in smears)
    _write_voc(folder / "BCCD", smears, splits)
    asked = _write_vqa(folder / "vqa_rad", smears, splits, seed)
    asked_in_both = _write_slake(folder / "Slake1.0", smears, splits, seed)
    single = _write_medmnist(folder / "bloodmnist", seed, size)
    return {
        "bccd": {"path": "BCCD", "task": "medground", "pictures": size, "questions": boxed},
        "vqa_rad": {"path": "vqa_rad", "task": "vqarad", "pictures": size, "questions": asked},
        "slake": {"path": "Slake1.0", "task": "slake", "pictures": size, "questions": asked_in_both},
        "bloodmnist": {"path": "bloodmnist", "task": "medmnist", "pictures": single, "questions": single},
    }
