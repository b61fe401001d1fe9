"""The data of runs that take seconds."""

from pathlib import Path

import pytest
from tiny_runs import write_data


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Domain and general JSONL files, and a cache of their own."""
    monkeypatch.setenv("ADAPT_CACHE", str(tmp_path / "cache"))
    return {name: write_data(tmp_path, name, 24, seed) for name, seed in (("field", 0), ("common", 1000))}
