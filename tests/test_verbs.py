"""``from adapt.verbs import convert``: functions, not the modules of the same name."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapt import verbs
from adapt.cli import adapt
from adapt.errors import UsageError
from adapt.verbs.finetune import make_request

NAMES = sorted(adapt.commands)


def test_every_verb_of_the_command_is_a_function() -> None:
    """The package offers exactly the command's verbs."""
    assert sorted(verbs.__all__) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_importing_a_submodule_leaves_the_function_in_place(name: str) -> None:
    """The module adapt.verbs.NAME does not take the function's place, whoever imports it and when."""
    for module in pkgutil.iter_modules(verbs.__path__):
        importlib.import_module(f"adapt.verbs.{module.name}")
    assert inspect.isfunction(getattr(verbs, name))


@pytest.mark.parametrize("name", NAMES)
def test_options_of_the_command_are_arguments_of_the_function(name: str) -> None:
    """Every option but --json is an argument of the same name, and all but file, files, name and runs are keyword-only."""
    parameters = inspect.signature(getattr(verbs, name)).parameters
    options = {param.name for param in adapt.commands[name].params} - {"as_json"}
    assert options <= set(parameters)
    positional = [each.name for each in parameters.values() if each.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert positional in ([], ["file"], ["files"], ["name"], ["runs"])


@pytest.mark.parametrize("name", NAMES)
def test_verbs_are_typed_and_documented(name: str) -> None:
    """Python users get types and a docstring."""
    function = getattr(verbs, name)
    assert function.__doc__
    assert "return" in function.__annotations__
    assert all(each.annotation is not inspect.Parameter.empty for each in inspect.signature(function).parameters.values())


READERS: dict[str, Callable[[Path, Path], Any]] = {
    "evaluate": lambda path, out: verbs.evaluate(benchmark="vqa", model="nano", data=path, output=out),
    "finetune": lambda path, out: verbs.finetune(model="nano", data=[path], output=out),
    "sweep": lambda path, out: verbs.sweep(
        model="nano", data=[path], general=[path], benchmark="vqa", output=out, ratios=[0.5]
    ),
    "translate": lambda path, out: verbs.translate(
        path, to="zh", output=out.with_suffix(".jsonl"), endpoint="http://127.0.0.1:9", model="m"
    ),
}


@pytest.mark.parametrize("name", sorted(READERS))
def test_what_holds_no_rows_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    """A set that was not converted, and what convert wrote beside rows, are one line that says what to give."""
    for file in ("x.jsonl", "x.pictures.jsonl", "t.csv"):
        (tmp_path / file).write_text("{}\n")
    for file, told in (("t.csv", "convert it first"), ("x.pictures.jsonl", "the list of pictures of x.jsonl")):
        with pytest.raises(UsageError, match=told):
            READERS[name](tmp_path / file, tmp_path / "out")
    assert len(list(tmp_path.iterdir())) == 3


def test_a_run_leaves_out_what_convert_wrote_beside_rows(tmp_path: Path) -> None:
    """`--data *.jsonl` and `--general *.jsonl` are the files of rows alone."""
    files = [tmp_path / name for name in ("x.jsonl", "x.pictures.jsonl", "x.rejected.jsonl")]
    for file in files:
        file.write_text("{}\n")
    request = make_request({}, "nano", files, files, None, None, None, False, ())
    assert (request.data, request.general) == ((files[0],), (files[0],))
