"""Answers of the tree decoder against transformers' own ``generate``, one question at a time."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import save_random
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, GenerationConfig, GenerationMixin

import adapt
from adapt.data.template import decode_answer, encode, get_template
from adapt.data.tiling import tile
from adapt.errors import DataError, UsageError
from adapt.evaluate import generate, prompts
from adapt.evaluate.answer import Answerer
from adapt.evaluate.choosing import Chooser
from adapt.evaluate.generate import Question, answer_questions
from adapt.model.branches import Queries, Step
from adapt.records import ChatRecord, Turn
from adapt.verbs import chat, export

QUESTIONS = [
    "What is it?",
    "Which colour is the roof of the house?",
    "How many cars?",
    "Is there a road?",
    "Left or right of the tree?",
]


DTYPES = ("float32", "bfloat16")
LANGUAGE = {
    "model_type": "qwen2", "vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights, large enough in scale that answers differ."""
    place = tmp_path_factory.mktemp("model")
    save_random(place / "m", LANGUAGE, QUESTIONS, max_tiles=4)
    random = np.random.default_rng(0)
    for number, size in enumerate([(32, 32), (70, 30), (64, 64), (40, 90)]):
        Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(place / f"{number}.png")
    return place


def questions_of(folder: Path) -> list[Question]:
    """1 to 5 questions a picture, one with two pictures, one of text alone, one with an earlier turn."""
    asked = [
        Question.ask(f"{number}-{place}", (folder / f"{number}.png",), text)
        for number in range(4)
        for place, text in enumerate(QUESTIONS[: number + 2])
    ]
    asked.append(Question.ask("pair", (folder / "0.png", folder / "3.png"), "Which is larger?"))
    asked.append(Question.ask("text", (), "What is a road?"))
    asked.append(Question.ask("text too", (), "How many?"))
    turns = (Turn("human", "<image>\nWhat is it?"), Turn("gpt", "a house"), Turn("human", "How many?"))
    asked.append(Question("turns", (folder / "1.png",), turns))
    return asked


