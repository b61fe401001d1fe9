"""Names of models: what is found, and what a mistyped one is answered with. No test here reaches the network."""

from pathlib import Path

import pytest

from adapt.errors import DataError, UsageError
from adapt.model.loading import find_model


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder with two runs, and a hub that cannot be reached."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("aerial", "driving"):
        (tmp_path / "runs" / name).mkdir(parents=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("runs/arial", "model 'runs/arial': no such folder: did you mean 'runs/aerial'?"),
        ("./runs/arial", "model './runs/arial': no such folder: did you mean 'runs/aerial'?"),
        ("run", "model 'run': no such folder: did you mean 'runs'?"),
        ("nanno", "unknown model 'nanno': did you mean 'nano'?"),
        ("runs/nano", "model 'runs/nano': no such folder: did you mean 'nano'?"),
        ("runs/xyz", "model 'runs/xyz': no such folder (to ask the hub for it, write 'runs/xyz@main')"),
        ("runs/xyz/model", "model 'runs/xyz/model': no such folder"),
        ("7b-chat", "unknown model '7b-chat': known: 1b, 2b, 4b, nano"),
    ],
)
def test_a_mistyped_model_is_answered_with_the_nearest_one(name: str, said: str) -> None:
    """A name below a folder that is here is wrong usage with the nearest folder or preset, never a question to the hub."""
    with pytest.raises(UsageError) as error:
        find_model(name)
    assert str(error.value) == said


@pytest.mark.parametrize("name", ["owner/name", "runs/xyz@main"])
def test_other_names_of_two_parts_are_the_hubs(name: str) -> None:
    """A name whose first part is no folder here, or that gives a revision, is asked of the hub."""
    with pytest.raises(DataError, match=f"model '{name}': no such folder, and the hub did not give it"):
        find_model(name)
