"""A tiny set in the native layout of each task, for tests that damage it: name -> (task, options, builder).

A builder fills a folder and returns the path of the input below it ("" for the folder itself).
"""

import csv
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import native_boxes
import numpy as np
import tifffile
from PIL import Image

from adapt.verbs import sample

Builder = Callable[[Path], str]


def picture(path: Path, *, size: tuple[int, int] = (40, 32), seed: int = 0) -> None:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)


def of_sample(domain: str, below: str) -> Builder:
    """One data set of what ``adapt sample`` writes for a field."""

    def build(folder: Path) -> str:
        sample(domain=domain, output=folder / "all", size=16)
        (folder / "all" / below).rename(folder / "set")
        for left in sorted((folder / "all").rglob("*"), reverse=True):
            left.rmdir() if left.is_dir() else left.unlink()
        (folder / "all").rmdir()
        return "set"

    return build


def vqa_table(folder: Path) -> str:
    """A CSV of questions beside its pictures."""
    with open(folder / "questions.csv", "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "question", "answer", "split"])
        for number in range(4):
            picture(folder / f"pictures/{number}.png", seed=number)
            writer.writerow([f"pictures/{number}.png", f"What is on picture {number}?", "noise", "train"])
    return "questions.csv"


def class_columns(folder: Path) -> str:
    """CSVs with a column for each class, one in the folder of each split, as Roboflow writes them, and an empty cell."""
    for split, cells in (("train", ("1, 0, 0", "0, 1, 1")), ("valid", ("0, 0, 0", "1, , 0"))):
        for number in range(2):
            picture(folder / split / f"{number}.png", seed=number + len(split))
        text = "".join(f"{number}.png, {each}\n" for number, each in enumerate(cells))
        (folder / split / "_classes.csv").write_text(f"filename, Cat, Dog, Fox\n{text}")
    return ""


def chats(folder: Path) -> str:
    """LLaVA rows, with and without a picture."""
    rows = []
    for number in range(4):
        picture(folder / f"{number}.png", seed=number)
        turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "Noise."}]
        rows.append({"id": f"chat-{number}", "image": f"{number}.png", "conversations": turns})
    turns = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good day."}]
    (folder / "chats.json").write_text(json.dumps([*rows, {"id": "text", "conversations": turns}], indent=1))
    return "chats.json"


