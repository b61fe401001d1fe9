"""``finetune``: what it refuses, what it plans, what it leaves."""

import io
import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

import adapt
from adapt.errors import DataError, Stopped, UsageError
from adapt.records import ChatRecord, Turn, write_records
from adapt.train.log import read_log
from adapt.verbs import evaluate, finetune

FAST = ("train.samples_per_step=6", "train.max_branches=2", "train.max_steps=3", "data.workers=0", "train.tensorboard=no")


def write(folder: Path, name: str, splits: list[str | None]) -> Path:
    records = []
    for number, split in enumerate(splits):
        picture = folder / f"{name}-{number}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(picture)
        for place, answer in enumerate(("yes", "no")):
            turns = (Turn("human", f"<image>\nQuestion {place}?"), Turn("gpt", answer))
            meta = {} if split is None else {"split": split}
            records.append(ChatRecord(f"{name}-{number}-{place}", turns, (picture.name,), ((64, 64),), source=name, meta=meta))
    write_records(folder / f"{name}.jsonl", records)
    return folder / f"{name}.jsonl"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPT_CACHE", str(tmp_path / "cache"))
    return write(tmp_path, "field", ["train"] * 6 + ["val"] * 2 + ["test"] * 2 + ["test_far"])


def test_a_run_leaves_a_model_that_transformers_loads(data: Path, tmp_path: Path) -> None:
    """RUN/model loads in transformers as it is, with our logits to 1e-4; RUN/best too; the log has one row a step."""
    general = write(tmp_path, "common", ["train"] * 5 + ["val"])
    done = finetune(model="nano", data=[data], general=[general], general_ratio=0.5, output=tmp_path / "run", set=FAST)
    run = tmp_path / "run"
    assert done["steps"] == 3 and done["realised_general_ratio"] == pytest.approx(0.5, abs=0.2)
    rows = read_log(run)
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3]
    assert {"loss/field", "loss/common"} <= {name for row in rows for name in row}
    assert {"domain_loss", "general_loss"} <= set(rows[-1])
    for name in ("model", "best"):
        theirs = AutoModelForImageTextToText.from_pretrained(run / name, dtype=torch.float32).eval()
        ours = adapt.load(run / name).model
        ids = torch.tensor([[1] + [ours.config.image_token_id] * ours.config.tokens_per_tile + [9, 10, 11]])
        tiles = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
        with torch.no_grad():
            expected = theirs(input_ids=ids, pixel_values=(tiles.float() - ours.mean) / ours.std).logits
            embedded = ours.language.get_input_embeddings()(ids)
            embedded[0, 1 : 1 + ours.config.tokens_per_tile] = ours.picture_features(tiles)
            found = ours.language(inputs_embeds=embedded).logits
        assert torch.allclose(found, expected, atol=1e-4)
    config = json.loads((run / "config.json").read_text())
    assert config["recipe"]["data.general_ratio"] == 0.5 and config["packages"]["torch"] == torch.__version__.split("+")[0]


@pytest.mark.slow
def test_the_same_run_again_from_its_config(data: Path, tmp_path: Path) -> None:
    """--config starts the same run again: equal losses and equal weights."""
    finetune(model="nano", data=[data], output=tmp_path / "one", set=FAST)
    finetune(config=tmp_path / "one" / "config.json", output=tmp_path / "two")
    losses = [[row["loss"] for row in read_log(tmp_path / name) if "loss" in row] for name in ("one", "two")]
    assert losses[0] == losses[1]
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_tuned_run_is_a_model_to_tune_and_to_score(data: Path, tmp_path: Path) -> None:
    """--model takes a finished run; evaluate scores every test split apart and keeps the answers."""
    finetune(model="nano", data=[data], output=tmp_path / "base", set=FAST)
    finetune(model=tmp_path / "base", data=[data], output=tmp_path / "tuned", set=FAST)
    assert adapt.load(tmp_path / "tuned").model.config.preset == "nano"
    scores = evaluate(benchmark="vqa", model=tmp_path / "tuned", data=data, output=tmp_path / "scores")
    assert set(scores) == {"test", "test_far"}
    assert scores["test"]["metrics"]["exact"]["count"] == 4 and scores["test_far"]["metrics"]["exact"]["count"] == 2
    predictions = [json.loads(line) for line in (tmp_path / "scores" / "test" / "predictions.jsonl").read_text().splitlines()]
    assert [row["id"] for row in predictions] == ["field-8-0", "field-8-1", "field-9-0", "field-9-1"]
    assert (
        evaluate(benchmark="vqa", model=tmp_path / "tuned", data=data, output=tmp_path / "val", split="val")["split"] == "val"
    )
    with pytest.raises(UsageError, match="unknown split .* 'tset': did you mean 'test'"):
        evaluate(benchmark="vqa", model=tmp_path / "tuned", data=data, output=tmp_path / "x", split="tset")


