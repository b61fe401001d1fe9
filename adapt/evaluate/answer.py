"""A model that answers, from Python: what ``adapt.load`` gives."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from adapt.data.video import DEFAULT_FRAMES, show_video
from adapt.errors import UsageError, unknown
from adapt.evaluate.generate import answer_questions
from adapt.evaluate.question import Question
from adapt.evaluate.sampling import GREEDY, Sampling
from adapt.model.config import for_tokenizer
from adapt.model.internvl import InternVL
from adapt.model.loading import Found, find_model, load_internvl
from adapt.model.tokenizer_files import load_tokenizer
from adapt.records import ChatRecord

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
QUESTION_KEY = "question"  # what draws of a question asked on its own are keyed by


@dataclasses.dataclass(frozen=True)
class Answerer:
    """A model with its tokenizer."""

    model: InternVL
    tokenizer: Any
    found: Found

    def answer(
        self,
        images: str | Path | Sequence[str | Path],
        question: str,
        *,
        max_new_tokens: int = 128,
        sampling: Sampling = GREEDY,
    ) -> str:
        """The answer to one question about pictures (paths), in the order of its ``<image>`` places or in front of it.

        Greedy, or drawn by ``sampling``. Raises UsageError and DataError.
        """
        paths = [Path(images)] if isinstance(images, str | Path) else [Path(path) for path in images]
        return self._answer(Question.ask(QUESTION_KEY, tuple(paths), question), max_new_tokens, sampling)

    def answer_video(
        self,
        video: str | Path | Sequence[str | Path],
        question: str,
        *,
        frames: int = DEFAULT_FRAMES,
        max_new_tokens: int = 128,
        sampling: Sampling = GREEDY,
    ) -> str:
        """The answer to one question about a video: a file, a folder of frames or a list of frames.

        At most ``frames`` (1 to 40) are shown, spread evenly, one tile each. Raises UsageError and DataError.
        """
        with tempfile.TemporaryDirectory() as made:
            shown = show_video(video, frames, Path(made))
            return self._answer(Question.watch(QUESTION_KEY, shown, question), max_new_tokens, sampling)

    def _answer(self, question: Question, max_new_tokens: int, sampling: Sampling) -> str:
        found = answer_questions(self, [question], max_new_tokens=max_new_tokens, sampling=sampling)
        return dict(found)[question.key]

    def answer_records(
        self,
        records: Sequence[ChatRecord],
        *,
        images: str | Path = ".",
        max_new_tokens: int = 128,
        sampling: Sampling = GREEDY,
    ) -> dict[str, str]:
        """Answers to the last question of each record, by record id, in order; ``images`` is the picture root."""
        questions = [Question.of(record, Path(images)) for record in records]
        found = dict(answer_questions(self, questions, max_new_tokens=max_new_tokens, sampling=sampling))
        return {record.id: found[record.id] for record in records}


def load(name: str | Path, *, device: str | None = None, dtype: str = "float32") -> Answerer:
    """A model that answers: ``adapt.load("runs/d1").answer("road.jpg", "How many cars are there?")``.

    ``name`` is anything ``--model`` takes except a preset, which has learnt nothing. ``dtype`` is what it computes in: float32,
    or bfloat16 with half the memory. Raises UsageError or DataError.
    """
    if dtype not in _DTYPES:
        raise unknown("dtype", dtype, _DTYPES)
    found = find_model(name)
    if found.folder is None:
        raise UsageError(
            f"model '{name}' is a preset with random weights; train it first with 'adapt finetune --model {name} ...'"
        )
    tokenizer = load_tokenizer(found.folder)
    config = for_tokenizer(found.config, tokenizer, grows=True)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Answerer(load_internvl(found, config, _DTYPES[dtype]).to(place).eval(), tokenizer, found)
