"""Questions answered a second: all of a picture's from one prefill, against one question at a time through ``generate``.

The same weights, pictures, questions, greedy choice and longest answer, in one process; the answers are compared, or the speeds
mean nothing. Shape of RSVQA: one 448 px tile and 100 questions a picture, lengths of questions and answers as in
benchmarks/lengths.json. The model is the 1b preset's shape in small (benchmarks/training.py), with random weights; the end
token's row of its head is set so that answers are about as long as the real ones. The peer is transformers'
``InternVLForConditionalGeneration``; its pixels are made beforehand, ours are read from files and tiled inside the time.

Run: python -m benchmarks.generation [--pictures N] [--questions N] [--device cpu|cuda] [--json]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from adapt.data.template import decode_answer, encode_prompt, get_template
from adapt.data.tokenizer import train_tokenizer
from adapt.evaluate.answer import Answerer
from adapt.evaluate.generate import Question, answer_questions
from adapt.evaluate.prompts import encode_tree, group
from adapt.model.config import for_tokenizer
from adapt.model.internvl import InternVL
from adapt.model.loading import Found
from benchmarks.training import SMALL, draw_lengths, make_peer

SCALE = 12  # of random weights, so that answers differ
MAX_NEW_TOKENS = 20  # of adapt evaluate --benchmark rsvqa
WORDS = """
is there a how many are the of in what area covered by more than number buildings roads water farmland residential commercial
small large square rectangular circular at top bottom left right next to image amount equal less compared grass forest parking
"""


def draw_questions(pictures: Sequence[Path], count: int) -> tuple[list[Question], float]:
    """``count`` questions a picture, and the mean number of tokens of a real answer with its end."""
    random = np.random.default_rng(0)
    asked, lengths = [], []
    for path in pictures:
        for number, (before, answer) in enumerate(draw_lengths("rsvqa", count, random)):
            words = random.choice(WORDS.split(), max(1, before - 7))  # around a question stand 6 tokens, behind it a mark
            asked.append(Question.ask(f"{path.stem}-{number}", (path,), " ".join(words) + "?"))
            lengths.append(answer)
    return asked, float(np.mean(lengths))


def make_answerer(questions: Sequence[Question], mean_length: float, device: torch.device) -> Answerer:
    """The small model with random weights, whose answers end after ``mean_length`` tokens on average."""
    text = [" ".join(np.random.default_rng(seed).permutation(WORDS.split())) + "?" for seed in range(50)]
    tokenizer = train_tokenizer(text, 1024)
    torch.manual_seed(0)
    model = InternVL(for_tokenizer(SMALL, tokenizer)).to(device).eval()
    with torch.no_grad():
        for parameter in model.language.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(SCALE)
    answerer = Answerer(model, tokenizer, Found(model.config, None, {}))
    first_AD, all_AD = (_states(answerer, questions[:50], longest) for longest in (1, 4))
    with torch.no_grad():
        # What no first token has, and most later ones do.
        first_D = torch.nn.functional.normalize(first_AD.mean(0), dim=0)
        later_D = all_AD.mean(0) - (all_AD.mean(0) @ first_D) * first_D
        needed_A = (all_AD @ model.language.lm_head.weight.T).amax(-1) / (all_AD @ later_D).clamp_min(1e-3)
        end = tokenizer.convert_tokens_to_ids(get_template(model.config.template).end)
        model.language.lm_head.weight[end] = later_D * needed_A.quantile(min(0.7, 0.75 / (mean_length - 1)))
    return answerer


def _states(answerer: Answerer, questions: Sequence[Question], longest: int) -> torch.Tensor:
    """float[A, D]: the last hidden state behind every token of the answers."""
    states: list[torch.Tensor] = []
    hook = answerer.model.language.lm_head.register_forward_pre_hook(lambda module, given: states.append(given[0].clone()))
    for _ in answer_questions(answerer, questions, max_new_tokens=longest):
        pass
    hook.remove()
    return torch.cat(states)


def one_at_a_time(
    answerer: Answerer, questions: Sequence[Question], device: torch.device
) -> tuple[tuple[float, float], dict[str, str], int]:
    """((seconds, seconds of processors), answers, tokens made) of transformers' generate on each question alone."""
    model, tokenizer = answerer.model, answerer.tokenizer
    peer, template = make_peer(model, device).eval(), get_template(model.config.template)
    end = tokenizer.convert_tokens_to_ids(template.end)
    pixels = {}
    for prompts in group(answerer, questions, MAX_NEW_TOKENS):
        tiles_NCHW = torch.from_numpy(encode_tree(prompts, model.config).tiles).permute(0, 3, 1, 2).to(device).float()
        pixels[prompts.pictures] = (tiles_NCHW - model.get_buffer("mean")) / model.get_buffer("std")
    found, made = {}, 0
    start, busy = time.perf_counter(), time.process_time()
    for question in questions:
        ids = np.array(encode_prompt(question.turns, template, tokenizer).input_ids)
        times = np.where(ids == model.config.image_token_id, model.config.tokens_per_tile, 1)
        inputs = torch.from_numpy(np.repeat(ids, times))[None].to(device)
        settings: dict[str, Any] = {"max_new_tokens": MAX_NEW_TOKENS, "do_sample": False, "pad_token_id": end}
        settings["eos_token_id"] = sorted({end, tokenizer.eos_token_id})
        with torch.inference_mode():
            answer = peer.generate(
                input_ids=inputs, attention_mask=torch.ones_like(inputs), pixel_values=pixels[question.pictures], **settings
            )
        new = answer[0, inputs.shape[1] :].tolist()
        made += len(new)
        found[question.key] = decode_answer(new, template, tokenizer).strip()
    return (time.perf_counter() - start, time.process_time() - busy), found, made