def test_scores_of_rows_that_were_trained_on_say_so(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The training rows, and test rows with --accept-test, in a warning, scores.json and the page; held-out ones do not,
    nor the rows of general data of which nothing was mixed in, nor of a file of another content."""
    general, other = write(tmp_path, "common", [None] * 4), write(tmp_path, "other", ["train"])
    plain, leaky = tmp_path / "plain", tmp_path / "leaky"
    finetune(model="nano", data=[data], general=[general], general_ratio=0, output=plain, set=FAST)
    finetune(model="nano", data=[data], general=[general], general_ratio=1, output=leaky, accept_test=True, set=FAST)
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(data.read_bytes())
    cases = [
        (plain, data, "train", 12), (plain, moved, "train", 12), (plain / "best", data, "train", 12), (plain, data, "val", 0),
        (plain, data, "test", 0), (plain, general, None, 0), (plain, other, "train", 0), (leaky, data, "test", 4),
        (leaky, data, "val", 0), (leaky, general, None, 8),
    ]  # fmt: skip
    for number, (model, rows, split, count) in enumerate(cases):
        capsys.readouterr()
        place = plain / f"scores-{number}"
        scores = evaluate(benchmark="vqa", model=model, data=rows, output=place, split=split, set=["evaluate.max_new_tokens=1"])
        warned = (
            f"warning: {rows}: {count} of {count} questions are rows that {model.parent if model.name == 'best' else model} "
        )
        assert scores["trained_on"] == count, (model, rows, split)
        assert (warned in capsys.readouterr().err) == (count > 0)
    page = (plain / "report.html").read_text()
    assert page.count("trained on 12 of these questions") == 3 and "trained on 0" not in page


def test_dry_run_plans_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    """--dry-run gives steps, tokens, tiles and the mixture, and writes no run."""
    plan = finetune(model="nano", data=[data], output=tmp_path / "run", set=("train.samples_per_step=6",), dry_run=True)
    assert plan["samples"]["domain"] == 12 and plan["steps"] == 2
    assert plan["tiles"] == plan["trees"] and plan["tiles_without_sharing"] == 12
    assert 0 <= plan["padding"] < 1
    assert not (tmp_path / "run").exists()


class _Interrupts(io.StringIO):
    """A stderr that answers a line with Ctrl-C, as a user does who sees it."""

    def write(self, text: str) -> int:
        if "step 3 of 3" in text:
            signal.raise_signal(signal.SIGINT)
        return super().write(text)


def test_a_signal_in_the_last_step_is_not_lost(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is finished, and whoever started it hears of the signal: a sweep or a script does not go on to the next."""
    monkeypatch.setattr("sys.stderr", _Interrupts())
    with pytest.raises(Stopped, match=r"stopped by SIGINT; .*run is finished all the same"):
        finetune(model="nano", data=[data], output=tmp_path / "run", set=FAST)
    monkeypatch.undo()
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert finetune(output=tmp_path / "run", resume=True)["steps"] == 3


def test_test_rows_are_never_trained_on(data: Path, tmp_path: Path) -> None:
    """Rows of test splits are set aside; a file of nothing else is refused with exit 2 unless --accept-test."""
    plan = finetune(model="nano", data=[data], output=tmp_path / "run", dry_run=True)
    assert any("6 rows of test splits set aside" in note for note in plan["notes"])
    only = write(tmp_path, "only", ["test", "test"])
    with pytest.raises(UsageError, match="--accept-test"):
        finetune(model="nano", data=[only], output=tmp_path / "run", dry_run=True)
    assert (
        finetune(model="nano", data=[only], output=tmp_path / "run", dry_run=True, accept_test=True)["samples"]["domain"] == 4
    )


def test_data_without_a_training_row_says_what_became_of_its_rows(data: Path, tmp_path: Path) -> None:
    """Rows of splits that no run knows, beside test rows or not, and dropped ones are counted as where others are left."""
    cases = [
        (
            ["holdout"] * 3,
            (),
            "rows: 6 rows of other splits (holdout) not used; train, val or none are; expected rows of the split train",
        ),
        (["holdout", "test"], (), "rows: 2 rows of test splits set aside; 2 rows of other splits (holdout) not used; train"),
        (["train"], ("data.max_tokens=20", "data.overlong=drop"), "rows: 2 over-long rows dropped: "),
        (["val"], (), "rows (its splits: val 2); expected rows of the split train or of none"),
    ]
    for number, (splits, settings, said) in enumerate(cases):
        only = write(tmp_path, f"only{number}", splits)
        with pytest.raises(UsageError, match=re.escape(f"the domain data has no training {said}")):
            finetune(model="nano", data=[only], output=tmp_path / "run", dry_run=True, set=settings)


def test_a_resume_without_a_run_says_that_it_starts_one(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A kill before the first file leaves nothing to resume, so it is no fault; but a mistyped folder is seen."""
    finetune(model="nano", data=[data], output=tmp_path / "new", resume=True, dry_run=True)
    assert f"{tmp_path / 'new'}: no run to resume; starting a new one\n" in capsys.readouterr().err


def test_wrong_usage_is_refused_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    """Each wrong use is one error that says what to do."""
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    general = write(tmp_path, "common", ["train"])
    cases = [
        ({"model": "nani"}, UsageError, "unknown model 'nani': did you mean 'nano'"),
        ({"model": "runs/none/x"}, UsageError, "no such folder"),
        ({"domain": "drivin"}, UsageError, "unknown domain 'drivin': did you mean 'driving'"),
        ({"data": [tmp_path / "feild.jsonl"]}, UsageError, r"feild.jsonl: no such file: did you mean .*/field.jsonl"),
        ({"data": [data, data]}, UsageError, "given twice"),
        ({"general_ratio": 0.5}, UsageError, "without --general"),
        ({"general_ratio": -1}, UsageError, "expected 0 or more"),
        ({"output": taken}, UsageError, "not empty; add --resume"),
        (
            {"general": [general], "set": ["data.general_ratio=10", "train.samples_per_step=1", "train.max_steps=1"]},
            UsageError,
            "has no domain sample; raise train.samples_per_step",
        ),
        ({"set": ["train.lr=1"]}, UsageError, "unknown setting 'train.lr'"),
        ({"set": ["data.max_tokens=20"]}, DataError, r"field.jsonl:1: \d+ tokens and 1 tile, more than data.max_tokens=20 "),
        (
            {"set": ["train.pack_tokens=20"]},
            DataError,
            r"field.jsonl:1: .*more than train.pack_tokens=20 .*raise train.pack_tokens",
        ),
        (
            {"set": ["train.pack_tokens=20", "data.overlong=drop"]},
            DataError,
            r"field.jsonl:1: .*more than train.pack_tokens=20 ",
        ),
    ]
    for changes, kind, message in cases:
        with pytest.raises(kind, match=message):
            finetune(**({"model": "nano", "data": [data], "output": tmp_path / "run"} | changes))
        assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_never_reaches_the_weights(data: Path, tmp_path: Path) -> None:
    """A run that blows up stops with the step and the records; no model is written."""
    with pytest.raises(DataError, match=r"step \d+: loss .*Records: field-\d"):
        finetune(
            model="nano", data=[data], output=tmp_path / "run", set=(*FAST, "train.learning_rate=1e30", "train.max_steps=20")
        )
    assert not (tmp_path / "run" / "model").exists()