def their_answer(theirs: Any, answerer: Answerer, question: Question, max_new_tokens: int) -> str:
    """Greedy, by transformers' generate, on the question alone."""
    template, config, tokenizer = get_template("internvl2_5"), answerer.model.config, answerer.tokenizer
    end = tokenizer.convert_tokens_to_ids(template.end)
    budget = max(1, config.max_tiles // max(1, len(question.pictures)))
    tiles = [tile(Image.open(path).convert("RGB"), budget, config.tile_px) for path in question.pictures]
    counts = [len(each) * config.tokens_per_tile for each in tiles]
    ids, _ = encode([*question.turns, Turn("gpt", "x")], template, tokenizer, image_tokens=counts)
    header = tokenizer("assistant\n", add_special_tokens=False).input_ids
    last = max(i for i in range(len(ids)) if ids[i : i + len(header)] == header) + len(header)
    inputs = {"input_ids": torch.tensor([ids[:last]])}
    if tiles:
        pixels = torch.from_numpy(np.concatenate(tiles)).permute(0, 3, 1, 2).float()
        inputs["pixel_values"] = (pixels - answerer.model.get_buffer("mean")) / answerer.model.get_buffer("std")
    settings = {"max_new_tokens": max_new_tokens, "do_sample": False, "eos_token_id": end, "pad_token_id": end}
    return decode_answer(theirs.generate(**inputs, **settings)[0, last:].tolist(), template, tokenizer).strip()


def their_model(folder: Path) -> Any:
    """transformers' own class on the same files."""
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()


def test_answers_equal_generate_of_transformers(folder: Path) -> None:
    """In float32 every greedy answer equals transformers' generate on the same question alone, token for token."""
    answerer, theirs = adapt.load(folder / "m"), their_model(folder / "m")
    found = dict(answer_questions(answerer, questions_of(folder), max_new_tokens=12))
    for question in questions_of(folder):
        assert found[question.key] == their_answer(theirs, answerer, question, 12), question.key
    assert len(set(found.values())) > 3, "the answers must differ, or this proves nothing"


PHI3 = {
    "model_type": "phi3", "vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "intermediate_size": 64, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "pad_token_id": 0,
}  # fmt: skip
FAMILIES = {
    "llama": LANGUAGE | {"model_type": "llama"},
    "one key head": LANGUAGE | {"model_type": "llama", "num_key_value_heads": 1},
    "qwen3": LANGUAGE | {"model_type": "qwen3", "head_dim": 16},
    "phi3": PHI3,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_as_transformers_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """The same for other language models, with two answers at a time, so that most questions take a place that was freed."""
    save_random(tmp_path / "m", FAMILIES[family], QUESTIONS, max_tiles=4)
    answerer, theirs = adapt.load(tmp_path / "m"), their_model(tmp_path / "m")
    monkeypatch.setattr(generate, "ANSWERS", 2)
    asked = [each for each in questions_of(folder) if each.key in ("0-0", "0-1", "3-0", "3-4", "pair", "text", "turns")]
    found = dict(answer_questions(answerer, asked, max_new_tokens=20))
    assert found == {question.key: their_answer(theirs, answerer, question, 20) for question in asked}
    assert len(set(found.values())) > 3, "the answers must differ, or this proves nothing"


def test_fifty_prompts_equal_generate_on_the_exported_model(folder: Path, tmp_path: Path) -> None:
    """50 prompts with none to three pictures, through the official layout into transformers and asked there with its own
    processor on Pillow pixels: the greedy text is the same, and so are a video's frames."""
    export(model=folder / "m", format="internvl", output=tmp_path / "official")
    export(model=tmp_path / "official", format="transformers", output=tmp_path / "exported")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "exported", dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "exported")
    processor.image_processor = AutoImageProcessor.from_pretrained(tmp_path / "exported", backend="pil")
    random = np.random.default_rng(1)
    asked = []
    for number in range(49):
        paths = tuple(folder / f"{picture}.png" for picture in random.integers(0, 4, number % 4))
        asked.append(Question.ask(str(number), paths, f"{QUESTIONS[number % 5]} {number}"))
    asked.append(Question.watch("video", tuple(folder / f"{picture}.png" for picture in range(4)), "What is it?"))
    answerer, template = adapt.load(tmp_path / "exported"), get_template("internvl2_5")
    found = dict(answer_questions(answerer, asked, max_new_tokens=12))
    for question in asked:
        budget = 1 if question.key == "video" else max(1, 4 // max(1, len(question.pictures)))
        messages = [{"role": "user", "content": question.turns[0].value}]
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        shown = {"images": [Image.open(path) for path in question.pictures], "max_patches": budget} if question.pictures else {}
        inputs = processor(text=text, return_tensors="pt", **shown)
        made = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert found[question.key] == decode_answer(made.tolist(), template, answerer.tokenizer).strip(), question.key
    assert len(set(found.values())) > 20, "the answers must differ, or this proves nothing"


def test_a_drawn_answer_depends_on_its_question_and_seed_alone(folder: Path) -> None:
    """The same in any company, another for another seed; top_k=1 and a temperature near 0 are greedy."""
    answerer, asked = adapt.load(folder / "m"), questions_of(folder)

    def answers(questions: list[Question], **sampling: Any) -> dict[str, str]:
        return dict(answer_questions(answerer, questions, max_new_tokens=6, sampling=adapt.Sampling(**sampling)))

    drawn = answers(asked, temperature=1.0, seed=1)
    for question in asked[:6]:
        assert answers([question], temperature=1.0, seed=1) == {question.key: drawn[question.key]}
    assert drawn != answers(asked, temperature=1, seed=2)
    greedy = dict(answer_questions(answerer, asked, max_new_tokens=6))
    assert greedy == answers(asked, temperature=1.0, top_k=1) == answers(asked, temperature=1e-38) != drawn


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_a_fault(temperature: float, value: float) -> None:
    """A damaged model is named: its likeliest token would be scored like an answer, and nothing can be drawn."""
    choose = Chooser(adapt.Sampling(temperature), 1)
    logits = torch.zeros(2, 5)
    assert len(choose(logits, [0.5, 0.5])) == 2
    logits[1, 3] = value
    with pytest.raises(DataError, match="NaN or infinity .* float32"):
        choose(logits, [0.5, 0.5])


def test_draws_follow_the_shares_of_transformers() -> None:
    """4,000 draws at temperature, top_k and top_p fall as transformers' own warpers share them out, within 4 deviations."""
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])
    sampling = adapt.Sampling(temperature=0.7, top_k=5, top_p=0.985, seed=3)
    choose = Chooser(sampling, 1)
    draws = [choose.draws(str(number)) for number in range(4000)]
    counts = torch.bincount(
        choose(logits.expand(len(draws), -1), [float(each[0]) for each in draws if each is not None]), minlength=6
    )
    processors = GenerationMixin()._get_logits_processor  # noqa: SLF001 (the list that generate itself makes)
    settings = GenerationConfig(do_sample=True, temperature=0.7, top_k=5, top_p=0.985)
    warped = logits[None]
    for processor in processors(settings, input_ids_seq_length=1, device="cpu"):
        warped = processor(None, warped)
    shares = warped[0].softmax(-1)
    spread = (len(draws) * shares * (1 - shares)).sqrt()
    assert (counts[shares == 0] == 0).all() and (shares == 0).sum() == 2
    assert ((counts - len(draws) * shares).abs() <= 4 * spread).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"top_k": -2}, "top_k -2"),
        ({"top_p": 0.0}, "top_p 0.0"),
        ({"top_p": 1.1}, "top_p 1.1"),
        ({"seed": 3}, "give a temperature above 0"),
    ],
)
def test_impossible_draws_are_wrong_usage(values: dict[str, Any], message: str) -> None:
    """A value out of range, and one that would change nothing, is named."""
    with pytest.raises(UsageError, match=message):
        adapt.Sampling(**values)


