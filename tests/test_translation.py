"""What a translator sees of a text, and how its answer becomes the text again."""

import contextlib
import json
import random
import re
import string
import time

import pytest

from adapt.errors import DataError
from adapt.translation import check_script, from_message, split, to_message

PROTECTED = [
    "<image>",
    "<box>[[120, 300, 500, 610]]</box>",
    "<c1,CAM_BACK,1088.3,497.5>",
    "<quad>[[1, 2, 3, 4, 5, 6, 7, 8]]</quad>",
    "<|im_end|>",
    "[0.12, 0.3, 0.5, 0.61]",
    "[[1, 2], [3, 4]]",
    "(12.5, 30)",
    "https://host/a?b=c",
    "⟦9⟧",
    "<IMG_CONTEXT>",
    "Frame-1: <image>",
]


def translated(text: str, translate: dict[str, str] | None = None) -> tuple[str, str]:
    """What is sent of one text, and the text that comes of an answer in which words are replaced."""
    splits = [split(text)]
    message = to_message(splits)
    answer = message
    for old, new in (translate or {}).items():
        answer = answer.replace(old, new)
    return message, from_message(answer, splits)[0]


@pytest.mark.parametrize("span", PROTECTED)
def test_what_is_protected_is_never_sent(span: str) -> None:
    """In the middle it becomes a mark, at the ends it is kept back, and it comes back as it was."""
    message, text = translated(f"{span}\nthe dog at {span} runs {span}", {"the dog at": "der Hund bei", "runs": "läuft"})
    assert span not in message.replace("⟦T1⟧", "")
    assert message == "⟦T1⟧\nthe dog at ⟦1⟧ runs" if span != "⟦9⟧" else True
    assert text == f"{span}\nder Hund bei {span} läuft {span}"


def test_a_name_is_translated_inside_its_tags() -> None:
    """One mark holds the name; its tags and its box come back around the translated name, in whatever order."""
    source = "<image>\nWhere is <ref>red car</ref><box>[[1, 2, 3, 4]]</box> and <ref>a dog</ref>?"
    splits = [split(source)]
    assert to_message(splits) == "⟦T1⟧\nWhere is ⟦1|red car⟧ and ⟦2|a dog⟧?"
    assert from_message("⟦T1⟧\n⟦2|狗⟧和⟦1|红色汽车⟧在哪里?", splits) == [
        "<image>\n<ref>狗</ref>和<ref>红色汽车</ref><box>[[1, 2, 3, 4]]</box>在哪里?"
    ]


NUMBERS = ("12 m²", "5 µm", "5 μm", "Toyota Corolla, 12 m²", "37 °C, 90º", "½", "①")  # in Latin letters, or none


@pytest.mark.parametrize(
    ("language", "sent", "answer", "fault"),
    [
        ("zh", "Where is the dog?", "Where is the dog?", "sent the text back untranslated"),
        ("zh", "Where is the dog?", "  Where is the dog? ", "sent the text back untranslated"),
        ("zh", "Where is the dog?", "Gou zai nali?", "holds no letter of Simplified Chinese"),
        ("zh", "Where is the dog?", "狗在哪里?", ""),
        ("zh", "Which make is it? Toyota", "是什么牌子? Toyota", ""),
        ("zh", "Toyota Corolla, 12 km", "Toyota Corolla, 12 km", ""),
        ("zh", "狗 is on the iPhone", "狗 is on the iPhone", ""),
        ("ja", "Where is the dog?", "いぬはどこ?", ""),
        ("ko", "Where is the dog?", "Where is the dog?", "expected it in Korean"),
        ("ru", "Where is the dog?", "Где собака?", ""),
        ("ar", "Where is the dog?", "Where is the dog?", "expected it in Arabic"),
        ("hi", "Where is the dog?", "कुत्ता कहाँ है?", ""),
        ("en", "狗在哪里?", "狗在哪里?", "expected it in English"),
        ("en", "iPhone在哪里?", "iPhone在哪里?", "expected it in English"),
        ("en", "狗在哪里?", "Where is the dog?", ""),
        *((language, text, text, "") for language in ("zh", "en") for text in NUMBERS),
        ("en", "三", "3", ""),
        ("en", "一半", "½", ""),
        ("zh", "Where is the dog?", "...", "holds no letter of Simplified Chinese"),
        ("zh", "12 m² of forest", "12 m² of forest", "sent the text back untranslated"),
        ("de", "hotel, radio", "hotel, radio", ""),  # both languages have these words
    ],
)
def test_an_answer_in_another_script_is_no_translation(language: str, sent: str, answer: str, fault: str) -> None:
    """Told by letters alone: a text as it was sent, or in the wrong script; numbers and names may stay."""
    message, back = (f"⟦T1⟧\n{text}" for text in (sent, answer))
    with pytest.raises(DataError, match=fault) if fault else contextlib.nullcontext():
        check_script(message, back, language)


