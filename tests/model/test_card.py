"""The model card: metadata that huggingface_hub reads, data with licences, scores with intervals, and what a person changed."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, metadata_load

from adapt.model.card import DataFacts, ScoreFacts, TrainingFacts, is_sealed, model_card
from adapt.records import write_rows
from adapt.report.card import facts_of_run, update_cards
from adapt.report.runs import read_run

HOSTILE = "x'\": [<script>alert(1)</script>|`a`](b)\n---\nlicense: mit"
BASE = {"hub": "OpenGVLab/InternVL2-1B", "commit": "c" * 40, "weights_sha256": "b" * 64}
PROVENANCE = {"base": BASE, "step": 7, "domain": "remote_sensing", "data": ["aid.jsonl"], "general": ["common.jsonl"]}
ACCURACY = {"value": 0.8125, "count": 48, "low": 0.7, "high": 0.9}


def scored(**more: Any) -> TrainingFacts:
    """Facts with one score and two files."""
    score = ScoreFacts(
        "rsclassify", "aid.jsonl", "test", "the class by name", "accuracy", {"accuracy": ACCURACY}, {"accuracy": 0.5}
    )
    data = (DataFacts("aid.jsonl", False, "rsclassify", 120, "CC BY 4.0", "en"), DataFacts("common.jsonl", True))
    return TrainingFacts(data, (("steps", "7"),), (score,), **more)


def test_the_hub_reads_the_metadata(tmp_path: Path) -> None:
    """Base, data, language, pipeline and scores as huggingface_hub's own classes see them, and unknown where nobody knows."""
    (tmp_path / "README.md").write_text(model_card("internvl2_5", 12, PROVENANCE, scored()), encoding="utf-8")
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.base_model, data.library_name, data.pipeline_tag) == (BASE["hub"], "transformers", "image-text-to-text")
    assert (data.datasets, data.language, data.license) == (["aid", "common"], ["en"], "unknown")
    [result] = data.eval_results
    assert (result.dataset_name, result.dataset_split, result.metric_type) == ("aid.jsonl", "test", "accuracy")
    assert result.metric_value == 0.8125 and data.model_name == "OpenGVLab/InternVL2-1B, tuned for remote sensing"
    assert metadata_load(tmp_path / "README.md")["base_model_relation"] == "finetune"


def test_the_text_says_data_licences_and_intervals() -> None:
    """A licence that a manifest names, unknown where it names none, the interval, the score before, the convention, limits."""
    card = model_card("internvl2_5", 12, PROVENANCE, scored())
    for line in (
        "| file | part | task | rows, all splits | licence |",
        "| aid.jsonl | the field | rsclassify | 120 | CC BY 4.0 |",
        "| common.jsonl | mixed in | unknown | unknown | unknown |",
        "| accuracy (headline) | 0.8125 | 0.7 to 0.9 | 48 | 0.5 |",
        "Convention: the class by name.",
        "## Limits",
    ):
        assert line in card


def test_general_data_that_was_only_measured_is_not_called_learnt() -> None:
    """At ratio 0 the general file is no part of the training: not in the title's line and not among the data sets."""
    card = model_card("internvl2_5", 12, PROVENANCE, TrainingFacts((DataFacts("aid.jsonl"),)))
    assert "on aid.jsonl, 7 steps." in card and "common" not in card


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    """Names with markup, quotes, line ends and YAML of their own are values of the metadata, and no tag or link in the text."""
    score = ScoreFacts(HOSTILE, HOSTILE, HOSTILE, HOSTILE, "accuracy", {"accuracy": ACCURACY})
    facts = TrainingFacts((DataFacts(HOSTILE, licence=HOSTILE, task=HOSTILE, language="en"),), ((HOSTILE, HOSTILE),), (score,))
    provenance = PROVENANCE | {"domain": HOSTILE, "base": {"folder": "/a/" + HOSTILE.replace("/", "")}}
    (tmp_path / "README.md").write_text(model_card("internvl2_5", 12, provenance, facts), encoding="utf-8")
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.license == "unknown" and card.data.eval_results[0].dataset_name == HOSTILE
    text = card.text.partition("```python")[0] + card.text.partition("```python")[2].partition("\n```")[2]
    text = re.sub(r"`[^`\n]*`", "", text.replace("\\`", ""))  # without what stands in code spans
    assert "<script>" not in text and "](b)" not in text.replace("\\](b)", "") and "\n---" not in text
    rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert [line.count("|") - 1 for line in rows] == [5] * 6 + [2] * 3


