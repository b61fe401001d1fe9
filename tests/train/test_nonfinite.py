"""What is not finite never reaches the weights: the run stops and names the records, or leaves out as many steps as allowed."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_runs import FIXED
from transformers import AutoTokenizer

from adapt.errors import DataError, UsageError
from adapt.train import checkpoint
from adapt.train.log import read_log
from adapt.train.validation import forgets
from adapt.verbs import finetune

POISON = "field-3-1"


@pytest.fixture
def poisoned(data: dict[str, Path], tmp_path: Path) -> Path:
    """A model whose embedding of one token is infinite; the token is in the question of one record alone."""
    rows = [json.loads(line) for line in data["field"].read_text().splitlines()]
    for row in rows:
        if row["id"] == POISON:
            row["conversations"][0]["value"] += " @@@@"
    data["field"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    finetune(model="nano", data=[data["field"]], output=tmp_path / "base", set=("train.max_steps=2", "train.tensorboard=no"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base" / "model")
    texts = {row["id"]: " ".join(turn["value"] for turn in row["conversations"]) for row in rows}
    others = {token for name, text in texts.items() if name != POISON for token in tokenizer(text)["input_ids"]}
    alone = [token for token in tokenizer(texts[POISON])["input_ids"] if token not in others]
    assert alone, "the word has a token of its own"
    place = tmp_path / "base" / "model" / "model.safetensors"
    weights = load_file(place)
    weights["language_model.model.embed_tokens.weight"][alone[0]] = math.inf
    save_file(weights, place, metadata={"format": "pt"})
    return tmp_path / "base"


def tune(model: Path, data: Path, output: Path, *settings: str, resume: bool = False) -> None:
    every_step = ("data.validation_share=0", "train.save_every=1", "train.keep=99", "data.general_ratio=0", "data.workers=0")
    finetune(model=model, data=[data], output=output, resume=resume, set=(*FIXED, *every_step, *settings))


def unseen(path: Path) -> bool:
    """Whether all weights and moments of a checkpoint are finite but the planted row."""
    tensors = [*load_file(path / "model.safetensors").items(), *load_file(path / "optimizer.safetensors").items()]
    return all(bool(torch.isfinite(tensor).all()) for name, tensor in tensors if "embed_tokens" not in name)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_before_the_weights(
    poisoned: Path, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run stops at the record's step, names step and records, and its last checkpoint is of the step before, finite.

    With train.skip_nonfinite=1 the same run goes on, once: the step is an event of the log, and no weight moves in it.
    """
    with pytest.raises(DataError, match=rf"loss nan, gradient norm nan.*Records:.*{POISON}") as caught:
        tune(poisoned, data["field"], tmp_path / "run")
    bad = int(str(caught.value).split()[1].rstrip(":"))
    rows = [row for row in read_log(tmp_path / "run") if "loss" in row]
    assert [row["step"] for row in rows] == list(range(1, bad)), "no step after it, and not itself"
    newest = checkpoint.newest_valid(tmp_path / "run" / "checkpoints")
    assert bad == 1 or (newest is not None and checkpoint.step_of(newest) == bad - 1 and unseen(newest))
    tune(poisoned, data["field"], tmp_path / "skips", "train.skip_nonfinite=1")
    (event,) = [row for row in read_log(tmp_path / "skips") if row.get("event") == "skipped"]
    assert event["step"] == bad and POISON in event["records"] and event["loss_was"] == "nan"
    places = [checkpoint.checkpoint_path(tmp_path / "skips" / "checkpoints", step) for step in (bad, bad - 1, bad + 1)]
    assert unseen(places[0]) and unseen(places[2])
    if bad > 1:
        assert checkpoint.fault(places[1]) is None
        assert (places[0] / "model.safetensors").read_bytes() == (places[1] / "model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "skips" / "model")
    for path in checkpoint.list_checkpoints(tmp_path / "skips" / "checkpoints"):
        if checkpoint.step_of(path) > bad:
            shutil.rmtree(path)
    capsys.readouterr()
    tune(poisoned, data["field"], tmp_path / "skips", "train.skip_nonfinite=1", resume=True)
    assert len([row for row in read_log(tmp_path / "skips") if row.get("event") == "skipped"]) == 1


@pytest.mark.slow
def test_loss_scaling_does_not_hide_it(poisoned: Path, data: dict[str, Path], tmp_path: Path) -> None:
    """In float16 too the step is left out once and the run goes on after it; its weights stay finite."""
    tune(
        poisoned,
        data["field"],
        tmp_path / "run",
        "train.skip_nonfinite=1",
        "train.precision=float16",
        "train.validate_every=99",
    )
    rows = read_log(tmp_path / "run")
    (event,) = [row for row in rows if row.get("event") == "skipped"]
    assert POISON in event["records"] and max(row["step"] for row in rows if "loss" in row) > event["step"]
    newest = checkpoint.newest_valid(tmp_path / "run" / "checkpoints")
    assert newest is not None and unseen(newest)


@pytest.mark.slow
def test_a_spent_budget_stops_the_run(poisoned: Path, data: dict[str, Path], tmp_path: Path) -> None:
    """The second time the record comes, a budget of one is spent, and the message says so."""
    with pytest.raises(DataError, match=r"\(train.skip_nonfinite=1 are spent\)"):
        tune(poisoned, data["field"], tmp_path / "run", "train.skip_nonfinite=1", "train.epochs=2")


def row(domain: float, general: float) -> dict[str, float]:
    return {"domain_loss": domain, "general_loss": general}


@pytest.mark.parametrize(
    ("rows", "ends"),
    [
        ([row(1.0, 1.0), row(0.8, 1.1), row(0.6, 1.2), row(0.4, 1.3)], False),  # the domain still falls
        ([row(1.0, 1.0), row(1.0, 1.0), row(1.0, 1.0), row(1.0, 1.0)], False),  # the general loss does not rise
        ([row(0.5, 0.8), row(0.5, 0.9), row(0.499, 1.0), row(0.52, 1.1)], True),
        ([row(0.5, 0.8), row(0.5, 0.9), row(0.4, 1.0), row(0.52, 1.1)], False),  # it fell in between
        ([row(0.5, 0.8), row(0.5, 0.9), row(0.5, 1.0)], False),  # too few
        ([{"domain_loss": 0.5}] * 9, False),  # nothing general is held out
    ],
)
def test_when_a_run_ends_early(rows: list[dict[str, float]], ends: bool) -> None:
    """Three validations on end with a flat domain loss and a general loss above its best, and not one less."""
    assert forgets(rows, 3) is ends


def test_forgetting_needs_general_data(data: dict[str, Path], tmp_path: Path) -> None:
    """A stop that could never act is wrong usage."""
    with pytest.raises(
        UsageError, match="train.early_stop=forgetting looks at held-out general data, and there is no --general"
    ):
        finetune(
            model="nano", data=[data["field"]], output=tmp_path / "run", set=("train.early_stop=forgetting",), dry_run=True
        )


@pytest.mark.slow
def test_forgetting_ends_a_run(data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """train.early_stop=forgetting ends a run whose general data says the opposite of the field's; RUN/model is of that step."""
    rows = [json.loads(line) for line in data["field"].read_text().splitlines()]
    for number, each in enumerate(rows):
        each["id"] = f"other-{number}"
        each["conversations"][1]["value"] = "mauve"
    data["common"].write_text("".join(json.dumps(each) + "\n" for each in rows))
    settings = ("train.max_steps=120", "train.validate_every=4", "train.early_stop=forgetting", "data.general_ratio=0.02")
    finetune(
        model="nano", data=[data["field"]], general=[data["common"]], images=tmp_path, output=tmp_path / "run",
        set=(*FIXED, "train.samples_per_step=24", *settings),
    )  # fmt: skip
    steps = [row["step"] for row in read_log(tmp_path / "run") if "loss" in row]
    assert 16 <= steps[-1] < 120
    assert [row["step"] for row in read_log(tmp_path / "run") if row.get("event") == "early stop"] == [steps[-1]]
    assert "the held-out domain loss is flat and the general one rises; the run ends here" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "model" / "adapt.json").read_text())["provenance"]["step"] == steps[-1]
