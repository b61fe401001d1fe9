"""The data of runs that take seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from killed_runs import Whole, whole_run
from tiny_runs import write_data


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Domain and general JSONL files, and a cache of their own."""
    monkeypatch.setenv("ADAPT_CACHE", str(tmp_path / "cache"))
    return {name: write_data(tmp_path, name, 24, seed) for name, seed in (("field", 0), ("common", 1000))}


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """The run that nobody killed, and the process that starts others like it in no time."""
    with whole_run(tmp_path_factory.mktemp("whole")) as found:
        yield found
