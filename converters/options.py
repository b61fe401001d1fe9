"""Values of options that several tasks take: a list or the file that holds it, a whole number; and options to no effect."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from adapt import safe
from adapt.domain import Option
from adapt.errors import DataError, UsageError

_FILES = (".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml")


def read_listed(option: str, given: str, separator: str) -> tuple[str, ...]:
    """The texts between the separators of ``given``, or, where it names a file, on its lines; empty ones are left out.

    Raises UsageError, naming the option, for a file that is no UTF-8 text, or is missing: one text alone that ends as files do.
    """
    try:
        is_file = Path(given).is_file()
    except OSError:  # longer than a file name can be
        is_file = False
    if not is_file and separator not in given and given.strip().lower().endswith(_FILES):
        raise UsageError(f"{option} file '{given}': no such file")
    if not is_file:
        return tuple(each.strip() for each in given.split(separator) if each.strip())
    try:
        text = safe.read_bytes(Path(given), safe.MAX_LINE_BYTES).decode("utf-8-sig")
    except (DataError, UnicodeDecodeError) as error:
        raise UsageError(f"{option} file '{given}' cannot be read: {error}") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def refuse_idle(options: Mapping[str, str], idle: Iterable[Option], beside: str) -> None:
    """Raise UsageError where an option that does nothing ``beside`` another setting is given another value than its default."""
    for option in idle:
        value = options.get(option.name, option.default)
        if value != option.default:
            raise UsageError(f"option {option.name}={str(value)[:40]} has no effect with {beside}; leave one of the two out")


def whole_number(options: Mapping[str, str], name: str, least: int, most: int | None = None) -> int | None:
    """The number that an option gives, None without it. Raises UsageError for another text, or one outside the bounds."""
    text = options.get(name)
    if text is None:
        return None
    if (
        not text.isascii()
        or not text.isdigit()
        or len(text) > 9
        or int(text) < least
        or (most is not None and int(text) > most)
    ):
        bounds = f", {least} or more" if most is None else f" from {least} to {most}"
        raise UsageError(f"option {name}={text[:40]}: expected a whole number{bounds}")
    return int(text)