def test_a_video_is_asked_about(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """answer_video and ``adapt chat --video`` show the frames as ``Frame-1: <image>`` lines, one tile each."""
    answerer = adapt.load(folder / "m")
    frames = [folder / f"{number}.png" for number in range(4)]
    answer = answerer.answer_video(frames, "What is it?", max_new_tokens=8)
    asked = Question(
        "q", tuple(frames), (Turn("human", "".join(f"Frame-{n}: <image>\n" for n in range(1, 5)) + "What is it?"),), 1
    )
    assert answer == dict(answer_questions(answerer, [asked], max_new_tokens=8))["q"]
    with pytest.raises(UsageError, match="has no <image> place"):
        answerer.answer_video(frames, "<image> What is it?")
    with pytest.raises(UsageError, match="give --image or --video"):
        chat(model=folder / "m", video=folder, image=[frames[0]], question="What?")


def test_company_does_not_change_answers(folder: Path) -> None:
    """An answer is the same whether its question is asked alone or with all others."""
    answerer = adapt.load(folder / "m")
    asked = questions_of(folder)
    together = dict(answer_questions(answerer, asked, max_new_tokens=6))
    for question in asked:
        assert dict(answer_questions(answerer, [question], max_new_tokens=6)) == {question.key: together[question.key]}


def test_company_does_not_change_answers_where_rope_follows_the_length(folder: Path, tmp_path: Path) -> None:
    """The same for longrope: questions within the trained length, beyond it, and those whose answer crosses it."""
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [30.0] * 4}
    rope |= {"original_max_position_embeddings": 45, "factor": 13.0}
    save_random(tmp_path / "m", LANGUAGE | {"rope_parameters": rope}, QUESTIONS, max_tiles=4)
    answerer = adapt.load(tmp_path / "m")
    asked = questions_of(folder)
    together = dict(answer_questions(answerer, asked, max_new_tokens=12))
    alone = {each.key: dict(answer_questions(answerer, [each], max_new_tokens=12))[each.key] for each in asked}
    assert together == alone
    sides = {tree.side for tree in prompts.group(answerer, asked, 12)}
    assert {0, 46} < sides, "the questions must lie on all sides, or this proves nothing"


def test_python_form_answers(folder: Path) -> None:
    """adapt.load(...).answer takes a path or several; answer_records answers by record id and never sees the ground truth."""
    answerer = adapt.load(folder / "m")
    one = answerer.answer(folder / "0.png", QUESTIONS[0], max_new_tokens=6)
    found = [
        answerer.answer_records(
            [ChatRecord("r", (Turn("human", f"<image>\n{QUESTIONS[0]}"), Turn("gpt", truth)), ("0.png",))],
            images=folder,
            max_new_tokens=6,
        )
        for truth in ("yes", "a completely different answer")
    ]
    assert found[0] == found[1] == {"r": one}


