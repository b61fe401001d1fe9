"""The words of an error: what is missing and what is near."""

from pathlib import Path

import pytest

from adapt.errors import no_file


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("trian.jsonl", "{folder}/trian.jsonl: no such file: did you mean '{folder}/train.jsonl'?"),
        ("x.csv", "{folder}/x.csv: no such file"),
        ("empty/x.csv", "{folder}/empty/x.csv: no such file"),
        ("empty", "{folder}/empty: a folder; expected a file"),
        ("nowhere/x.csv", "{folder}/nowhere/x.csv: no such file; the folder '{folder}/nowhere' does not exist"),
    ],
)
def test_a_missing_file_is_named_with_the_nearest_one(tmp_path: Path, name: str, said: str) -> None:
    """The file that was asked for, and what can be said about its folder and no more."""
    (tmp_path / "train.jsonl").touch()
    (tmp_path / "empty").mkdir()
    assert str(no_file(tmp_path / name)) == said.format(folder=tmp_path)
