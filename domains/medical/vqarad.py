"""VQA-RAD: questions by clinicians about radiology pictures (Lau et al. 2018, osf.io/89kps; CC0, unverified).

Two forms are in circulation, and both are read:

| form | files | train / test |
|---|---|---|
| public | ``VQA_RAD Dataset Public.json`` beside ``VQA_RAD Image Folder/`` | 1,797 / 451 questions |
| re-split (MEVF) | ``trainset.json`` and ``testset.json`` beside ``images/`` | 3,064 / 451 questions |

The public test is the rows whose ``phrase_type`` starts with ``test_``. The re-split (github.com/Awenbocc/med-vqa) has the same
test; its train also holds 1,267 re-phrased "frame" rows.

Traps: ten answers are JSON integers; two ``answer_type`` are "CLOSED " with a blank; closed is more than yes and no (of the
272 test questions 133 no, 118 yes, 21 others), so the dataset's own ``answer_type`` is kept; question types are misspelt
("PRSE", "ATRIB"). All 203 test pictures also occur in train: convert says so, and ``shared_pictures=drop`` leaves such train
rows out, which is what a claim about new pictures needs. Other wordings in the public form's columns are not asked.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adapt import pixels
from adapt.domain import Option, Reading, Rejected, Source, Task
from adapt.errors import DataError, UsageError
from adapt.records import ChatRecord
from converters.formats.jsonfiles import text_of
from converters.vqa import SHORT_ANSWER, VqaSample, to_record
from domains.medical import rows

PUBLIC = "VQA_RAD Dataset Public.json"
RE_SPLIT = ("trainset.json", "testset.json")
FILE_SPLITS = {"train": "train", "test": "test"}
PICTURE_FOLDERS = ("VQA_RAD Image Folder", "images")
MISSPELT = {"PRSE": "PRES", "ATRIB": "ATTRIB"}


def read(source: Source) -> Reading:
    """The questions of one form, in the order of its files."""
    files = _find_files(source.input)
    root = source.images or files[0].parent
    folder = next((f"{name}/" for name in PICTURE_FOLDERS if (root / name).is_dir()), "")
    read_all = (sample for path in files for sample in _read_file(path, folder))
    if source.options["shared_pictures"] == "keep":
        return Reading(root, read_all)
    samples = list(read_all)
    if not any(sample.split == "test" for sample in samples):
        raise UsageError(
            f"option shared_pictures=drop: {source.input} holds no test to compare with; point --input at the folder"
        )
    kept = _without_shared_pictures(samples)
    dropped = len(samples) - len(kept)
    return Reading(root, kept, ignored={"train question on a picture of the test": dropped} if dropped else {})


def convert(sample: VqaSample, context: None, source: Source) -> list[ChatRecord]:
    """One record a question."""
    return [to_record(sample, task="vqarad", suffix=source.options["suffix"])]


def _find_files(input: Path) -> list[Path]:
    if input.is_file():
        return [input]
    public = [path for path in (input / PUBLIC,) if path.is_file()]
    split = [input / name for name in RE_SPLIT if (input / name).is_file()]
    if public and split:
        raise UsageError(
            f"{input}: holds '{PUBLIC}' and {split[0].name}, two forms of the same questions; point --input at one file"
        )
    if not public and not split:
        raise UsageError(f"input '{input}' holds neither '{PUBLIC}' nor trainset.json and testset.json")
    return public or split


def _read_file(path: Path, folder: str) -> Iterator[VqaSample | Rejected]:
    for number, row in rows.read_list(path):
        where = rows.place(path, number, row)
        split = next((known for start, known in FILE_SPLITS.items() if path.stem.lower().startswith(start)), None)
        try:
            if row is None:
                raise DataError(f"{where}: expected an object with question, answer and image_name")
            split = split or _public_split(row, where)
            yield _sample(row, where, split, folder)
        except DataError as error:
            yield Rejected(where, str(error).removeprefix(f"{where}: "), split)


def _public_split(row: Mapping[str, Any], where: str) -> str:
    return "test" if text_of(row, "phrase_type", where).lower().startswith("test_") else "train"


def _sample(row: Mapping[str, Any], where: str, split: str, folder: str) -> VqaSample:
    if not rows.is_key(row.get("qid")):
        raise DataError(f"{where}: 'qid' is {str(row.get('qid'))[:40]!r}, expected a number")
    types = [part.strip().upper() for part in text_of(row, "question_type", where).split(",")]
    meta = {
        "answer_type": rows.answer_type_of(row, where),
        "question_type": ", ".join(MISSPELT.get(part, part) for part in types),
        **rows.details(row, {"organ": "image_organ", "phrase_type": "phrase_type"}),
    }
    picture = folder + text_of(row, "image_name", where)
    question, answer = text_of(row, "question", where), text_of(row, "answer", where)
    return VqaSample(f"vqarad-{row['qid']}", where, split, (picture,), question, answer, "vqarad", meta)


def _without_shared_pictures(samples: list[VqaSample | Rejected]) -> list[VqaSample | Rejected]:
    tested = {sample.pictures for sample in samples if isinstance(sample, VqaSample) and sample.split == "test"}
    return [
        sample for sample in samples if isinstance(sample, Rejected) or sample.split == "test" or sample.pictures not in tested
    ]


TASK = Task(
    name="vqarad",
    summary="VQA-RAD: clinicians' questions about radiology pictures, public form or MEVF's re-split",
    layout=f"'{PUBLIC}' beside 'VQA_RAD Image Folder/', or trainset.json and testset.json beside images/",
    unit="question",
    licence="CC0 (unverified)",
    read=read,
    convert=convert,
    options=(
        Option("suffix", rows.SHORT_ANSWER_HELP, SHORT_ANSWER),
        Option(
            "shared_pictures",
            "train questions on pictures that the test has too: keep, or drop (counted)",
            "keep",
            ("keep", "drop"),
        ),
        *pixels.OPTIONS,
    ),
    example="adapt convert --task vqarad --input vqa_rad --output vqarad.jsonl",
)
