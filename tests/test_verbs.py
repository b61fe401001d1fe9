"""``from adapt.verbs import convert``: functions, not the modules of the same name."""

import importlib
import inspect
import pkgutil

import pytest

from adapt import verbs
from adapt.cli import adapt

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
