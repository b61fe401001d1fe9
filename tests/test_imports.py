"""The house rules that imports must keep: one direction, light verbs, a core that knows no dataset."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
ALLOWED = {"adapt": {"adapt"}, "converters": {"adapt", "converters"}, "domains": {"adapt", "converters", "domains"}}
HEAVY = {"torch", "torchvision", "transformers", "timm", "datasets", "albumentations", "tensorboard"}
LIGHT = ("adapt/verbs", "adapt/check", "adapt/cli.py", "adapt/command.py", "adapt/show.py", "converters", "domains")
DATASETS = re.compile(
    r"eurosat|rsvqa|drivelm|nuscenes|bdd100k|\bbddx\b|slake|path_?vqa|vqa_?rad|pmc_?vqa|medmnist|resisc|geochat|\bdior|easy_?vqa"
    r"|coco_?qa|ucmerced|\bmme_",
    re.IGNORECASE,
)


def modules(*places: str) -> list[Path]:
    """Every Python file at or below the places, relative to the checkout."""
    found = []
    for place in places:
        path = CHECKOUT / place
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [path.relative_to(CHECKOUT) for path in found]


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file of the checkout."""
    return ast.parse((CHECKOUT / path).read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level names of the packages that a tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield (node.module or "").partition(".")[0]


def at_module_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run at import: not function bodies, not ``if TYPE_CHECKING``."""
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way(package: str) -> None:
    """domains -> converters -> adapt, never back, not even inside a function."""
    wrong = [
        f"{path} imports {name}"
        for path in modules(package)
        for name in imported(parse(path))
        if name in ALLOWED and name not in ALLOWED[package]
    ]
    assert not wrong


def test_verbs_and_domains_import_nothing_heavy_at_module_level() -> None:
    """torch and its kin are imported inside functions, where the work begins."""
    wrong = [
        f"{path} imports {name}"
        for path in modules(*LIGHT)
        for node in at_module_level(parse(path))
        for name in imported(node)
        if name in HEAVY
    ]
    assert not wrong


@pytest.mark.parametrize(
    "statement",
    ["import adapt", "import adapt.cli", "import adapt.verbs", "from adapt.domain import all_domains; all_domains()"],
)
def test_importing_does_not_bring_in_torch(statement: str) -> None:
    """What every command does first leaves torch and transformers unimported, directly or through others."""
    code = f"{statement}; import sys; print(sorted({{'torch', 'transformers', 'timm'}} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert answer.stdout.strip() == "[]"


def test_the_core_names_no_dataset() -> None:
    """No name and no text in the code of adapt/ is a dataset's; docstrings and comments may cite them."""
    wrong = []
    for path in modules("adapt"):
        tree = parse(path)
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            text = ""
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                text = node.value
            elif isinstance(node, ast.Name):
                text = node.id
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                text = node.name
            if DATASETS.search(text):
                wrong.append(f"{path}:{getattr(node, 'lineno', 0)}: {text[:60]}")
    assert not wrong


def test_every_package_is_listed_for_the_build() -> None:
    """A folder with an __init__.py is in pyproject's list, or an installed copy would lack it."""
    import tomllib

    listed = set(tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {".".join(path.parent.parts) for path in modules("adapt", "converters", "domains") if path.name == "__init__.py"}
    assert there == listed
