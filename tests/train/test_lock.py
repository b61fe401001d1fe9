"""The lock of a run's folder."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from adapt.errors import UsageError
from adapt.train.lock import LOCK, locked

HOLD = """
import sys, time
from pathlib import Path
from adapt.train.lock import locked
with locked(Path(sys.argv[1])):
    time.sleep(60)
"""


def test_one_process_writes_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While a process holds the folder another is refused by its number; a dead one's lock is taken over."""
    run = tmp_path / "run"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run)])
    try:
        end = time.monotonic() + 60
        while not ((run / LOCK).is_file() and (run / LOCK).read_text()):
            assert time.monotonic() < end and holder.poll() is None
            time.sleep(0.02)
        with pytest.raises(UsageError, match=f"process {holder.pid} is writing this run"), locked(run):
            pass
    finally:
        holder.kill()
        holder.wait()
    with locked(run):
        assert f"process {holder.pid} died while it wrote this run; taking over" in capsys.readouterr().err
    assert not (run / LOCK).exists()
    with locked(run):
        assert capsys.readouterr().err == ""
