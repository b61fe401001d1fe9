"""Whatever a file holds, a converter accepts it or says where and why it does not."""

import os
import shutil
import sys
import time
from pathlib import Path

import datasets
import pytest
from mutations import mutate
from native_sets import SETS

from adapt.errors import DataError, UsageError
from adapt.verbs import convert

SLOWEST_S = 1.0  # of processor time
CHECKOUT = Path(__file__).resolve().parents[1]
# What Python and its libraries read of their own while they work.
OWN = tuple(
    str(Path(place))
    for place in (
        *(sys.prefix, sys.base_prefix, CHECKOUT, datasets.config.HF_DATASETS_CACHE),
        *("/proc", "/sys", "/dev", "/usr", "/etc/mime.types"),
    )
)
opened: list[str] = []


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        opened.append(os.fsdecode(arguments[0]))


@pytest.fixture(scope="module", autouse=True)
def watch() -> None:
    """From here on every file that Python opens is written down."""
    sys.addaudithook(_audit)


def count(request: pytest.FixtureRequest) -> int:
    """How many damaged inputs a converter gets: 2,000 where the stress tests were asked for."""
    return 2000 if "stress" in str(request.config.option.markexpr).replace("not stress", "") else 60


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.parametrize("name", sorted(SETS))
def test_damaged_input_is_accepted_or_refused_with_a_place(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exception but ours, with a message; less than a second each; no file outside the input is opened."""
    task, options, build = SETS[name]
    whole = tmp_path / "whole"
    whole.mkdir()
    place = build(whole)
    # Once without damage: imports and compiling are of the first conversion, whatever it reads.
    convert(task=task, input=whole / place, output=tmp_path / "first" / "rows.jsonl", option=options, max_bad=10**9, workers=0)
    noticed = 0
    for number in range(count(request)):
        noticed += _survives(task, options, whole, place, tmp_path / "case", number)
    assert noticed, "damage that is never noticed shows nothing"


def _survives(task: str, options: dict[str, str], whole: Path, place: str, case: Path, number: int) -> bool:
    """Whether the damage was noticed: a row rejected, or the whole input refused."""
    shutil.copytree(whole, case / "data")
    done = mutate(case / "data", number)
    opened.clear()
    began = time.process_time()
    try:
        manifest = convert(
            task=task, input=case / "data" / place, output=case / "out" / "rows.jsonl", option=options, max_bad=10**9, workers=0
        )
        found = manifest["counts"]["rejected"] > 0
    except (DataError, UsageError) as error:
        assert str(error).strip() and "\n" not in str(error), f"{number} ({done}): {error!r}"
        found = True
    except Exception as error:
        raise AssertionError(f"{task} {number} ({done}): {type(error).__name__}: {error}") from error
    took = time.process_time() - began
    assert took < SLOWEST_S, f"{task} {number} ({done}) took {took:.2f} s"
    allowed = (*OWN, str(case))
    outside = [path for path in opened if Path(path).is_absolute() and not os.path.normpath(path).startswith(allowed)]
    assert not outside, f"{task} {number} ({done}) opened {outside}"
    shutil.rmtree(case)
    return found
