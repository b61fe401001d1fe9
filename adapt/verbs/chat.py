"""``adapt chat``: ask a model from the terminal."""

import sys
from collections.abc import Sequence
from pathlib import Path

from adapt import progress
from adapt.errors import DataError, UsageError


def chat(
    *, model: str | Path, image: Sequence[str | Path] = (), question: str | None = None, max_new_tokens: int = 128
) -> str | None:
    """The answer to ``question`` about the pictures ``image``; without a question, ask from the terminal until Ctrl-D.

    Each question of a terminal session is asked for itself, about the same pictures. Raises UsageError and DataError.
    """
    paths = [Path(image)] if isinstance(image, str | Path) else [Path(path) for path in image]
    for path in paths:
        if not path.is_file():
            raise UsageError(f"{path}: no such picture")
    if question is not None and not question.strip():
        raise UsageError("the question is empty")
    from adapt.model.loading import load

    answerer = load(model)
    if question is not None:
        return answerer.answer(paths, question, max_new_tokens=max_new_tokens)
    progress.say(f"{len(paths)} picture(s); ask away, Ctrl-D ends")
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            progress.say("")
            return None
        if line.strip():
            try:
                print(answerer.answer(paths, line.strip(), max_new_tokens=max_new_tokens) or "(nothing)", flush=True)
            except (DataError, UsageError) as error:
                progress.say(f"error: {error}")