def test_texts_without_words_are_not_sent() -> None:
    """Letters of a choice, numbers and boxes alone are the same in every language; one Chinese letter is a word."""
    for text in ("A", "12.5 %", "<box>[[1, 2, 3, 4]]</box>", "", " \n"):
        assert translated(text) == ("", text)
    assert split("是").pieces


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "one two",
        "⟦T1⟧\none",  # the second text is lost
        "⟦T1⟧\none ⟦1⟧\n⟦T2⟧ ⟦2|b⟧\n⟦T2⟧ ⟦2|b⟧",
        "⟦T2⟧ ⟦2|b⟧\n⟦T1⟧\none ⟦1⟧",
        "Here you are:\n⟦T1⟧\none ⟦1⟧\n⟦T2⟧ ⟦2|b⟧",
        "⟦T1⟧\none\n⟦T2⟧ ⟦2|b⟧",  # a mark is lost
        "⟦T1⟧\none ⟦1⟧ ⟦1⟧\n⟦T2⟧ ⟦2|b⟧",  # doubled
        "⟦T1⟧\none ⟦2|b⟧\n⟦T2⟧ ⟦1⟧",  # in the wrong text
        "⟦T1⟧\none ⟦1⟧ ⟦3⟧\n⟦T2⟧ ⟦2|b⟧",  # made up
        "⟦T1⟧\none ⟦1|x⟧\n⟦T2⟧ ⟦2|b⟧",
        "⟦T1⟧\none ⟦1⟧\n⟦T2⟧ ⟦2⟧",
        "⟦T1⟧\none ⟦1⟧\n⟦T2⟧ ⟦2| ⟧",
        "⟦T1⟧\none ⟦1⟧\n⟦T2⟧ ⟦2|<box>⟧",
        "⟦T1⟧\none ⟦1⟧ <image>\n⟦T2⟧ ⟦2|b⟧",
        "⟦T1⟧\none ⟦1⟧ <|im_end|>\n⟦T2⟧ ⟦2|b⟧",
        "⟦T1⟧\n⟦1⟧\n⟦T2⟧ ⟦2|b⟧",  # the words are lost
        "⟦T1⟧\none ⟦1\n⟦T2⟧ ⟦2|b⟧",
    ],
)
def test_an_answer_that_changes_a_mark_is_refused(answer: str) -> None:
    """Lost, doubled, moved and made-up marks, forged tags, lost texts and chatter."""
    splits = [split("eins <box>[[1, 2, 3, 4]]</box> zwei"), split("A"), split("<ref>ab</ref> cd")]
    with pytest.raises(DataError):
        from_message(answer, splits)


def test_random_texts_come_back_byte_for_byte() -> None:
    """An answer that translates nothing gives each of 2,000 random texts back, whatever stands in it."""
    draws = random.Random(3)
    parts = [
        *PROTECTED,
        "<ref>",
        "</ref>",
        "<box>",
        "red car",
        "是",
        " ",
        "\n",
        "a<b",
        "⟦",
        "⟧",
        "|",
        "⟦T1⟧",
        "<ref>a dog</ref>",
    ]
    for _ in range(2000):
        texts = ["".join(draws.choices([*parts, *string.printable], k=draws.randrange(12))) for _ in range(3)]
        splits = [split(text) for text in texts]
        message = to_message(splits)
        if message:
            assert from_message(message, splits) == texts
        assert not re.search(r"<image>|<box>\[\[|CAM_BACK|im_end", message)


@pytest.mark.parametrize("part", ["[", "[1", "[ ", "(1,", "(", "<ref>", "<box>", "⟦", "<|"])
def test_a_row_of_openings_is_read_in_linear_time(part: str) -> None:
    """What opens and never closes costs its length, not its square."""
    start = time.process_time()
    split(part * (40_000 // len(part)) + " word")
    assert time.process_time() - start < 2


def test_long_coordinates_are_one_piece() -> None:
    """A polygon of a thousand points, laid out over lines or not, is not sent."""
    points = [[number, number + 0.5] for number in range(1000)]
    for text in (str(points), json.dumps(points, indent=4), str([each for point in points[:150] for each in point])):
        assert translated(f"the field {text} is wet", {"the field": "das Feld", "is wet": "ist nass"}) == (
            "⟦T1⟧\nthe field ⟦1⟧ is wet",
            f"das Feld {text} ist nass",
        )
