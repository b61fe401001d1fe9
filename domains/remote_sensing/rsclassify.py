"""Scene classification from above: EuroSAT, UC Merced, NWPU-RESISC45 and AID as they are unpacked.

| set | layout | pictures |
|---|---|---|
| EuroSAT RGB | ``2750/<Class>/<Class>_<n>.jpg`` | 27,000 of 64x64, 10 classes |
| UC Merced | ``UCMerced_LandUse/Images/<class>/<class>NN.tif`` | 2,100 of 256x256 (a few are not), 21 classes |
| NWPU-RESISC45 | ``NWPU-RESISC45/<class>/<class>_NNN.jpg`` | 31,500 of 256x256, 45 classes |
| AID | ``AID/<Class>/<class>_<n>.jpg`` | 10,000 of 600x600, 30 classes |

None has an official split. The lists that torchgeo publishes (arXiv 1911.06721; ``eurosat-train.txt``, ...: a file name a line)
are read with ``split_lists=DIR``; otherwise each class is split by its own share, but class folders right in one that is named
for a split (``test/Forest``) are of it unless another ``split_percent`` is given. The drawn split has its own seed, so that
``--seed`` cannot move a picture from test to train between two calls.
"""

import collections
import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from adapt import pixels, randomness, safe
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord
from converters import classification
from converters.classification import ClassSample
from converters.formats import imagefolder
from converters.formats.pictures import split_of_folders
from converters.options import refuse_idle

EUROSAT = "AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop Residential River SeaLake"
UC_MERCED = {
    "agricultural": "agricultural",
    "airplane": "airplane",
    "baseballdiamond": "baseball diamond",
    "beach": "beach",
    "buildings": "buildings",
    "chaparral": "chaparral",
    "denseresidential": "dense residential",
    "forest": "forest",
    "freeway": "freeway",
    "golfcourse": "golf course",
    "harbor": "harbor",
    "intersection": "intersection",
    "mediumresidential": "medium residential",
    "mobilehomepark": "mobile home park",
    "overpass": "overpass",
    "parkinglot": "parking lot",
    "river": "river",
    "runway": "runway",
    "sparseresidential": "sparse residential",
    "storagetanks": "storage tanks",
    "tenniscourt": "tennis court",
}
RESISC45 = """airplane airport baseball_diamond basketball_court beach bridge chaparral church circular_farmland cloud
    commercial_area dense_residential desert forest freeway golf_course ground_track_field harbor industrial_area intersection
    island lake meadow medium_residential mobile_home_park mountain overpass palace parking_lot railway railway_station
    rectangular_farmland river roundabout runway sea_ice ship snowberg sparse_residential stadium storage_tank tennis_court
    terrace thermal_power_station wetland"""
AID = """Airport BareLand BaseballField Beach Bridge Center Church Commercial DenseResidential Desert Farmland Forest Industrial
    Meadow MediumResidential Mountain Park Parking Playground Pond Port RailwayStation Resort River School SparseResidential
    Square Stadium StorageTanks Viaduct"""
DEFAULT_SPLIT = "80/0/20"
SPLITS = ("train", "val", "test")
SPLIT_PERCENT = Option("split_percent", "percent of each class for train/val/test", DEFAULT_SPLIT)
SPLIT_SEED = Option("split_seed", "the draw of that split; --seed does not change it", "0")


@dataclasses.dataclass(frozen=True)
class SceneSet:
    """One of the public sets: its classes and how its files are called, which tells it from the others."""

    name: str
    title: str
    lists: str
    classes: Mapping[str, str]
    file_pattern: Callable[[str], str]


SCENE_SETS = (
    SceneSet("eurosat", "EuroSAT", "eurosat", classification.readable_names(EUROSAT.split()), lambda name: rf"{name}_\d+"),
    SceneSet("ucmerced", "UC Merced", "uc_merced", UC_MERCED, lambda name: rf"{name}\d+"),
    SceneSet(
        "resisc45", "NWPU-RESISC45", "resisc45", classification.readable_names(RESISC45.split()), lambda name: rf"{name}_\d+"
    ),
    SceneSet("aid", "AID", "aid", classification.readable_names(AID.split()), lambda name: rf"{name.lower()}_\d+"),
)