def run(num_pictures: int, num_questions: int, num_compared: int, device: torch.device, rounds: int) -> dict[str, Any]:
    """Measure both; ours the fastest of ``rounds``, the peer once, on the first questions."""
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as made:
        pictures = [Path(made) / f"{number}.png" for number in range(num_pictures)]
        for path in pictures:
            Image.fromarray(random.integers(0, 256, (448, 448, 3), dtype=np.uint8)).save(path)
        questions, mean_length = draw_questions(pictures, num_questions)
        answerer = make_answerer(questions, mean_length, device)
        best, answers = (float("inf"), float("inf")), {}
        for _ in range(rounds):
            start, busy = time.perf_counter(), time.process_time()
            answers = dict(answer_questions(answerer, questions, max_new_tokens=MAX_NEW_TOKENS))
            best = min(best[0], time.perf_counter() - start), min(best[1], time.process_time() - busy)
        alone = questions[:num_compared]
        seconds, expected, tokens = one_at_a_time(answerer, alone, device)
    ours, peer = len(questions) / best[0], len(alone) / seconds[0]
    return {
        "questions_per_s": {"ours": ours, "one_at_a_time": peer},
        "ratio": ours / peer,
        # What other work beside it changes least, on one thread.
        "ratio_of_processor_time": (seconds[1] / len(alone)) / (best[1] / len(questions)),
        "equal": sum(answers[key] == answer for key, answer in expected.items()),
        "compared": len(expected),
        "different_answers": len(set(expected.values())),
        "tokens_per_answer": tokens / len(alone),
        "real_tokens_per_answer": mean_length,
        "pictures": num_pictures,
        "questions": num_questions,
        "device": device.type,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pictures", type=int, default=2, metavar="N", help="pictures asked about; the peer sees the first ones"
    )
    parser.add_argument("--questions", type=int, default=100, metavar="N", help="questions a picture")
    parser.add_argument("--compared", type=int, default=50, metavar="N", help="questions that the peer answers too")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="ours is the fastest of them")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    if min(given.pictures, given.questions, given.compared, given.rounds) < 1:
        parser.error("--pictures, --questions, --compared and --rounds: expected 1 or more")
    result = run(given.pictures, given.questions, given.compared, torch.device(given.device), given.rounds)
    if given.json:
        print(json.dumps(result))
        return
    print(
        f"{result['pictures']} pictures of {result['questions']} questions on {result['device']}, {result['threads']} threads"
    )
    for kind, speed in result["questions_per_s"].items():
        print(f"  {kind:15}{speed:9.2f} questions/s")
    print(f"  ratio {result['ratio']:.1f}; {result['equal']} of {result['compared']} answers equal, ", end="")
    print(f"{result['different_answers']} different ones, {result['tokens_per_answer']:.2f} tokens each")


if __name__ == "__main__":
    main()