def test_a_model_answers_in_bfloat16_too(folder: Path) -> None:
    """In half the memory, near float32: the first token is the same for nearly all questions; another type is refused."""
    asked = questions_of(folder)
    answers = [dict(answer_questions(adapt.load(folder / "m", dtype=dtype), asked, max_new_tokens=1)) for dtype in DTYPES]
    same = sum(answers[0][question.key] == answers[1][question.key] for question in asked)
    assert same >= 0.8 * len(asked)
    with pytest.raises(UsageError, match="unknown dtype 'float8'"):
        adapt.load(folder / "m", dtype="float8")


def test_answers_of_records_keep_their_order(folder: Path) -> None:
    """answer_records answers in the order of the records, whatever was decoded first."""
    turns = (Turn("human", "<image>\nWhat is it?"), Turn("gpt", "x"))
    text = (Turn("human", "What is it?"), Turn("gpt", "x"))
    records = [ChatRecord("b", turns, ("3.png",)), ChatRecord("a", turns, ("0.png",)), ChatRecord("c", text)]
    records += [ChatRecord("d", turns, ("3.png",))]
    assert list(adapt.load(folder / "m").answer_records(records, images=folder, max_new_tokens=2)) == ["b", "a", "c", "d"]


class Watched(Step):
    """What each step held and computed, noted in ``seen``: answers, tokens, places of keys."""

    seen: ClassVar[list[tuple[int, int, int]]] = []

    def __init__(self, queries: Sequence[Queries], device: torch.device) -> None:
        super().__init__(queries, device)
        banks = {each.bank for each in queries}
        shelves = {each.shelf for each in queries if each.shelf is not None}
        held = sum(bank.num_used * bank.num_places for bank in banks) + sum(shelf.num_keys for shelf in shelves)
        self.seen.append((len(queries), sum(each.count for each in queries), held))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """(answers, tokens, places of keys) of every step from now on."""
    monkeypatch.setattr(Watched, "seen", [])
    monkeypatch.setattr(generate, "Step", Watched)
    return Watched.seen


def test_what_is_held_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch, seen: list[tuple[int, int, int]]) -> None:
    """Places of keys stay within KEYS unless a question is alone, however long answers grow; the answers stay the same."""
    answerer, bound = adapt.load(folder / "m"), 400
    free = dict(answer_questions(answerer, questions_of(folder), max_new_tokens=28))
    assert max(held for _, _, held in seen) > 2 * bound, "the bound must matter, or this proves nothing"
    seen.clear()
    monkeypatch.setattr(generate, "KEYS", bound)
    assert dict(answer_questions(answerer, questions_of(folder), max_new_tokens=28)) == free
    assert all(answers == 1 or held <= bound for answers, _, held in seen)
    assert max(answers for answers, _, _ in seen) > 2, "nothing was decoded together, or this proves nothing"


def test_a_place_that_is_freed_is_taken_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seen: list[tuple[int, int, int]]
) -> None:
    """With two places both are in use until no question of the picture waits; of many pictures never less than half of them."""
    answerer, asked = adapt.load(folder / "m"), questions_of(folder)
    monkeypatch.setattr(generate, "ANSWERS", 2)
    list(answer_questions(answerer, [each for each in asked if each.key.startswith("3-")], max_new_tokens=12))
    busy = [answers for answers, _, _ in seen]
    assert busy == sorted(busy, reverse=True) and busy.count(2) > busy.count(1)
    seen.clear()
    monkeypatch.setattr(generate, "ANSWERS", 6)
    list(answer_questions(answerer, asked, max_new_tokens=12))
    busy = [answers for answers, _, _ in seen]
    last = max(step for step, (answers, tokens, _) in enumerate(seen) if tokens > answers)
    assert min(busy[:last]) >= 3 and last > 0.5 * len(busy)


def test_nothing_is_computed_twice_or_after_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seen: list[tuple[int, int, int]]
) -> None:
    """The steps compute each question's own prompt once and each token of its answer but the last, and no token more."""
    answerer, asked = adapt.load(folder / "m"), questions_of(folder)
    lengths = [len(ids) for tree in prompts.group(answerer, asked, 16) for ids in tree.branches]
    made: list[int] = []
    run = generate._Decoder.run

    def noted(self: Any) -> Any:
        for key, ids in run(self):
            made.append(len(ids))
            yield key, ids

    monkeypatch.setattr(generate._Decoder, "run", noted)
    assert len(dict(answer_questions(answerer, asked, max_new_tokens=16))) == len(asked)
    assert sum(tokens for _, tokens, _ in seen) == sum(lengths) + sum(made) - len(asked)
    assert len(set(made)) > 2, "the answers must be of unequal length, or this proves nothing"


