"""Fixtures that more than one folder of tests uses."""

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and official outputs beside the checkout; the test is skipped where there is none."""
    folder = Path(os.environ.get("ADAPT_SHARED", CHECKOUT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"needs the reference data in {folder}")
    return folder
