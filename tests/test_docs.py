"""The commands of README.md and docs/*.md, run as they are printed.

Each document's ```bash and ```python blocks run in order in one empty folder; ```sh blocks (installing, make) do not.
``ADAPT_DOCS_STEPS`` is the number of steps to which ``adapt finetune`` is cut (2 by default, 0 leaves it whole), with one look
at what is held out, at the end. What so short a training leaves ends no answer: where it is cut, ``adapt evaluate`` is held
to answers of 4 tokens, and of easy-VQA and EuroSAT, the data of two documents, a tenth of the pictures is there.
"""

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
DOCUMENTS = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
PAGES = [
    *DOCUMENTS,
    CHECKOUT / "CONTRIBUTING.md",
    CHECKOUT / "benchmarks" / "RESULTS.md",
    *sorted((CHECKOUT / "domains").glob("*/README.md")),
]
# What a guide calls the user's own copy of a dataset, and where the reference data has one.
DATASETS = {
    "data/EuroSAT": "data/eurosat_rgb",
    "data/easy-VQA": "data/easy_vqa/data",
    "data/VQA-RAD": "data/vqa_rad",
    "data/DriveLM": "data/drivelm_sample",
    "data/RSVQA-LR": "data/configilm_mock/RSVQA-LR",
    "data/RSVQA-HR": "data/configilm_mock/RSVQA-HR",
}
CUT_DATASETS = ("data/easy-VQA", "data/EuroSAT")
STEPS = int(os.environ.get("ADAPT_DOCS_STEPS", "2"))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text and the line it starts at."""

    language: str
    text: str
    line: int


def blocks(path: Path) -> list[Block]:
    """The bash and python blocks of a document, in order."""
    text = path.read_text(encoding="utf-8")
    found = [Block(match[1], match[2], text.count("\n", 0, match.start()) + 1) for match in _FENCE.finditer(text)]
    return [block for block in found if block.language in ("bash", "python")]


def cut(script: str, steps: int) -> str:
    """The script with every ``adapt finetune`` held to ``steps`` steps, and ``adapt evaluate`` to short answers; a command may
    go over several lines."""
    held = (
        {"finetune": f"train.max_steps={steps} train.validate_every={steps}", "evaluate": "evaluate.max_new_tokens=4"}
        if steps
        else {}
    )

    def hold(line: str) -> str:
        verb = re.match(r"\s*adapt (\w+)", line)
        return f"{line} --set {held[verb[1]]}" if verb and verb[1] in held else line

    return "\n".join(map(hold, script.replace("\\\n", " ").splitlines()))


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one block in ``folder`` with this environment's ``adapt`` and ``python`` first on the path."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ADAPT_CACHE": str(folder.parent / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    if block.language == "bash":
        command = ["bash", "-euo", "pipefail", "-c", cut(block.text, STEPS)]
    else:
        command = [sys.executable, "-c", block.text]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


def lay(place: Path, source: Path, is_cut: bool) -> None:
    """Put a dataset where a guide has it: the folder itself, or every tenth picture, of easy-VQA with its questions."""
    place.parent.mkdir(exist_ok=True)
    if not is_cut:
        place.symlink_to(source)
        return
    place.mkdir()
    if not (source / "answers.txt").exists():
        for path in sorted(source.rglob("*.jpg"))[::10]:
            (place / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (place / path.relative_to(source)).symlink_to(path)
        return
    shutil.copy(source / "answers.txt", place)
    for split in ("train", "test"):
        (place / split / "images").mkdir(parents=True)
        questions = json.loads((source / split / "questions.json").read_text(encoding="utf-8"))
        kept = [row for row in questions if row[2] % 10 == 0]
        (place / split / "questions.json").write_text(json.dumps(kept), encoding="utf-8")
        for number in {row[2] for row in kept}:
            shutil.copy(source / split / "images" / f"{number}.png", place / split / "images")


def documents() -> list[object]:
    """Each document as a test. CONTRIBUTING.md's example has a test of its own."""
    return [pytest.param(path, id=path.name) for path in DOCUMENTS]


@pytest.mark.slow
@pytest.mark.parametrize("path", documents())
def test_the_commands_of_a_document_run(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Every command of the document exits 0 in an empty folder, in the order it is read."""
    folder = tmp_path / "work"
    folder.mkdir()
    for block in blocks(path):
        for name, place in DATASETS.items():
            if name in block.text and not (folder / name).exists():
                lay(folder / name, request.getfixturevalue("shared") / place, is_cut=STEPS > 0 and name in CUT_DATASETS)
        answer = run(block, folder)
        assert answer.returncode == 0, f"{path.name}:{block.line}\n{block.text}\n{answer.stdout}\n{answer.stderr}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_links_of_a_document_lead_somewhere(path: Path) -> None:
    """Every link to a file of the checkout is there."""
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (path.parent / target).exists()] == []


def test_every_document_can_be_found_from_the_readme() -> None:
    """README.md links every guide."""
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in DOCUMENTS[1:] if f"](docs/{path.name})" not in text] == []


def test_the_page_of_a_field_names_what_the_field_has() -> None:
    """domains/FIELD/README.md has a row for each task and benchmark of the field, and no other."""
    import domains
    from adapt.domain import all_domains

    fields = {each.name: each for each in all_domains()}
    folders = [path.parent for path in Path(domains.__file__).parent.glob("*/__init__.py")]
    for folder in folders:
        named = re.findall(r"^\| `(\w+)` \|", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
        field = fields[folder.name]
        assert sorted(named) == sorted(each.name for each in (*field.tasks, *field.benchmarks)), folder.name


def test_every_verb_is_in_the_readme() -> None:
    """The README's table has each verb of the command, and no other."""
    from adapt.cli import adapt

    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `adapt (\w+)` \|", text, re.MULTILINE) == list(adapt.commands)


def test_every_sweep_that_is_printed_is_one_the_command_takes() -> None:
    """``adapt sweep`` lines, whose training is too long for a test, name options that exist and all that are needed."""
    from adapt.cli import adapt

    lines = [
        line.strip()
        for path in DOCUMENTS
        for match in _FENCE.finditer(path.read_text(encoding="utf-8"))
        for line in match[2].replace("\\\n", " ").splitlines()
        if line.strip().startswith("adapt sweep ")
    ]
    assert lines
    for line in lines:
        given = adapt.commands["sweep"].make_context("adapt sweep", shlex.split(line)[2:]).params
        assert given["benchmark"] and given["data"] and given["general"], line


def test_cutting_shortens_training_and_answers_only() -> None:
    """The cut adds a setting to finetune, over line ends too, and to evaluate, and leaves every other command alone."""
    script = "adapt convert --task a\nadapt finetune --model nano \\\n  --data a\nadapt evaluate --data a\n"
    assert cut(script, 3).splitlines() == [
        "adapt convert --task a",
        "adapt finetune --model nano    --data a --set train.max_steps=3 train.validate_every=3",
        "adapt evaluate --data a --set evaluate.max_new_tokens=4",
    ]
    assert cut(script, 0) == script.replace("\\\n", " ").removesuffix("\n")