def read(source: Source) -> Reading:
    """The pictures of the set at or below ``source.input``, each in its split."""
    folder = _find_class_folders(source.input)
    root = source.images or source.input
    if not folder.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"images '{root}' does not hold the class folders in '{folder}'")
    below = PurePosixPath(folder.resolve().relative_to(root.resolve()).as_posix())
    found = imagefolder.scan(folder, made=source.made)
    everything = found.everything()
    pictures = [path for path in everything if len(path.parts) == 2]
    scene_set = _recognise({path.parts[0] for path in pictures}, pictures, folder)
    ignored = collections.Counter(found.ignored)
    ignored["picture outside a class folder"] += len(everything) - len(pictures)
    lists = source.options.get("split_lists")
    if lists is not None:
        refuse_idle(source.options, [SPLIT_PERCENT, SPLIT_SEED], f"split_lists={lists}")
        splits, absent, rule = _read_split_lists(Path(lists), scene_set, pictures)
        ignored["not in the split lists"] += sum(path not in splits for path in pictures)
    elif (own := split_of_folders(folder.resolve().name)) and source.options["split_percent"] == DEFAULT_SPLIT:
        refuse_idle(source.options, [SPLIT_SEED], f"the split folder '{folder}'")
        splits, absent, rule = dict.fromkeys(pictures, own), [], f"the folder {folder.resolve().name}"
    else:
        share, seed = _parse_share(source.options["split_percent"]), _parse_split_seed(source.options["split_seed"])
        splits, absent = _split_by_class(pictures, share, seed, scene_set.name), []
        rule = f"{source.options['split_percent']} train/val/test of each class, drawn with split_seed {seed}"
    samples: list[ClassSample | Rejected] = [
        Rejected(str(below / path), reason, splits[path])
        if (reason := imagefolder.unread_reason(path)) is not None
        else ClassSample(
            id=f"{scene_set.name}-{path.stem}",
            where=str(below / path),
            split=splits[path],
            pictures=(str(below / path),),
            label=scene_set.classes[path.parts[0]],
            class_name=path.parts[0],
            source=scene_set.name,
        )
        for path in pictures
        if path in splits
    ]
    names = {path.parts[0]: scene_set.classes[path.parts[0]] for path in pictures}
    context = classification.read_candidates(source.options, list(names.values()))
    facts = {"dataset": scene_set.title, "classes": names, "split_rule": rule}
    return Reading(root, samples + absent, context, {name: count for name, count in ignored.items() if count}, facts)


def convert(sample: ClassSample, classes: tuple[str, ...], source: Source) -> list[ChatRecord]:
    """One question with the classes of the whole set."""
    return [dataclasses.replace(record, task="rsclassify") for record in classification.convert(sample, classes, source)]


def _find_class_folders(input: Path) -> Path:
    """The folder whose subfolders are classes of a known set: ``input`` itself or the only such folder up to three below."""
    if not input.is_dir():
        raise UsageError(f"input '{input}' is not a folder; expected an unpacked dataset such as EuroSAT's 2750/")
    level = [input]
    for _ in range(4):
        found = [folder for folder in level if sum(_is_known_class(child.name) for child in _subfolders(folder)) >= 2]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"{input}: several sets of class folders ({', '.join(map(str, found))}); point --input at one of them"
            )
        level = [child for folder in level for child in _subfolders(folder)]
    raise UsageError(
        f"input '{input}': no class folders of {', '.join(each.title for each in SCENE_SETS)} at or below it; "
        "for classes of your own use --task classify"
    )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _is_known_class(name: str) -> bool:
    return any(name in scene_set.classes for scene_set in SCENE_SETS)


