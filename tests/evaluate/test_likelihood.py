"""Multiple choice by likelihood against transformers' own logits, one option of one question at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import save_random
from transformers import AutoModelForImageTextToText

import adapt
from adapt.data.template import encode, get_template
from adapt.data.tiling import tile
from adapt.errors import DataError
from adapt.evaluate import likelihood
from adapt.evaluate.answer import Answerer
from adapt.evaluate.likelihood import Choice, choose_options
from adapt.evaluate.question import Question
from adapt.records import ChatRecord, Turn

OPTIONS = (("river", "a forest", "residential area", "sea"), ("yes", "no"), ("A", "B", "C"))
WORDS = ("which of river, a forest, residential area, sea? yes no",)
LANGUAGE = {
    "model_type": "qwen2", "vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "tie_word_embeddings": False,
}  # fmt: skip
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [30.0] * 4, "factor": 13.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models with random weights and three pictures."""
    place = tmp_path_factory.mktemp("likelihood")
    save_random(place / "plain", LANGUAGE, WORDS, max_tiles=4, scale=4)
    longrope = LANGUAGE | {"rope_parameters": LONGROPE | {"original_max_position_embeddings": 45}}
    save_random(place / "longrope", longrope, WORDS, max_tiles=4, scale=4)
    random = np.random.default_rng(0)
    for number, size in enumerate([(32, 32), (70, 30), (64, 64)]):
        Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(place / f"{number}.png")
    return place


def choices_of(folder: Path) -> list[Choice]:
    """One question of picture 0, three of picture 1, two of picture 2, one of text alone."""
    asked = [("0", 0), ("1", 0), ("1", 1), ("1", 2), ("2", 1), ("2", 2)]
    made = [
        Choice(Question.ask(f"{name}-{kind}", (folder / f"{name}.png",), f"Which of these? {kind}"), OPTIONS[kind])
        for name, kind in asked
    ]
    return [*made, Choice(Question.ask("text", (), "Is it a sea?"), OPTIONS[1])]


def one_by_one(theirs: Any, answerer: Answerer, choice: Choice) -> list[tuple[float, int]]:
    """(log-probability, tokens) of each option, from the logits of transformers' class on that one conversation."""
    template, config = get_template("internvl2_5"), answerer.model.config
    found = []
    for option in choice.options:
        pictures = choice.question.pictures
        tiles = [tile(Image.open(path).convert("RGB"), config.max_tiles, config.tile_px) for path in pictures]
        counts = [len(each) * config.tokens_per_tile for each in tiles]
        turns = [*choice.question.turns, Turn("gpt", option)]
        ids, labels = (torch.tensor(each) for each in encode(turns, template, answerer.tokenizer, image_tokens=counts))
        inputs = {"input_ids": ids[None]}
        if tiles:
            pixels = torch.from_numpy(np.concatenate(tiles)).permute(0, 3, 1, 2).float()
            inputs["pixel_values"] = (pixels - answerer.model.get_buffer("mean")) / answerer.model.get_buffer("std")
        last = int((labels >= 0).nonzero().max()) + 1
        inputs["input_ids"] = inputs["input_ids"][:, :last]
        with torch.no_grad():
            shares = theirs(**inputs).logits[0].double().log_softmax(-1)
        places = (labels[:last] >= 0).nonzero().flatten()
        found.append((float(shares[places - 1, ids[places]].sum()), len(places)))
    return found


def test_a_model_of_no_numbers_chooses_nothing(folder: Path) -> None:
    """Of options that all weigh NaN the first would be the answer."""
    answerer = adapt.load(folder / "plain")
    with torch.no_grad():
        next(answerer.model.language.parameters()).fill_(float("nan"))
    with pytest.raises(DataError, match="NaN or infinity"):
        list(choose_options(answerer, choices_of(folder)))


@pytest.mark.parametrize("model", ["plain", "longrope"])
@pytest.mark.parametrize("most", [1024, 40])
def test_scores_equal_one_by_one(folder: Path, monkeypatch: pytest.MonkeyPatch, model: str, most: int) -> None:
    """Every option's log-probability is that of transformers' class on it alone, within 1e-5; the likeliest is chosen."""
    monkeypatch.setitem(likelihood._TOKENS, "cpu", most)
    answerer, choices = adapt.load(folder / model), choices_of(folder)
    theirs = AutoModelForImageTextToText.from_pretrained(folder / model, dtype=torch.float32).eval()
    expected = {choice.question.key: one_by_one(theirs, answerer, choice) for choice in choices}
    options = {choice.question.key: choice.options for choice in choices}
    changed = set()
    for normalise in ("total", "mean"):
        found = {key: (chosen, scores) for key, chosen, scores in choose_options(answerer, choices, normalise=normalise)}
        assert set(found) == set(options)
        for key, (chosen, scores) in found.items():
            assert scores == pytest.approx([score for score, _ in expected[key]], abs=1e-5)
            weighed = [score / (count if normalise == "mean" else 1) for score, count in expected[key]]
            assert chosen == options[key][int(np.argmax(weighed))]
            changed.add((key, chosen))
    assert len({chosen for _, chosen in changed}) > 3, "the choices must differ, or this proves nothing"


def record(answer: str, **meta: Any) -> ChatRecord:
    return ChatRecord("r", (Turn("human", "Which?"), Turn("gpt", answer)), meta=meta)


@pytest.mark.parametrize(
    ("answer", "spelled"),
    [("River", ("River", "Sea")), ("B", ("A", "B")), ("B. Sea", ("A. River", "B. Sea")), ("A: River", ("A: River", "B: Sea"))],
)
def test_options_are_spelled_as_the_truth_is(answer: str, spelled: tuple[str, ...]) -> None:
    """By name, by letter, or by both."""
    assert Choice.of(record(answer, candidates=["River", "Sea"]), Path()).options == spelled


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (record("River"), "r: no list of names in meta.candidates"),
        (record("Lake", candidates=["River", "Sea"]), "r: the answer 'Lake' is none of meta.candidates"),
        (record("River", candidates=["River"]), "expected two or more different ones"),
        (record("River", candidates=["River", "River"]), "expected two or more different ones"),
    ],
)
def test_a_question_without_options_is_named(made: ChatRecord, message: str) -> None:
    """What cannot be chosen from is a DataError with the record's id."""
    with pytest.raises(DataError, match=message):
        Choice.of(made, Path())
