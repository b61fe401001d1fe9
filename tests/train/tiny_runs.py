"""A small real data set for runs that take seconds: coloured squares, three questions each."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from adapt.records import ChatRecord, Turn, write_records
from adapt.train.log import read_log
from adapt.verbs import finetune

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (240, 240, 240)}


def write_data(folder: Path, name: str, pictures: int, first_seed: int) -> Path:
    """``folder/name.jsonl`` with pictures beside it; returns the JSONL's path."""
    records = []
    (folder / name).mkdir(parents=True)
    for number in range(pictures):
        random = np.random.default_rng(first_seed + number)
        colour = sorted(COLOURS)[int(random.integers(4))]
        canvas = random.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        canvas[16:48, 16:48] = COLOURS[colour]
        Image.fromarray(canvas).save(folder / name / f"{number}.png")
        questions = [
            ("What colour is it?", colour),
            ("Is it red?", "yes" if colour == "red" else "no"),
            ("Is it a square?", "yes"),
        ]
        for place, (question, answer) in enumerate(questions):
            turns = (Turn("human", f"<image>\n{question}"), Turn("gpt", answer))
            split = "val" if number % 8 == 7 else "train"
            records.append(
                ChatRecord(
                    f"{name}-{number}-{place}",
                    turns,
                    (f"{name}/{number}.png",),
                    ((64, 64),),
                    source=name,
                    meta={"split": split},
                )
            )
    write_records(folder / f"{name}.jsonl", records)
    return folder / f"{name}.jsonl"


FIXED = (
    "train.samples_per_step=6",
    "train.max_branches=2",
    "train.tensorboard=no",
    "data.general_ratio=0.5",
    "train.drop_path=0.2",
)


def start_run(
    data: dict[str, Path], output: Path, *settings: str, resume: bool = False, model: str = "nano"
) -> subprocess.Popen[str]:
    """Start ``adapt finetune`` of a nano model on a tiny plan, in its own process."""
    command = [sys.executable, "-m", "adapt", "finetune", "--model", model]
    command += ["--data", str(data["field"]), "--general", str(data["common"])]
    command += ["--output", str(output), *(["--resume"] if resume else [])]
    for setting in (*FIXED, *settings):
        command += ["--set", setting]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def run_here(data: dict[str, Path], output: Path, *settings: str, resume: bool = False) -> None:
    """The same run in this process, which needs no seconds to start."""
    finetune(
        model="nano", data=[data["field"]], general=[data["common"]], output=output, resume=resume, set=(*FIXED, *settings)
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a run and return its stderr; fails the test where the run failed."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def losses(run: Path) -> list[str]:
    """Every loss of the log, to the last bit."""
    return [float(row["loss"]).hex() for row in read_log(run) if "loss" in row]


def weights(run: Path) -> str:
    """What the tuned model is, in one word."""
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


def wait_for_step(run: Path, step: int, timeout_s: float = 240) -> None:
    """Until the log has a row of that step."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if (run / "log.jsonl").exists() and f'"step": {step},' in (run / "log.jsonl").read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} was never reached")
