"""MedMNIST: small standardised medical pictures, a ``.npz`` file a set (github.com/MedMNIST/MedMNIST, ``medmnist/info.py``).

Layout: ``<set>[_64|_128|_224].npz`` with ``{train,val,test}_{images,labels}``: images uint8 (N, 28, 28) or (N, 28, 28, 3),
labels (N, 1), of chestmnist (N, 14) with 0 or 1 for each finding, which is multi-label. Licence CC BY 4.0, dermamnist CC BY-NC.
The split is the file's own. Pictures become PNG files of the stored size in ``FILE.images/``; grey stays grey.

Traps: files that are passed on differ in their number of rows from the official ones, so none is expected; a class name may
hold a comma ("normal, benign"), then semicolons stand between the names; retinamnist's classes are grades, so they are numbers.
The 3D sets hold volumes, which are refused. Rows are read one at a time: a set of 224 px needs no more memory than one of 28.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from adapt import made, safe
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError, unknown
from adapt.records import ChatRecord
from converters import classification
from converters.classification import ClassSample, LabelsSample

ORGANS = "bladder;femur-left;femur-right;heart;kidney-left;kidney-right;liver;lung-left;lung-right;pancreas;spleen"
CLASSES = {
    "pathmnist": "adipose;background;debris;lymphocytes;mucus;smooth muscle;normal colon mucosa;cancer-associated stroma;"
    "colorectal adenocarcinoma epithelium",
    "chestmnist": "atelectasis;cardiomegaly;effusion;infiltration;mass;nodule;pneumonia;pneumothorax;consolidation;edema;"
    "emphysema;fibrosis;pleural;hernia",
    "dermamnist": "actinic keratoses and intraepithelial carcinoma;basal cell carcinoma;benign keratosis-like lesions;"
    "dermatofibroma;melanoma;melanocytic nevi;vascular lesions",
    "octmnist": "choroidal neovascularization;diabetic macular edema;drusen;normal",
    "pneumoniamnist": "normal;pneumonia",
    "retinamnist": "0;1;2;3;4",
    "breastmnist": "malignant;normal, benign",
    "bloodmnist": "basophil;eosinophil;erythroblast;immature granulocytes(myelocytes, metamyelocytes and promyelocytes);"
    "lymphocyte;monocyte;neutrophil;platelet",
    "tissuemnist": "Collecting Duct, Connecting Tubule;Distal Convoluted Tubule;Glomerular endothelial cells;"
    "Interstitial endothelial cells;Leukocytes;Podocytes;Proximal Tubule Segments;Thick Ascending Limb",
    "organamnist": ORGANS,
    "organcmnist": ORGANS,
    "organsmnist": ORGANS,
}  # in the order of their numbers
SPLITS = ("train", "val", "test")
SIZE = re.compile(r"(?P<name>.+?)(?:_(?:28|64|128|224))?")


@dataclasses.dataclass(frozen=True)
class _Part:
    """One split of a file: where its arrays are, and how many classes a row of labels is about."""

    path: Path
    split: str
    name: str
    classes: tuple[str, ...]
    several: bool


def read(source: Source) -> Reading:
    """The pictures of each split, in the order of the file."""
    path = _find_file(source.input)
    name = _set_name(path, source.options["set"])
    classes = _classes(path, name, source.options.get("class_names"))
    parts = _find_parts(path, name, classes)
    if not parts:
        raise DataError(f"{path}: no {{train,val,test}}_images and _labels in it; it is no MedMNIST file")
    several = any(part.several for part in parts)
    context = classification.read_candidates(source.options, classes)
    if several:
        classification.check_several(source.options, context)
    elif "none" in source.options:
        raise UsageError(f"none: each picture of {path.name} has one class; leave the option out")
    facts = {"dataset": name, "classes": dict(enumerate(classes))}
    samples = itertools.chain.from_iterable(_read_part(part, source) for part in parts)
    assert source.made is not None
    return Reading(source.made, samples, context, facts=facts)


def convert(sample: ClassSample | LabelsSample, classes: tuple[str, ...], source: Source) -> list[ChatRecord]:
    """One question with the classes of the set."""
    return [dataclasses.replace(record, task="medmnist") for record in classification.convert(sample, classes, source)]


def _find_file(input: Path) -> Path:
    if input.is_file():
        return input
    found = sorted(input.glob("*.npz"))
    if not found:
        raise UsageError(f"input '{input}' holds no .npz file; expected one such as pneumoniamnist.npz")
    if len(found) > 1:
        raise UsageError(f"{input}: several sets ({', '.join(path.name for path in found)}); point --input at one of them")
    return found[0]


def _set_name(path: Path, given: str) -> str:
    """``chestmnist_224.npz`` -> chestmnist."""
    match = SIZE.fullmatch(path.stem)
    return given if given != "auto" else match["name"] if match else path.stem


def _classes(path: Path, name: str, given: str | None) -> tuple[str, ...]:
    if name.endswith("3d"):
        raise UsageError(f"{path}: MedMNIST's 3D sets hold volumes, not pictures; save the slices you need as pictures first")
    if given is not None:
        classes = tuple(part.strip() for part in given.split(";"))
        if len(classes) < 2 or "" in classes or len(set(classes)) != len(classes):
            raise UsageError(f"class_names={given}: expected two or more different names with ';' between them")
        return classes
    if name not in CLASSES:
        error = unknown("MedMNIST set", name, CLASSES)
        raise UsageError(
            f"{path}: {error}; --option set=NAME names the set, or --option class_names='A;B' its classes by number"
        )
    return tuple(CLASSES[name].split(";"))


def _find_parts(path: Path, name: str, classes: tuple[str, ...]) -> list[_Part]:
    """The splits whose arrays are there and fit together."""
    shapes, parts = safe.array_shapes(path), []
    for split in SPLITS:
        images, labels = shapes.get(f"{split}_images"), shapes.get(f"{split}_labels")
        if images is None or labels is None:
            continue
        where = f"{path.name}[{split}]"
        (shape, kind), (label_shape, label_kind) = images, labels
        if kind != "uint8" or not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)):
            what = "volumes, which are not pictures" if len(shape) > 3 else f"shape {shape}"
            raise DataError(f"{where}: images are {what}, of {kind}; expected uint8 of (N, H, W) or (N, H, W, 3)")
        if label_kind.kind not in "biu" or len(label_shape) != 2 or label_shape[1] not in (1, len(classes)):
            raise DataError(
                f"{where}: labels are {label_kind} of {label_shape}; expected whole numbers of (N, 1), or (N, {len(classes)}) "
                f"for the {len(classes)} classes of {name}"
            )
        if label_shape[0] != shape[0]:
            raise DataError(
                f"{where}: {shape[0]:,} images but {label_shape[0]:,} labels; nobody can tell which belong together"
            )
        parts.append(_Part(path, split, name, classes, several=label_shape[1] > 1))
    return parts


def _read_part(part: _Part, source: Source) -> Iterator[ClassSample | LabelsSample | Rejected]:
    assert source.made is not None
    images = safe.array_rows(part.path, f"{part.split}_images")
    labels = safe.array_rows(part.path, f"{part.split}_labels")
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        where = f"{part.path.name}[{part.split}]#{number}"
        values = [int(value) for value in label]
        most = 1 if part.several else len(part.classes) - 1
        if not all(0 <= value <= most for value in values):
            yield Rejected(where, f"label {values}, expected 0 to {most}", part.split)
            continue
        picture = "" if source.counting else made.write_picture(source.made, Image.fromarray(image))
        identifier = f"{part.path.stem}-{part.split}-{number}"
        if part.several:
            names = {name: name for name, value in zip(part.classes, values, strict=True) if value}
            yield LabelsSample(identifier, where, part.split, (picture,), names, part.name)
        else:
            name = part.classes[values[0]]
            yield ClassSample(identifier, where, part.split, (picture,), name, name, part.name)


TASK = Task(
    name="medmnist",
    summary="MedMNIST's pictures: one class each, or of chestmnist all findings that apply",
    layout="<set>[_64|_128|_224].npz with {train,val,test}_{images,labels}",
    unit="picture",
    licence="CC BY 4.0; dermamnist CC BY-NC 4.0",
    read=read,
    convert=convert,
    options=(
        *classification.OPTIONS,
        *classification.SEVERAL_OPTIONS,
        Option("set", "which set it is; auto goes by the file's name", "auto", ("auto", *CLASSES)),
        Option(
            "class_names",
            "names of the classes in the order of their numbers, with ';' between them, instead of the set's own",
        ),
    ),
    example="adapt convert --task medmnist --input pneumoniamnist.npz --output pneumonia.jsonl",
)
