"""A conversation as a translator may see it: words, and marks in the place of everything that must not change.

Pictures, boxes, coordinates, camera tags, special tokens and web addresses become marks ``⟦1⟧``; a name in <ref> becomes
``⟦2|name⟧``, one mark for the name with its tags and its box. Each mark must come back exactly once, and no other tag may: what
is protected cannot change, by construction. What stands at the ends of a text is not sent at all.

The rules that the translator is given follow those of InternVL 1.5's bilingual data (arXiv 2404.16821), in words of our own;
they were not compared with the paper's.
"""

import dataclasses
import functools
import re
from collections.abc import Sequence

from adapt.errors import DataError

LANGUAGES = {
    "ar": "Arabic", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "hi": "Hindi", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "pt": "Portuguese", "ru": "Russian", "zh": "Simplified Chinese",
}  # fmt: skip
RULES = """You translate texts about pictures into {language}.
Write what a native speaker would write: fluent and natural, never word for word.
- Names of people, brands, products and places stay in their original form.
- A technical term may stay as it is; where it helps, explain it briefly in {language}.
- Replace idioms and proverbs by ones of {language} that mean the same.
- Quotes and direct speech keep their tone and sound natural.
- At its first use give an abbreviation's full form in {language}, with the abbreviation in parentheses.
The texts are one conversation: use the others as context, but translate each on its own.
Marks such as ⟦3⟧ stand for something that is not text: copy each exactly once, where it belongs in the sentence.
In a mark such as ⟦4|red car⟧ translate the words after the bar alone: ⟦4|...⟧.
Each text begins with a line such as ⟦T1⟧. Answer with these lines, each followed by its translation, and nothing else."""

