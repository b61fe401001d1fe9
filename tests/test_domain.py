"""What a domain provides: options as the command line and Python users give them."""

import re
from pathlib import Path
from typing import Any

import pytest

from adapt.domain import Option, all_domains, find_benchmark, find_task, parse_options
from adapt.errors import UsageError


@pytest.mark.parametrize("given", ["a=b=c", ["a=b=c"], ("a=b=c",), {"a": "b=c"}, iter(["a=b=c"])])
def test_options_are_a_text_several_or_a_mapping(given: Any) -> None:
    """One plain text counts as one option, not as its letters; the value may hold an equals sign."""
    assert parse_options(given) == {"a": "b=c"}


def test_a_mapping_may_hold_numbers() -> None:
    """Python users write {"num_candidates": 4}."""
    assert parse_options({"num_candidates": 4}) == {"num_candidates": "4"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["style"], "option 'style': expected name=value"),
        ("style", "option 'style': expected name=value"),
        (["=x"], "option '=x': expected name=value"),
        (["a=1", "b=1", " a=2"], "option 'a' is given twice; keep one"),
    ],
)
def test_a_malformed_option_is_wrong_usage(given: Any, said: str) -> None:
    """What is not name=value, and an option given twice, is refused with its text."""
    with pytest.raises(UsageError) as error:
        parse_options(given)
    assert str(error.value) == said


def install(folder: Path, name: str, target: str) -> None:
    """A package adapt-NAME in ``folder`` as pip leaves it, which declares a domain."""
    information = folder / f"adapt_{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: adapt-{name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[adapt.domains]\n{name} = {target}\n")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nowhere_at_all:DOMAIN", "cannot be loaded: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("json:DOMAIN", "cannot be loaded: AttributeError: module 'json' has no attribute 'DOMAIN'"),
        ("json:dumps", "json:dumps is no adapt.domain.Domain"),
    ],
)
def test_a_package_that_cannot_be_loaded_is_named(
    target: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's broken package is wrong usage, by its name, and not a fault of ours."""
    install(tmp_path, "wind", target)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=re.escape("field 'wind' of the package adapt-wind")) as error:
        all_domains()
    assert said in str(error.value)


def test_two_packages_with_one_name_are_both_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task, both fields and both packages, and what to do; other tasks are found all the same."""
    for name in ("wind", "water"):
        (tmp_path / f"field_{name}.py").write_text(
            "import dataclasses\nfrom adapt.domain import Domain\nfrom domains.general import DOMAIN as OTHER\n"
            f"TASKS = tuple(dataclasses.replace(OTHER.tasks[0], name=name) for name in ('blades', '{name}s'))\n"
            f"DOMAIN = Domain('{name}', 'x', TASKS, (dataclasses.replace(OTHER.benchmarks[0], name='power'),))\n"
        )
        install(tmp_path, name, f"field_{name}:DOMAIN")
    monkeypatch.syspath_prepend(tmp_path)
    owners = "the field 'water' of the package adapt-water and the field 'wind' of the package adapt-wind"
    for kind, name, find in (("task", "blades", find_task), ("benchmark", "power", find_benchmark)):
        with pytest.raises(UsageError) as error:
            find(name)
        told = f"the {kind} '{name}' is provided by {owners}; rename it in one, or uninstall one of the packages"
        assert str(error.value) == told
    assert find_task("winds").name == "winds" and find_task("ground").name == "ground"


def test_an_option_of_one_name_means_one_thing_in_all_tasks() -> None:
    """What two tasks call the same takes the same kind of value: choices with a value in common, or free text in both."""
    choices: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for task in (task for domain in all_domains() for task in domain.tasks):
        for option in task.options:
            choices.setdefault(option.name, []).append((task.name, option.choices))
    for name, found in choices.items():
        free = {task for task, values in found if not values}
        assert free in (set(), {task for task, _ in found}), (name, found)
        assert free or set.intersection(*(set(values) for _, values in found)), (name, found)
        assert not {"kept", "on", "true"} & {value for _, values in found for value in values}, (name, found)
    help_texts = {name: {option.help for option in task_options(name)} for name in ("classes", "split", "id")}
    assert len(help_texts["classes"]) == 1 and all("column" in text for name in ("split", "id") for text in help_texts[name])


def task_options(name: str) -> list[Option]:
    """The option of that name in every task that has it."""
    return [option for domain in all_domains() for task in domain.tasks for option in task.options if option.name == name]


def test_a_benchmark_that_reads_official_files_names_them() -> None:
    """`adapt tasks NAME` and the errors of `adapt score` tell them: of every benchmark that reads some, and of no other."""
    benchmarks = [benchmark for domain in all_domains() for benchmark in domain.benchmarks]
    assert any(benchmark.read_official for benchmark in benchmarks)
    tasks = {task.name for domain in all_domains() for task in domain.tasks}
    assert {benchmark.name for benchmark in benchmarks} <= tasks  # `adapt score` sends a published file to that task
    assert all(bool(benchmark.read_official) == bool(benchmark.official_files) for benchmark in benchmarks)
