"""Questions as data: every task has its own, a user gives others, and each row gets one of them by (seed, id)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from adapt import boxes, randomness, safe
from adapt.domain import Option
from adapt.errors import DataError, UsageError
from adapt.records import IMAGE_PLACEHOLDER

SEPARATOR = "|"
LANGUAGES = ("en", "zh")
LANGUAGE = Option("language", "the language of the questions, and of answers in words: English or Chinese", "en", LANGUAGES)


def prompt_option(needs: str | None = None) -> Option:
    """The ``--option prompt=`` of a task whose questions must hold the placeholder ``needs``."""
    held = f"; each holds {needs}" if needs else ""
    return Option("prompt", f"the question instead of the task's own; several with '{SEPARATOR}', or a file, one a line{held}")


def read_prompts(options: Mapping[str, str], defaults: Mapping[str, tuple[str, ...]], needs: str | None) -> tuple[str, ...]:
    """The given questions, else the default ones of the language. Raises UsageError for one that cannot be asked."""
    given = options.get("prompt")
    if given is None:
        return defaults[options.get("language", LANGUAGES[0])]
    prompts = _given_prompts(given)
    if not prompts:
        raise UsageError(f"prompt '{given[:60]}': holds no question; expected text or a file with one a line")
    for prompt in prompts:
        if needs is not None and needs not in prompt:
            raise UsageError(f"prompt '{prompt[:60]}': expected {needs} where the name belongs")
        if IMAGE_PLACEHOLDER in prompt:
            raise UsageError(f"prompt '{prompt[:60]}': leave {IMAGE_PLACEHOLDER} out; it is put in front of every question")
    return prompts


def _given_prompts(given: str) -> tuple[str, ...]:
    try:
        is_file = Path(given).is_file()
    except OSError:  # longer than a file name can be
        is_file = False
    if not is_file:
        return tuple(each.strip() for each in given.split(SEPARATOR) if each.strip())
    try:
        text = safe.read_bytes(Path(given), safe.MAX_LINE_BYTES).decode("utf-8-sig")
    except (DataError, UnicodeDecodeError) as error:
        raise UsageError(f"prompt file '{given}' cannot be read: {error}") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


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
