"""Ctrl-C and SIGTERM: the first ends a run after a whole step, the second at once. What is saved stays, and goes on."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from killed_runs import Whole, check_end, check_shot
from warm_runs import wait_until

pytestmark = pytest.mark.slow
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
LISTENS = "stopping after this step; once more to stop at once"


@pytest.fixture
def running(whole: Whole, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The process of a run that has made its second step, with loader workers of its own, and its folder."""
    run = tmp_path / "run"
    arguments = [*whole.arguments(run), "--set", "data.workers=2"]
    process = whole.runs.start(arguments, tmp_path / "errors")
    log = run / "log.jsonl"
    wait_until(lambda: log.exists() and '"step": 2,' in log.read_text(), "step 2")
    yield process, run


def resume(whole: Whole, run: Path) -> None:
    """Go on to the end: it is the run that nobody stopped."""
    errors = run.parent / "later"
    assert whole.runs.wait(whole.runs.start(whole.arguments(run), errors)) == 0, errors.read_text()
    check_end(whole, run)


@pytest.mark.parametrize("number", EXIT_CODES)
def test_one_signal_is_a_clean_stop(whole: Whole, running: tuple[int, Path], number: signal.Signals) -> None:
    """One SIGTERM is exit code 143, one Ctrl-C 130: after a whole step, which is saved; the resumed run is bit for bit."""
    process, run = running
    whole.runs.send(process, number)
    assert whole.runs.wait(process) == EXIT_CODES[number]
    said = (run.parent / "errors").read_text()
    assert said.splitlines()[-1].startswith(f"error: stopped by {number.name}; the step is whole and saved")
    assert "Traceback" not in said
    done = (run / "log.jsonl").read_text().count('"loss"')
    assert check_shot(whole, run) == run / "checkpoints" / f"step-{done:06d}"
    resume(whole, run)


@pytest.mark.parametrize("number", EXIT_CODES)
def test_two_signals_stop_at_once(whole: Whole, running: tuple[int, Path], number: signal.Signals) -> None:
    """The second SIGTERM or Ctrl-C ends the run in the middle of its step, with the same exit code and without a word more.

    The checkpoint before is whole, and the resumed run is bit for bit.
    """
    process, run = running
    whole.runs.send(process, number)
    wait_until(lambda: LISTENS in (run.parent / "errors").read_text(), "the first signal")
    whole.runs.send(process, number)
    wait_until(lambda: whole.runs.ended(process), "the second signal", timeout_s=60)  # a disk may be at work
    assert whole.runs.wait(process) == EXIT_CODES[number]
    said = (run.parent / "errors").read_text()
    at_once = {signal.SIGTERM: "error: stopped by SIGTERM", signal.SIGINT: "error: interrupted"}[number]
    # a step of this tiny run may be whole before the second signal comes
    assert said.splitlines()[-1] == at_once or said.splitlines()[-1].startswith(
        f"error: stopped by {number.name}; the step is whole"
    )
    assert "Traceback" not in said
    assert not (run / "model").exists()
    assert check_shot(whole, run) is not None
    resume(whole, run)
