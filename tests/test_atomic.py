"""Staged writes: what a killed process left goes with the next write of the same name."""

import subprocess
import sys
from pathlib import Path

from adapt import atomic

# Killed in the middle of a staged file and of a staged folder that replaces one.
KILLED = """
import os, signal, sys
from pathlib import Path
from adapt import atomic
folder = Path(sys.argv[1])
with atomic.staged_file(folder / "log") as handle, atomic.staged_folder(folder / "model") as staged:
    (staged / "half").write_text("x")
    os.rename(folder / "model", atomic.staging_path(folder / "model.old"))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftovers_of_a_killed_process_go(tmp_path: Path) -> None:
    """The next write of a file or folder removes what a dead process staged for it and nothing else."""
    (tmp_path / "model").mkdir()
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert len([path for path in tmp_path.iterdir() if path.name.startswith(".tmp-")]) == 3
    kept = [tmp_path / ".tmp-log.1", tmp_path / ".tmp-log.2.5", tmp_path / ".tmp-logs.999999999"]  # process 1 lives
    for path in kept:
        path.touch()
    atomic.write_text(tmp_path / "log", "whole")
    with atomic.staged_folder(tmp_path / "model") as staged:
        (staged / "all").write_text("x")
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "log", tmp_path / "model"])
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["all"]