def openai_lines(folder: Path) -> str:
    """OpenAI messages, one conversation a line."""
    lines = []
    for number in range(3):
        picture(folder / f"{number}.png", seed=number)
        content = [{"type": "image_url", "image_url": {"url": f"{number}.png"}}, {"type": "text", "text": "What is it?"}]
        lines.append(
            json.dumps({"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "Noise."}]})
        )
    (folder / "chats.jsonl").write_text("\n".join(lines) + "\n")
    return "chats.jsonl"


def class_folders(folder: Path) -> str:
    """Two classes of three pictures each."""
    for number in range(6):
        picture(folder / "set" / ("left", "right")[number % 2] / f"{number}.png", seed=number)
    return "set"


def flat_rsvqa(folder: Path) -> str:
    """RSVQA as one list a split."""
    picture(folder / "set" / "236.png")
    row = {"answer": "yes", "image": "236.tif", "type": "presence", "dataset": "RSVQA-LR"}
    rows = [row | {"question": f"Is there a road, {number}?", "question_id": number} for number in range(4)]
    (folder / "set" / "test_qa.json").write_text(json.dumps(rows))
    return "set"


_BOX = "<bndbox><xmin>4</xmin><ymin>3</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"
_OBJECT = f"<object><name>ship</name><pose>no</pose>{_BOX}<description>a ship</description></object>"
_VOC = (
    "<annotation><filename>{}.jpg</filename><size><width>40</width><height>32</height></size>" + _OBJECT * 2 + "</annotation>"
)
_POINTS = "".join(f"<point>{point}</point>" for point in ("4,3", "30,3", "30,20", "4,20", "4,3"))
_FAIR1M = (
    "<annotation><source><filename>{}.png</filename></source><objects><object><possibleresult><name>Van</name></possibleresult>"
    f"<points>{_POINTS}</points></object></objects></annotation>"
)


def labelled(folder: Path, labels: str, text: str, pictures: str, suffix: str = ".jpg") -> None:
    """Two pictures, each with a file of labels of its own."""
    for stem in ("1", "2"):
        picture(folder / pictures / f"{stem}{suffix}", seed=int(stem))
        path = folder / labels.format(stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{}", stem))


def referring_expressions(folder: Path) -> str:
    """DIOR-RSVG: four objects in two files, and the lists that count them."""
    labelled(folder / "set", "Annotations/{}.xml", _VOC, "JPEGImages")
    for split, numbers in (("train", "0\n3\n"), ("val", "1\n"), ("test", "2\n")):
        (folder / "set" / f"{split}.txt").write_text(numbers)
    return "set"


def turned_boxes(folder: Path) -> str:
    """DOTA: corners in text files."""
    lines = "imagesource:x\ngsd:0.2\n4 3 30 3 30 20 4 20 large-vehicle 0\n1.5 1 9 1 9 9 1.5 9 ship 1\n"
    labelled(folder / "set", "train/labelTxt/{}.txt", lines, "train/images", ".png")
    return "set"


def dior(folder: Path) -> str:
    """DIOR: Pascal VOC with lists of splits."""
    labelled(folder / "set", "Annotations/{}.xml", _VOC, "JPEGImages")
    (folder / "set" / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "set" / "ImageSets" / "Main" / "train.txt").write_text("1\n2\n")
    return "set"


def fair1m(folder: Path) -> str:
    """FAIR1M: rings of points in XML files."""
    labelled(folder / "set", "train/labelXml/{}.xml", _FAIR1M, "train/images", ".png")
    return "set"


def turned_chats(folder: Path) -> str:
    """GeoChat: boxes of hundredths inside conversations."""
    picture(folder / "set" / "a.png")
    talks = (
        ("<image>\n[refer] where is <p>a ship</p>?", "{<10><20><30><40>|<90>}<delim>{<1><2><30><40>}"),
        ("<image>\n[identify] {<10><20><30><40>|<45>}", "<p>a ship</p>"),
        ("<image>\n[grounding] Describe it.", "There is <p>a ship</p> {<10><20><30><40>|<5>} here."),
    )
    rows = [
        {"id": "a", "image": "a.png", "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]}
        for asked, said in talks
    ]
    (folder / "set" / "GeoChat_Instruct.json").write_text(json.dumps(rows))
    return "set"


def street_frames(folder: Path) -> str:
    """BDD100K: a box and an outline with a curve."""
    picture(folder / "set" / "a.jpg")
    outline = {"vertices": [[4, 3], [30, 3], [35, 9], [35, 12], [30, 20]], "types": "LLCCL", "closed": True}
    labels = [
        {"id": "1", "category": "car", "box2d": {"x1": 4, "y1": 3, "x2": 30, "y2": 20}, "attributes": {"crowd": False}},
        {"id": "2", "category": "bus", "poly2d": [outline]},
    ]
    frames = [{"name": "a.jpg", "attributes": {"weather": "clear", "scene": "tunnel"}, "labels": labels}]
    (folder / "set" / "det_val.json").write_text(json.dumps(frames))
    return "set"


def rig_rows(folder: Path) -> str:
    """Questions about two views of one moment, a JSON object a line."""
    lines = []
    for number in range(4):
        for name in ("left", "right"):
            picture(folder / name / f"{number // 2}.png", seed=number)
        views = {name.upper(): f"{name}/{number // 2}.png" for name in ("left", "right")}
        lines.append(json.dumps({"views": views, "question": f"What is it, {number}?", "answer": "Noise."}))
    (folder / "rig.jsonl").write_text("\n".join(lines) + "\n")
    return "rig.jsonl"


def choices(folder: Path) -> str:
    """PMC-VQA's first version: a CSV with four choices a row."""
    picture(folder / "images" / "PMC1.jpg")
    row = {"Figure_path": "PMC1.jpg", "Question": "What is shown?", "Answer": "b"}
    row |= {f"Choice {letter}": f" {letter}:{letter.lower()} " for letter in "ABCD"} | {"Answer_label": "B"}
    with open(folder / "train.csv", "w", newline="") as handle:
        writer = csv.DictWriter(handle, list(row))
        writer.writeheader()
        writer.writerows([row] * 4)
    return ""


def street_choices(folder: Path) -> str:
    """MME-RealWorld: a list of questions of two subtasks, with lettered choices."""
    picture(folder / "set" / "data" / "a.png")
    row = {
        "Question_id": "Perception/Autonomous_Driving/Objects_Identify/0", "Image": "a.png", "Text": "What is in front?",
        "Question Type": "Multiple Choice", "Answer choices": ["(A) A car", "(B) A bus", "(C) Nothing"], "Ground truth": "B",
        "Category": "Objects_Identify", "Task": "Perception", "Subtask": "Autonomous_Driving",
    }  # fmt: skip
    rows = [row | {"Question_id": f"Perception/Autonomous_Driving/Objects_Identify/{number}"} for number in range(4)]
    (folder / "set" / "MME_RealWorld.json").write_text(json.dumps([*rows, row | {"Subtask": "Monitoring"}]))
    return "set"


def pickled(form: str) -> Builder:
    """PathVQA's pickles in one of its two forms."""

    def build(folder: Path) -> str:
        picture(folder / "pvqa" / "images" / "train" / "train_1.jpg")
        if form == "qa":
            path, row = "train/train_qa.pkl", {"image": "train_1", "question": "what is it?", "answer": "a cell"}
        else:
            row = {"img_id": "train_1", "sent": "is it?", "label": {"yes": 1}, "question_type": "is", "answer_type": "yes/no"}
            path = "train_vqa.pkl"
        (folder / "pvqa" / "qas" / path).parent.mkdir(parents=True)
        (folder / "pvqa" / "qas" / path).write_bytes(pickle.dumps([dict(row) for _ in range(4)], 2))
        return "pvqa"

    return build


def labelled_masks(folder: Path) -> str:
    """COCO: an object by its run lengths, one by its outline, in one picture."""
    picture(folder / "set" / "a.png")
    objects = [
        {"bbox": [0, 0, 4, 2], "segmentation": {"size": [32, 40], "counts": "02n000000PT1"}},  # 4 columns of 2
        {"bbox": [5, 5, 20, 20], "segmentation": [[5, 5, 25, 5, 5, 25]]},
    ]
    annotations = [
        {"id": number, "image_id": 1, "category_id": 1, "area": 8, "iscrowd": 0} | each
        for number, each in enumerate(objects, 1)
    ]
    images = [{"id": 1, "file_name": "a.png", "width": 40, "height": 32}]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (folder / "set" / "coco.json").write_text(json.dumps(document, indent=1))
    return "set"


def deep_pictures(folder: Path) -> str:
    """Class folders with 16 bits of grey and of many bands."""
    values = np.arange(96, dtype=np.uint16).reshape(8, 12) * 500
    for name in ("a", "b"):
        (folder / "set" / name).mkdir(parents=True)
        Image.fromarray(values).save(folder / "set" / name / "1.png")
        bands = np.stack([values, values // 3, values // 7, values // 9], 2)
        tifffile.imwrite(folder / "set" / name / "2.tif", bands, photometric="minisblack", planarconfig="contig")
    return "set"


def drawn(kind: str) -> Builder:
    """Boxes in one of the formats that ``ground``, ``detect``, ``count`` and ``region`` take."""

    def build(folder: Path) -> str:
        return native_boxes.write(kind, folder).relative_to(folder).as_posix()

    return build


def embedded_boxes(folder: Path) -> str:
    """A Parquet file of pictures with lists of boxes and numbered classes."""
    import datasets

    contents = []
    for number in range(3):
        picture(folder / "a.png", seed=number)
        contents.append((folder / "a.png").read_bytes())
    (folder / "a.png").unlink()
    objects = [{"bbox": [[20.0, 10, 8, 6], [1, 2, 30, 20]][:count], "category": [0, 1][:count]} for count in (2, 0, 1)]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "objects": {
                "bbox": datasets.List(datasets.List(datasets.Value("float32"))),
                "category": datasets.List(datasets.ClassLabel(names=["cat", "dog"])),
            },
        }
    )
    rows = [
        {"image": {"bytes": content, "path": None}, "objects": each} for content, each in zip(contents, objects, strict=True)
    ]
    datasets.Dataset.from_list(rows, features=features).to_parquet(folder / "train.parquet")
    return "train.parquet"


def panoptic(folder: Path) -> str:
    """COCO's panoptic form: segments by the colours of a mask."""
    return native_boxes.write_panoptic(folder).relative_to(folder).as_posix()


def caption_questions(folder: Path) -> str:
    """COCO-QA: four parallel files a split."""
    for split, below in (("train", "train2014"), ("test", "val2014")):
        lines = {"questions": [], "answers": [], "img_ids": [], "types": []}
        for number in range(1, 4):
            picture(folder / "set" / "images" / below / f"COCO_{below}_{number:012d}.jpg", seed=number)
            row = (f"what is on picture {number}", "noise", str(number), str(number % 4))
            for column, value in zip(lines.values(), row, strict=True):
                column.append(value)
        for name, column in lines.items():
            path = folder / "set" / "cocoqa-2015-05-17" / split / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(column) + "\n")
    return "set"


def clips(folder: Path) -> str:
    """Questions about two clips, one a folder of frames and one a list of them, a JSON object a line."""
    for number in range(6):
        picture(folder / "one" / f"{number}.png", seed=number)
    rows = [
        {"video": "one", "question": "What moves?", "answer": "noise"},
        {"video": ["one/3.png", "one/1.png", "one/5.png"], "question": "And here?", "answer": "nothing"},
    ]
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 2))
    return "clips.jsonl"


SETS: dict[str, tuple[str, dict[str, str], Builder]] = {
    "classify": ("classify", {}, class_folders),
    "classify columns": ("classify", {"image": "filename", "label_columns": "Cat..Fox"}, class_columns),
    "vqa": ("vqa", {}, vqa_table),
    "chat llava": ("chat", {}, chats),
    "chat openai": ("chat", {}, openai_lines),
    "region": ("region", {"form": "drawn", "mark": "mask"}, labelled_masks),
    "rsregion": ("rsregion", {"form": "drawn", "mark": "contour"}, fair1m),
    "classify deep": ("classify", {"stretch": "2,98", "bands": "1", "upright": "yes"}, deep_pictures),
    "rsvqa": ("rsvqa", {}, of_sample("remote_sensing", "RSVQA-LR")),
    "rsvqa flat": ("rsvqa", {}, flat_rsvqa),
    "rsground": ("rsground", {}, referring_expressions),
    "rsdetect dota": ("rsdetect", {"kinds": "ground,detect,count"}, turned_boxes),
    "rsdetect dior": ("rsdetect", {}, dior),
    "rsdetect fair1m": ("rsdetect", {}, fair1m),
    "geochat": ("geochat", {}, turned_chats),
    "bdd": ("bdd", {"kinds": "ground,detect,count,weather,scene", "absent": "1"}, street_frames),
    "ground voc": ("ground", {"absent": "1"}, dior),
    "vqarad": ("vqarad", {}, of_sample("medical", "vqa_rad")),
    "slake": ("slake", {"kinds": "vqa,detect"}, of_sample("medical", "Slake1.0")),
    "medmnist": ("medmnist", {}, of_sample("medical", "bloodmnist")),
    "medground": ("medground", {}, of_sample("medical", "BCCD")),
    "rsclassify": ("rsclassify", {}, of_sample("remote_sensing", "eurosat")),
    "pmcvqa": ("pmcvqa", {}, choices),
    "pathvqa qa": ("pathvqa", {}, pickled("qa")),
    "pathvqa vqa": ("pathvqa", {}, pickled("vqa")),
    "easyvqa": ("easyvqa", {}, of_sample("general", "data")),
    "multiview": ("multiview", {"grid": "LEFT,RIGHT", "cell": "40x32"}, rig_rows),
    "drivelm": ("drivelm", {}, of_sample("driving", "DriveLM")),
    "nuscenes": ("nuscenes", {}, of_sample("driving", "DriveLM/data/nuscenes")),
    "mme_realworld_ad": ("mme_realworld_ad", {}, street_choices),
    "bddx": ("bddx", {"frames": "4"}, of_sample("driving", "bddx")),
    "cocoqa": ("cocoqa", {}, caption_questions),
    "video": ("video", {"frames": "3"}, clips),
    "region panoptic": ("region", {"form": "drawn", "mark": "contour"}, panoptic),
    "region via": ("region", {}, drawn("via")),
    "ground via 1": ("ground", {"name": "cell"}, drawn("via 1")),
    "detect coco": ("detect", {}, drawn("coco")),
    "detect labelme": ("detect", {}, drawn("labelme")),
    "detect dota": ("detect", {}, drawn("dota")),
    "ground yolo": ("ground", {}, drawn("yolo")),
    "count yolo outlines": ("count", {}, drawn("yolo outlines")),
    "count csv": ("count", {}, drawn("csv")),
    "ground csv wkt": ("ground", {}, drawn("csv wkt")),
    "ground geojson": ("ground", {}, drawn("geojson")),
    "count table embedded": ("count", {"box_form": "xywh"}, embedded_boxes),
    "ground table": ("ground", {}, drawn("table")),
    "region geojson map": ("region", {"form": "drawn", "mark": "box"}, drawn("geojson map")),
}
