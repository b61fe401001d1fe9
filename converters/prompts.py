"""Questions as data: every task has its own, a user gives others, and each row gets one of them by (seed, id)."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence

from adapt import boxes, randomness
from adapt.domain import Option
from adapt.errors import DataError, UsageError
from adapt.records import IMAGE_PLACEHOLDER
from converters.options import read_listed

SEPARATOR = "|"
PLACEHOLDER = re.compile(r"(?<!\\boxed)\{(\w+)\}")
_PLACEHOLDERS = ("name", "count", "views", "box", "region", "question", "candidates", "mark")  # of all tasks
_NEAR = 0.85  # {views} and {view} are; {count} and {country} are not
LANGUAGES = ("en", "zh")
LANGUAGE = Option(
    "language", "the language of the task's own questions, and of answers in words: English or Chinese", "en", LANGUAGES
)


def prompt_option(needs: str | None = None) -> Option:
    """The ``--option prompt=`` of a task whose questions must hold the placeholder ``needs``."""
    held = f"; each holds {needs}" if needs else ""
    return Option("prompt", f"the question instead of the task's own; several with '{SEPARATOR}', or a file, one a line{held}")


def read_prompts(
    options: Mapping[str, str], defaults: Mapping[str, tuple[str, ...]], needs: str | None, *, takes: Collection[str] = ()
) -> tuple[str, ...]:
    """The given questions, else the default ones of the language. Raises UsageError for one that cannot be asked.

    ``needs`` is the placeholder that each must hold, ``takes`` are others that are filled in. Another ``{word}`` is refused
    where it is one of another task's or like one; what is like none is text (``\\boxed{answer}``).
    """
    given = options.get("prompt")
    if given is None:
        return defaults[options.get("language", LANGUAGES[0])]
    prompts = read_listed("prompt", given, SEPARATOR)
    if not prompts:
        raise UsageError(f"prompt '{given[:60]}': holds no question; expected text or a file with one a line")
    for prompt in prompts:
        if needs is not None and needs not in prompt:
            raise UsageError(f"prompt '{prompt[:60]}': expected {needs} where the name belongs")
        if IMAGE_PLACEHOLDER in prompt:
            raise UsageError(f"prompt '{prompt[:60]}': leave {IMAGE_PLACEHOLDER} out; it is put in front of every question")
        known = sorted({*takes, *([needs] if needs else [])})
        words = (
            f"{{{word}}}" for word in PLACEHOLDER.findall(prompt) if difflib.get_close_matches(word, _PLACEHOLDERS, 1, _NEAR)
        )
        for word in sorted(words):
            if word not in known:
                filled = f"what is filled in is {', '.join(known)}" if known else "nothing is filled in"
                raise UsageError(f"prompt '{prompt[:60]}': {word} stands for nothing here; {filled}")
    return prompts


def choose(prompts: Sequence[str], seed: int, identifier: str) -> str:
    """One of the questions; the same seed and id always give the same one."""
    return prompts[0] if len(prompts) == 1 else prompts[randomness.choice(len(prompts), seed, "prompt", identifier)]


def fill(prompt: str, **values: str) -> str:
    """The prompt with each ``{key}`` replaced; other braces stay. Raises DataError for a tag inside a value."""
    for key, value in values.items():
        if any(tag in value for tag in (*boxes.TAGS, IMAGE_PLACEHOLDER)):
            raise DataError(f"the name {value[:60]!r} holds a tag; it cannot be asked for")
        prompt = prompt.replace("{" + key + "}", value)
    return prompt
