"""``adapt chat``: ask a model from the terminal."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from adapt import progress
from adapt.data.video import DEFAULT_FRAMES, show_video
from adapt.errors import DataError, UsageError
from adapt.evaluate.sampling import Sampling


def chat(
    *,
    model: str | Path,
    image: Sequence[str | Path] = (),
    video: str | Path | None = None,
    frames: int | None = None,
    question: str | None = None,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> str | None:
    """The answer to ``question`` about the pictures ``image``; without a question, ask from the terminal until Ctrl-D.

    ``video`` is a video file or a folder of frames instead of pictures; ``frames`` of it (1 to 40, else 16) are shown. Answers
    are greedy unless ``temperature`` is above 0. Each question of a terminal session is asked for itself, about the same
    pictures. Raises UsageError and DataError.
    """
    paths = [Path(image)] if isinstance(image, str | Path) else [Path(path) for path in image]
    for path in paths:
        if not path.is_file():
            raise UsageError(f"{path}: no such picture")
    if question is not None and not question.strip():
        raise UsageError("the question is empty")
    if video is not None and paths:
        raise UsageError("pictures and a video at once; give --image or --video")
    if frames is not None and video is None:
        raise UsageError("--frames is of a video; give --video too, or leave it out")
    sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
    with tempfile.TemporaryDirectory() as made:
        shown = () if video is None else show_video(video, DEFAULT_FRAMES if frames is None else frames, Path(made))
        from adapt.evaluate.answer import QUESTION_KEY, load
        from adapt.evaluate.generate import Question, answer_questions

        answerer = load(model)

        def ask(text: str, key: str) -> str:
            asked = Question.ask(key, tuple(paths), text) if video is None else Question.watch(key, shown, text)
            return dict(answer_questions(answerer, [asked], max_new_tokens=max_new_tokens, sampling=sampling))[key]

        if question is not None:
            return ask(question, QUESTION_KEY)
        progress.say(f"{f'{len(paths)} picture(s)' if video is None else f'{len(shown)} frames'}; ask away, Ctrl-D ends")
        _converse(ask)
    return None


def _converse(ask: Callable[[str, str], str]) -> None:
    """Questions from the terminal until Ctrl-D; each gets draws of its own."""
    number = 0
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            progress.say("")
            return
        if line.strip():
            number += 1
            try:
                print(ask(line.strip(), str(number)) or "(nothing)", flush=True)
            except (DataError, UsageError) as error:
                progress.say(f"error: {error}")