_REF = r"<ref>(?P<name>[^<>⟦⟧|]*)</ref>(?P<box>\s*<box>[^<]*</box>)?"
_TAG = r"<\|[^<>|]*\|>|</?[A-Za-z_][^<>\n]{0,200}>"
_FIXED = (
    r"<box>[^<]*</box>|<quad>[^<]*</quad>",
    r"Frame-\d+: <image>",
    _TAG,
    # Numbers in brackets: coordinates. Bounded, or a row of open brackets would be read again from each of them.
    r"\[[\[\s]{0,64}[-+.\d](?:[-+.\d\s,;\[eE]{0,2000}+\])+",
    r"\(\s*[-+.\d][-+.\d\s]*(?:,[-+.\d\s]*)+\)",
    r"https?://[^\s⟦⟧]+",
    r"⟦[^⟦⟧]*⟧|[⟦⟧]",  # ours, standing in the text
)
_PROTECTED = re.compile("|".join([_REF, *_FIXED]))
_MARK = re.compile(r"⟦(\d+)(?:\|([^⟦⟧|]*))?⟧")
_START = re.compile(r"⟦T(\d+)⟧")
_FORGED = re.compile(rf"{_TAG}|[⟦⟧]")
# Two letters in a row, or one that is not of ASCII: "A" and "12 m" are the same in every language, "是" is not.
_WORDS = re.compile(r"[^\W\d_]{2}|[^\W\d_\x00-\x7f]")
# The letters of a language's script, from Unicode's blocks; all that are not here are written in Latin ones.
_LATIN = "A-Za-z\u00c0-\u024f"
_SCRIPTS = {
    "ar": "\u0600-\u06ff", "hi": "\u0900-\u097f", "ja": "\u3040-\u30ff\u3400-\u9fff", "ko": "\u1100-\u11ff\uac00-\ud7af",
    "ru": "\u0400-\u04ff", "zh": "\u3400-\u9fff",
}  # fmt: skip
_UNITS = "µμºª"  # letters to Unicode, signs of units and numbers to a reader
_WORD = re.compile(rf"[{_LATIN}]{{3,}}|(?:(?![{_LATIN}])[^\W\d_])+")  # no unit such as km


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of a text: words, or what is protected. ``name`` is the part of a protected piece that is translated."""

    text: str
    is_words: bool
    name: str | None = None


@dataclasses.dataclass(frozen=True)
class Split:
    """A text in three parts: what is kept before and after, and the pieces that are sent between them (none: nothing is)."""

    head: str
    pieces: tuple[Piece, ...]
    tail: str


def split(text: str, kept: tuple[str, ...] = ()) -> Split:
    """What of a text is sent, and what stays; ``kept`` are names that stay wherever they stand as words of their own."""
    pieces = _pieces(text, _protecting(kept))
    first, last = 0, len(pieces)
    while first < last and _stays(pieces[first]):
        first += 1
    while first < last and _stays(pieces[last - 1]):
        last -= 1
    inner = pieces[first:last]
    if not any(_WORDS.search(piece.text if piece.is_words else piece.name or "") for piece in inner):
        return Split(text, (), "")
    head = "".join(piece.text for piece in pieces[:first])
    tail = "".join(piece.text for piece in pieces[last:])
    if inner[0].is_words:
        words = inner[0].text.lstrip()
        head, inner[0] = head + inner[0].text.removesuffix(words), Piece(words, True)
    if inner[-1].is_words:
        words = inner[-1].text.rstrip()
        tail, inner[-1] = inner[-1].text.removeprefix(words) + tail, Piece(words, True)
    return Split(head, tuple(inner), tail)


@functools.lru_cache(maxsize=8)  # the rows of a set offer the same names
def _protecting(kept: tuple[str, ...]) -> re.Pattern[str]:
    """What is protected, with those names among it; a longer one goes before one that it begins with."""
    if not kept:
        return _PROTECTED
    names = "|".join(re.escape(name) for name in sorted(kept, key=len, reverse=True))
    return re.compile(
        "|".join([rf"<ref>(?:{names})</ref>(?:\s*<box>[^<]*</box>)?", _REF, *_FIXED, rf"(?<!\w)(?:{names})(?!\w)"])
    )


def _pieces(text: str, protected: re.Pattern[str]) -> list[Piece]:
    pieces, end = [], 0
    for found in protected.finditer(text):
        if found.start() > end:
            pieces.append(Piece(text[end : found.start()], True))
        name = found["name"] if found["name"] and _WORDS.search(found["name"]) else None
        pieces.append(Piece(found[0], False, name))
        end = found.end()
    if end < len(text):
        pieces.append(Piece(text[end:], True))
    return pieces


def _stays(piece: Piece) -> bool:
    return piece.name is None if not piece.is_words else not piece.text.strip()


def to_message(splits: Sequence[Split]) -> str:
    """The texts of a conversation as they are sent: those with words, each under its number, marks counted through."""
    number, parts = 0, []
    for place, each in enumerate((each for each in splits if each.pieces), start=1):
        words = []
        for piece in each.pieces:
            number += not piece.is_words
            mark = f"⟦{number}⟧" if piece.name is None else f"⟦{number}|{piece.name}⟧"
            words.append(piece.text if piece.is_words else mark)
        parts.append(f"⟦T{place}⟧\n" + "".join(words))
    return "\n".join(parts)


def from_message(answer: str, splits: Sequence[Split]) -> list[str]:
    """The translated texts, in the order of ``splits``. Raises DataError where a mark or a text of the answer is not right."""
    sent = [each for each in splits if each.pieces]
    if not sent:
        return [each.head for each in splits]
    starts = list(_START.finditer(answer))
    if [int(start[1]) for start in starts] != list(range(1, len(sent) + 1)):
        raise DataError(
            f"the answer has the texts {', '.join(start[0] for start in starts) or '(none)'}, expected {len(sent)} in order"
        )
    if answer[: starts[0].start()].strip():
        raise DataError(f"the answer begins with {answer.strip()[:40]!r}, expected {starts[0][0]}")
    ends = [start.start() for start in starts[1:]] + [len(answer)]
    bodies = iter([answer[start.end() : end].strip() for start, end in zip(starts, ends, strict=True)])
    number, texts = 0, []
    for each in splits:
        if not each.pieces:
            texts.append(each.head)
            continue
        marked = [piece for piece in each.pieces if not piece.is_words]
        texts.append(each.head + _unmark(next(bodies), marked, number) + each.tail)
        number += len(marked)
    return texts


def check_script(message: str, answer: str, language: str) -> None:
    """Raise DataError for an answer that is no translation into ``language``: by its script, so not between two that share one.

    A word with a capital may be a name, and an answer of names alone may stay as it was sent. Numerals may become digits.
    """
    target = re.compile(f"[{_SCRIPTS.get(language, _LATIN)}]")
    words = [word for word in _WORD.findall(_letters(message)) if word == word.lower()]
    if not words or any(target.search(word) for word in words):
        return
    if message.split() == answer.split():
        raise DataError(untranslated(language))
    text = _START.sub("", answer)
    letters = _letters(text)
    is_number = not letters.strip() and any(letter.isnumeric() for letter in text)
    if not is_number and not target.search(letters):
        raise DataError(f"the answer holds no letter of {LANGUAGES[language]}")


def untranslated(language: str) -> str:
    """What to say of an answer that is the text that was sent."""
    return f"the endpoint sent the text back untranslated, expected it in {LANGUAGES[language]}"


def _letters(text: str) -> str:
    """The letters of a text, with a blank for all else: ``\\w`` holds superscripts, fractions and numbers in circles too."""
    return "".join(letter if letter.isalpha() and letter not in _UNITS else " " for letter in text)


def _unmark(body: str, marked: Sequence[Piece], before: int) -> str:
    """A translated text with its protected pieces back in the place of their marks, which count on from ``before``."""
    found = [int(mark[1]) for mark in _MARK.finditer(body)]
    expected = range(before + 1, before + 1 + len(marked))
    for number in sorted({*found, *expected}):
        if found.count(number) != (number in expected):
            raise DataError(f"⟦{number}⟧ comes back {found.count(number)} times, expected {int(number in expected)}")
    words = _MARK.sub("\n", body)
    if forged := _FORGED.search(words):
        raise DataError(f"the answer holds {forged[0][:40]!r}, which was not sent")
    if not words.strip() and not any(piece.name for piece in marked):
        raise DataError("a translation is empty")
    return _MARK.sub(lambda mark: _restored(mark, marked[int(mark[1]) - before - 1]), body)


def _restored(mark: re.Match[str], piece: Piece) -> str:
    if (mark[2] is None) != (piece.name is None):
        raise DataError(f"{mark[0][:40]} comes back for {'a name' if piece.name else 'a mark without a name'}")
    if piece.name is None:
        return piece.text
    name = mark[2].strip()
    if not name or _FORGED.search(name):
        raise DataError(f"the name in {mark[0][:40]} is empty or holds a tag")
    return f"<ref>{name}</ref>" + piece.text.removeprefix(f"<ref>{piece.name}</ref>")
