"""What verbs returned, as plain text where no terminal is."""

import pytest

from adapt.show import counted, duration, figure, show_scores, show_table, show_values


def test_columns_are_aligned_and_numbers_stand_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    """Names to the left, numbers to the right under their column, thousands grouped, nothing where a value is missing."""
    show_table(("name", "count"), [("a", 5), ("long name", 12345), ("none", None)], "Title")
    lines = ["Title", "name        count", "a               5", "long name  12,345", "none            -"]
    assert capsys.readouterr().out.splitlines() == lines


def test_nested_values_become_dotted_names(capsys: pytest.CaptureFixture[str]) -> None:
    """A mapping in a mapping is flattened; a long list is counted, not printed."""
    show_values({"steps": 3, "samples": {"domain": 1.5}, "ids": list(range(100))})
    assert capsys.readouterr().out.split() == ["name", "value", "steps", "3", "samples.domain", "1.5", "ids", "100", "entries"]


def test_scores_of_several_splits(capsys: pytest.CaptureFixture[str]) -> None:
    """Each split has its own table; the headline metric is marked and the floor stands beside it."""
    part = {
        "benchmark": "b",
        "convention": "original",
        "headline": "accuracy",
        "floor": {"accuracy": 0.25},
        "metrics": {"accuracy": {"value": 0.5, "count": 10, "low": 0.2, "high": 0.8}},
    }
    show_scores({"test": part, "test_phili": part})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "test b (convention: original)"
    assert lines[2].split() == ["accuracy", "*", "0.5", "0.2", "0.8", "10", "0.25"]
    assert lines[3] == "test_phili b (convention: original)"


def test_only_the_first_rank_speaks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several processes that torchrun started, one prints."""
    monkeypatch.setenv("RANK", "1")
    show_table(("name",), [("a",)])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.00001, "less than 0.01 s"), (0.047, "0.047 s"), (7.26, "7.3 s"), (42.4, "42 s"), (204, "3.4 min"), (18_720, "5.2 h"),
     (36_000_000, "10,000.0 h")],
)  # fmt: skip
def test_times_are_in_the_unit_that_a_reader_would_choose(seconds: float, said: str) -> None:
    """No exponents and no hundred thousand seconds."""
    assert duration(seconds) == said


def test_one_thing_is_not_several() -> None:
    """1 fault, 2 faults, 1,000 faults."""
    assert [counted(number, "fault") for number in (0, 1, 1000)] == ["0 faults", "1 fault", "1,000 faults"]


@pytest.mark.parametrize(
    ("value", "said"), [(0.88151, "0.8815"), (1e-05, "1e-05"), (8.447e-19, "0"), (-3e-37, "0"), (0.0, "0"), (17.0, "17")]
)
def test_a_score_of_nothing_is_shown_as_nothing(value: float, said: str) -> None:
    """What BLEU leaves where no word fits is 0; a small learning rate stays what it is."""
    assert figure(value) == said