def test_an_answer_is_given_out_when_it_ends(folder: Path, seen: list[tuple[int, int, int]]) -> None:
    """The first answers come before the steps of the longest are computed."""
    answerer, came = adapt.load(folder / "m"), []
    for _ in answer_questions(answerer, questions_of(folder), max_new_tokens=16):
        came.append(len(seen))
    assert came[0] < came[-1] and came == sorted(came)


def test_a_long_prompt_is_prefix_but_for_its_last_token(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a prompt behind its picture is long its attention is not held as pairs; the answer stays the same."""
    answerer, asked = adapt.load(folder / "m"), questions_of(folder)
    free = dict(answer_questions(answerer, asked, max_new_tokens=12))
    monkeypatch.setattr(prompts, "MOST_PAIRS", 1400)
    assert dict(answer_questions(answerer, asked, max_new_tokens=12)) == free
    lengths = {len(ids) for tree in prompts.group(answerer, asked, 12) for ids in tree.branches}
    assert 1 in lengths and len(lengths) > 2, "some must be long and some not, or this proves nothing"


@pytest.mark.parametrize(("pictures", "text"), [(0, "what does <image> mean?"), (1, "<image> or <image>?")])
def test_a_place_without_a_picture_is_wrong_usage(folder: Path, pictures: int, text: str) -> None:
    """A question with more <image> places than pictures is answered with one line that counts both."""
    answerer = adapt.load(folder / "m")
    with pytest.raises(UsageError, match=f"{text.count('<image>')} <image> place.* for {pictures} picture"):
        answerer.answer([folder / "0.png"] * pictures, text, max_new_tokens=2)


def test_records_with_another_number_of_pictures_are_named(folder: Path) -> None:
    """A record made in Python whose pictures do not fit its text is a DataError with its id."""
    turns = (Turn("human", "What is it?"), Turn("gpt", "x"))
    with pytest.raises(DataError, match=r"r7: 0 <image> placeholder\(s\) for 1 picture"):
        adapt.load(folder / "m").answer_records([ChatRecord("r7", turns, ("0.png",))], images=folder)


def test_two_records_of_one_id_are_named(folder: Path) -> None:
    """Answers come by id: records of two files that share one would share an answer, too."""
    answerer = adapt.load(folder / "m")
    records = [ChatRecord("a", (Turn("human", text), Turn("gpt", "x"))) for text in ("What?", "Who?")]
    with pytest.raises(DataError, match="two questions have the id 'a'"):
        answerer.answer_records(records)


@pytest.mark.parametrize("longest", [0, -1])
def test_an_answer_has_at_least_one_token(folder: Path, longest: int) -> None:
    """No room for an answer is wrong usage."""
    with pytest.raises(UsageError, match=f"max_new_tokens is {longest}; expected 1 or more"):
        adapt.load(folder / "m").answer(folder / "0.png", "What is it?", max_new_tokens=longest)


def test_a_terminal_session_survives_a_question_that_cannot_be_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a wrong question and a picture that went away, the next question is answered."""
    (folder / "4.png").write_bytes((folder / "0.png").read_bytes())

    def lines() -> Any:
        yield "<image> or <image>?\n"
        yield "What is it?\n"
        (folder / "4.png").unlink()
        yield "How many?\n"

    class Terminal(io.StringIO):
        made = lines()

        def readline(self, *args: Any) -> str:
            return next(self.made, "")

    monkeypatch.setattr("sys.stdin", Terminal())
    chat(model=folder / "m", image=[folder / "4.png"], max_new_tokens=4)
    answer = adapt.load(folder / "m").answer(folder / "0.png", "What is it?", max_new_tokens=4)
    captured = capsys.readouterr()
    assert captured.out == answer + "\n"
    assert captured.err.count("error: ") == 2
    assert "2 <image> place(s) for 1 picture" in captured.err and "4.png: no such file" in captured.err
