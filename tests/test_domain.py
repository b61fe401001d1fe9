"""What a domain provides: options as the command line and Python users give them."""

from typing import Any

import pytest

from adapt.domain import parse_options
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