def test_a_card_that_was_changed_is_known() -> None:
    """A letter changed, text after the seal, and a card without a seal are a person's; the card as written is ours."""
    card = model_card("internvl2_5", 12, PROVENANCE)
    assert is_sealed(card)
    for other in (
        card.replace("7 steps", "8 steps"),
        card + "more\n",
        card.rpartition("<!--")[0],
        "",
        card.replace("sha256 ", ""),
    ):
        assert not is_sealed(other)


def test_a_forged_or_second_seal_fools_nobody() -> None:
    """A card with the words of a seal in its data is still sealed by its last line alone."""
    seal = model_card("internvl2_5", 12, {}).splitlines()[-1]
    facts = TrainingFacts((DataFacts(seal),))
    card = model_card("internvl2_5", 12, PROVENANCE, facts)
    assert is_sealed(card) and not is_sealed(card.replace("7 steps", "9 steps"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a model folder, its data's manifest, and scores of its model and of its base."""
    folder = tmp_path / "run"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    own = {"template": "internvl2_5", "tiling": {"max_tiles": 12}, "provenance": PROVENANCE}
    (folder / "model" / "adapt.json").write_text(json.dumps(own))
    recipe = {"train.stage": "all", "train.learning_rate": 1e-5, "data.general_ratio": 0.25}
    arguments = {"data": [str(tmp_path / "aid.jsonl")], "general": [str(tmp_path / "common.jsonl")], "domain": "remote_sensing"}
    (folder / "config.json").write_text(json.dumps({"arguments": arguments, "recipe": recipe, "model": BASE}))
    write_rows(folder / "log.jsonl", [{"step": 1, "loss": 1.0}])
    manifest = {"task": "rsclassify", "counts": {"records": 31}, "facts": {"licence": "CC BY 4.0"}}
    (tmp_path / "aid.manifest.json").write_text(json.dumps(manifest))
    card = model_card("internvl2_5", 12, PROVENANCE, facts_of_run(folder))
    (folder / "model" / "README.md").write_text(card, encoding="utf-8")
    return folder


def write_scores(folder: Path, weights: str, value: float) -> None:
    """Scores of a model with these weights."""
    folder.mkdir(parents=True)
    document = {
        "benchmark": "rsclassify",
        "headline": "accuracy",
        "convention": "by name",
        "data": "aid.jsonl",
        "split": "test",
    }
    metrics = {"accuracy": ACCURACY | {"value": value}}
    (folder / "scores.json").write_text(json.dumps(document | {"metrics": metrics, "model": {"weights_sha256": weights}}))


def test_scores_come_into_the_card(run: Path) -> None:
    """Those of RUN/model by its weights, those of the base beside them as before, those of another model not at all."""
    write_scores(run / "scores" / "after", hashlib.sha256(b"weights").hexdigest(), 0.75)
    write_scores(run / "scores" / "before", "b" * 64, 0.25)
    write_scores(run / "scores" / "other", "d" * 64, 0.99)
    update_cards(read_run(run, "run"))
    card = ModelCard.load(run / "model" / "README.md")
    assert [result.metric_value for result in card.data.eval_results] == [0.75]
    assert "| accuracy (headline) | 0.75 | 0.7 to 0.9 | 48 | 0.25 |" in card.text and "0.99" not in card.text
    assert "| aid.jsonl | the field | rsclassify | 31 | CC BY 4.0 |" in card.text
    before = (run / "model" / "README.md").read_bytes()
    update_cards(read_run(run, "run"))
    assert (run / "model" / "README.md").read_bytes() == before


@pytest.mark.parametrize(("facts", "shown"), [({}, "EuroSAT MIT"), ({"licence": "CC0"}, "CC0")])
def test_the_licence_that_convert_writes_is_shown(run: Path, tmp_path: Path, facts: dict[str, str], shown: str) -> None:
    """The manifest's licence stands in the card's table; one that a person wrote among the facts goes first."""
    manifest = {"task": "rsclassify", "counts": {"records": 31}, "licence": "EuroSAT MIT", "facts": facts}
    (tmp_path / "aid.manifest.json").write_text(json.dumps(manifest))
    assert f"| rsclassify | 31 | {shown} |" in model_card("internvl2_5", 12, PROVENANCE, facts_of_run(run))


def test_a_file_that_was_cut_after_its_conversion_has_the_rows_that_were_read(run: Path, tmp_path: Path) -> None:
    """The manifest speaks of 31 rows, the run has read 12: these stand in the card, and that the file was edited."""
    manifest = {"task": "rsclassify", "counts": {"records": 31}, "sha256": "a" * 64, "licence": "CC0"}
    (tmp_path / "aid.manifest.json").write_text(json.dumps(manifest))
    config = json.loads((run / "config.json").read_text())
    data = str(tmp_path / "aid.jsonl")

    def card(**more: Any) -> str:
        (run / "config.json").write_text(json.dumps(config | more))
        return model_card("internvl2_5", 12, PROVENANCE, facts_of_run(run))

    cut = card(files={data: "b" * 64}, rows={data: 12}, edited=[data])
    assert "| aid.jsonl | the field | rsclassify | 12, edited | CC0 |" in cut and "changed between its conversion and" in cut
    uncounted = card(files={data: "b" * 64})  # a run from before rows were counted
    assert "| rsclassify | unknown | CC0 |" in uncounted and "edited" not in uncounted
    whole = card(files={data: "a" * 64}, rows={data: 31}, edited=[])
    assert "| rsclassify | 31 | CC0 |" in whole and "edited" not in whole


@pytest.mark.parametrize("counted", [True, False])
def test_a_conversion_after_the_run_leaves_the_card_as_it_is(run: Path, tmp_path: Path, counted: bool) -> None:
    """Converted again with other rows, then scored: the old count stands, also of a run that kept none, and no "edited"."""
    manifest = {"task": "rsclassify", "counts": {"records": 1031}, "sha256": "a" * 64}
    (tmp_path / "aid.manifest.json").write_text(json.dumps(manifest))
    data = str(tmp_path / "aid.jsonl")
    config = json.loads((run / "config.json").read_text()) | {"files": {data: "a" * 64}}
    config |= {"rows": {data: 1031}, "edited": []} if counted else {}
    (run / "config.json").write_text(json.dumps(config))
    (run / "model" / "README.md").write_text(model_card("internvl2_5", 12, PROVENANCE, facts_of_run(run)))
    (tmp_path / "aid.manifest.json").write_text(json.dumps(manifest | {"counts": {"records": 40}, "sha256": "b" * 64}))
    write_scores(run / "scores", hashlib.sha256(b"weights").hexdigest(), 0.75)
    update_cards(read_run(run, "run"))
    card = (run / "model" / "README.md").read_text()
    assert "0.75" in card and "| aid.jsonl | the field | rsclassify | 1,031 | unknown |" in card and "edited" not in card


def test_a_card_of_a_person_is_left_alone(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Scores do not overwrite what somebody wrote into the card; one line says so."""
    write_scores(run / "scores", hashlib.sha256(b"weights").hexdigest(), 0.75)
    card = run / "model" / "README.md"
    card.write_text(card.read_text() + "\nWe would not use it at night.\n")
    update_cards(read_run(run, "run"))
    assert card.read_text().endswith("We would not use it at night.\n") and "0.75" not in card.read_text()
    assert "changed by hand" in capfd.readouterr().err


def test_a_base_that_came_from_the_hub_through_folders_is_named(run: Path, tmp_path: Path) -> None:
    """A run tuned from a run that was tuned from the hub names the hub's model as its base."""
    first = tmp_path / "first" / "model"
    first.mkdir(parents=True)
    (first / "adapt.json").write_text(json.dumps({"provenance": PROVENANCE}))
    config = json.loads((run / "config.json").read_text()) | {"model": {"folder": str(tmp_path / "first")}}
    (run / "config.json").write_text(json.dumps(config))
    facts = facts_of_run(run)
    assert facts is not None and facts.origin == BASE["hub"]
    card = model_card("internvl2_5", 12, PROVENANCE | {"base": {"folder": str(tmp_path / "first")}}, facts)
    assert f"base_model: {BASE['hub']}\n" in card and str(tmp_path) not in card
