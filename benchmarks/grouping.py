"""Does it hurt learning that a step's questions share pictures? Equal samples and steps, trees of 1, 4 and 16 questions.

RSVQA-like data of ``adapt sample --domain remote_sensing`` (15 questions a picture) by the commands a user would run: convert,
finetune a nano model from random weights, evaluate on the test pictures. What differs is ``train.max_branches`` alone: 128
questions of a step are of 128, 32 or about 9 pictures.

Run: python -m benchmarks.grouping FOLDER [--steps N] [--seeds 0 1 2] [--branches 1 4 16] [--pictures N]
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from adapt import safe
from adapt.verbs import convert, evaluate, finetune, sample


def make_data(folder: Path, pictures: int) -> dict[str, Path]:
    """The training and the test rows, made once."""
    found = {split: folder / f"{split}.jsonl" for split in ("train", "test")}
    if not all(path.exists() for path in found.values()):
        sample(domain="remote_sensing", output=folder / "native", size=pictures)
        for split, path in found.items():
            convert(task="rsvqa", input=folder / "native" / "RSVQA-LR", output=path, split=split)
    return found


def run(folder: Path, data: dict[str, Path], branches: int, seed: int, steps: int) -> dict[str, Any]:
    """Train and score one model; a run that is there is not made again."""
    output = folder / f"branches{branches}-seed{seed}-steps{steps}"
    began = time.monotonic()
    if not (output / "model" / "config.json").exists():
        finetune(
            model="nano",
            data=[data["train"]],
            output=output,
            resume=output.exists(),
            set=(
                f"train.max_branches={branches}", f"train.seed={seed}", f"train.max_steps={steps}", "train.precision=bfloat16",
                "train.learning_rate=4e-4", "train.beta2=0.95", "data.augment=overhead", "train.tensorboard=no",
            ),
        )  # fmt: skip
    seconds = time.monotonic() - began
    evaluate(benchmark="rsvqa", model=output, data=data["test"], output=output / "eval")
    metrics = safe.read_json(output / "eval" / "scores.json")["metrics"]
    plan = safe.read_json(output / "plan.json")
    return {
        "branches": branches,
        "seed": seed,
        "seconds": round(seconds),
        "tiles": plan["tiles"],
        **{name: round(100 * each["value"], 1) for name, each in metrics.items() if each["value"] is not None},
    }


def main() -> None:
    """Train, score and print one line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where data and runs are kept")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--branches", type=int, nargs="+", default=[16, 4, 1])
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    data = make_data(given.folder, given.pictures)
    for seed in given.seeds:
        for branches in given.branches:
            print(json.dumps(run(given.folder, data, branches, seed, given.steps)), flush=True)


if __name__ == "__main__":
    main()