def _recognise(classes: set[str], pictures: Sequence[PurePosixPath], folder: Path) -> SceneSet:
    """The set that has all these classes; where several have, the one whose file names fit most pictures."""
    fitting = [scene_set for scene_set in SCENE_SETS if classes <= scene_set.classes.keys()]
    if not fitting:
        nearest = max(SCENE_SETS, key=lambda scene_set: len(classes & scene_set.classes.keys()))
        strange = ", ".join(sorted(classes - nearest.classes.keys())[:5])
        raise DataError(
            f"{folder}: {len(classes & nearest.classes.keys())} folders are classes of {nearest.title}, but not {strange}; "
            "move them away, or use --task classify"
        )

    def matches(scene_set: SceneSet) -> int:
        return sum(bool(re.fullmatch(scene_set.file_pattern(path.parts[0]), path.stem)) for path in pictures)

    return max(fitting, key=matches)


def _parse_share(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)/(\d+)", text)
    share = tuple(int(part) for part in match.groups()) if match else ()
    if len(share) != 3 or sum(share) != 100:
        raise UsageError(
            f"split_percent={text}: expected three whole percentages train/val/test that add up to 100, such as {DEFAULT_SPLIT}"
        )
    return share[0], share[1], share[2]


def _parse_split_seed(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"split_seed={text}: expected a whole number")
    return int(text)


def _split_by_class(
    pictures: Iterable[PurePosixPath], share: tuple[int, int, int], seed: int, name: str
) -> dict[PurePosixPath, str]:
    """Each class has exactly its share (rounded) in val and test; the rest is train."""
    by_class: dict[str, list[PurePosixPath]] = collections.defaultdict(list)
    for path in pictures:
        by_class[path.parts[0]].append(path)
    splits = {}
    for class_name, members in by_class.items():
        num_test, num_val = (round(len(members) * percent / 100) for percent in (share[2], share[1]))
        order = randomness.permutation(len(members), seed, "split", name, class_name)
        for place, index in enumerate(order):
            splits[members[index]] = "test" if place < num_test else "val" if place < num_test + num_val else "train"
    return splits


def _read_split_lists(
    folder: Path, scene_set: SceneSet, pictures: Sequence[PurePosixPath]
) -> tuple[dict[PurePosixPath, str], list[ClassSample | Rejected], str]:
    """Splits by file name without its extension (lists say .jpg where files are .tif); listed pictures that are not there."""
    # Of two of one stem the one that can be read is listed.
    by_stem = {path.stem: path for path in sorted(pictures, key=lambda path: imagefolder.unread_reason(path) is None)}
    splits: dict[PurePosixPath, str] = {}
    absent: list[ClassSample | Rejected] = []
    used = []
    for split in SPLITS:
        path = folder / f"{scene_set.lists}-{split}.txt"
        if not path.is_file():
            continue
        used.append(path.name)
        for number, line in enumerate(safe.read_bytes(path).decode("utf-8-sig", "replace").splitlines(), start=1):
            if not line.strip():
                continue
            picture = by_stem.get(PurePosixPath(line.strip()).stem)
            if picture is None:
                absent.append(Rejected(f"{path.name}:{number}", f"listed picture '{line.strip()}' is not there", split))
            elif splits.setdefault(picture, split) != split:
                raise DataError(f"{path}:{number}: '{line.strip()}' is in the {splits[picture]} list too")
    if not used:
        raise UsageError(f"split_lists '{folder}' holds no {scene_set.lists}-{{train,val,test}}.txt")
    return splits, absent, f"lists {', '.join(used)}"


TASK = Task(
    name="rsclassify",
    summary="scene classification: EuroSAT, UC Merced, NWPU-RESISC45, AID",
    layout="the unpacked set: 2750/<Class>/, UCMerced_LandUse/Images/<class>/, NWPU-RESISC45/<class>/ or AID/<Class>/",
    unit="picture",
    licence="EuroSAT MIT; UC Merced, NWPU-RESISC45 and AID for research",
    read=read,
    convert=convert,
    options=(
        *classification.OPTIONS,
        SPLIT_PERCENT,
        SPLIT_SEED,
        Option("split_lists", "a folder with torchgeo's eurosat-, uc_merced- or resisc45-{train,val,test}.txt instead"),
        *pixels.OPTIONS,
    ),
    example="adapt convert --task rsclassify --input EuroSAT --output eurosat.jsonl",
)
