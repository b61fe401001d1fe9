"""BLEU, ROUGE-L and CIDEr-D: the COCO scorers' numbers, hand-computed cases, intervals."""

import math
import random

import numpy as np
import pytest

from adapt.evaluate.captions import Caption, caption_metrics, caption_rows
from adapt.evaluate.metrics import Measure, of_sums, share

WORDS = ["a", "the", "car", "stops", "turns", "left", "right", "at", "light"]


def caption(answer: str, *references: str) -> Caption:
    return Caption(tuple(answer.split()), tuple(tuple(each.split()) for each in references))


def values(captions: list[Caption]) -> dict[str, float]:
    found = caption_metrics(caption_rows(captions), list(range(len(captions))))
    return {name: metric.value for name, metric in found.items()}


def draw_captions(seed: int, num: int) -> list[Caption]:
    """Random answers, some right, some empty, with one to three references."""
    draw = random.Random(seed)
    rows = []
    for _ in range(num):
        references = [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) for _ in range(draw.randint(1, 3))]
        answer = draw.choice([references[0], " ".join(draw.choices(WORDS, k=draw.randint(0, 14)))])
        rows.append(caption(answer, *references))
    return rows


@pytest.mark.parametrize(("seed", "num"), [(0, 1), (1, 2), (2, 7), (3, 40)])
def test_the_coco_scorers_agree(seed: int, num: int) -> None:
    """pycocoevalcap's Bleu, Rouge and Cider give these numbers on random sets."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    captions = draw_captions(seed, num)
    truths = {place: [" ".join(each) for each in row.references] for place, row in enumerate(captions)}
    answers = {place: [" ".join(row.answer)] for place, row in enumerate(captions)}
    bleus = Bleu(4).compute_score(truths, answers, verbose=0)[0]
    others = [scorer.compute_score(truths, answers)[0] for scorer in (Rouge(), Cider())]
    np.testing.assert_allclose(list(values(captions).values()), [*bleus, *others], rtol=1e-9, atol=1e-15)


def test_stored_numbers_of_the_coco_scorers() -> None:
    """What pycocoevalcap 1.2 gave on a drawn set of forty, stored."""
    expected = {
        "bleu_1": 0.7859354368025715,
        "bleu_2": 0.6720465941538898,
        "bleu_3": 0.6102842847932425,
        "bleu_4": 0.5758115869947218,
        "rouge_l": 0.6525530776017887,
        "cider": 3.6183955379480777,
    }
    assert values(draw_captions(3, 40)) == pytest.approx(expected, rel=1e-9)


def test_bleu_by_hand() -> None:
    """Five of six words, three of five pairs, no penalty for length; and the penalty of a short answer."""
    found = values([caption("the car stops at the light", "the car stops at a light")])
    assert found["bleu_1"] == pytest.approx(5 / 6)
    assert found["bleu_2"] == pytest.approx(math.sqrt(5 / 6 * 3 / 5))
    assert values([caption("the car", "the car stops at a light")])["bleu_1"] == pytest.approx(math.exp(1 - 6 / 2))


def test_bleu_counts_a_word_no_more_often_than_a_reference_has_it() -> None:
    """Papineni's example: seven times 'the' is right twice."""
    found = values([caption("the " * 7, "the cat is on the mat", "there is a cat on the mat")])
    assert found["bleu_1"] == pytest.approx(2 / 7)


def test_bleu_takes_the_closest_length() -> None:
    """Of references of two and six words an answer of three is compared with two: no penalty."""
    assert values([caption("the car stops", "the car", "the car stops at a light")])["bleu_1"] == pytest.approx(1)


def test_bleu_is_of_the_whole_set() -> None:
    """One answer right and one wrong of twice its length: a third of all words, not half."""
    found = values([caption("the car", "the car"), caption("at at at at", "a light turns red")])
    assert found["bleu_1"] == pytest.approx(2 / 6)


def test_rouge_l_by_hand() -> None:
    """Common: the car stops a light of 5 and 6 words; F with beta 1.2."""
    precision, recall = 4 / 5, 4 / 6
    expected = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert values([caption("the car stops light a", "the car stops at a light")])["rouge_l"] == pytest.approx(expected)


def test_cider_by_hand() -> None:
    """Two rows of one word each: the right one has cosine 1 for single words and none above, 10/4; the other 0."""
    assert values([caption("car", "car"), caption("car", "bus")])["cider"] == pytest.approx((10 / 4 + 0) / 2)


def test_cider_penalises_other_lengths() -> None:
    """A word too many in one of two rows: clipped cosines by hand times exp(-1 / 72)."""
    captions = [caption("car stops now", "car stops"), caption("bus turns", "bus turns")]
    cosines = [2 / math.sqrt(2 * 3), 1 / math.sqrt(2)]  # every n-gram weighs log 2
    first = 10 * sum(cosines) / 4 * math.exp(-1 / 72)
    assert values(captions)["cider"] == pytest.approx((first + 10 * 2 / 4) / 2)


def test_cider_of_one_row_is_nothing() -> None:
    """In a set of one every n-gram is in every document: right answers have 0 too."""
    assert values([caption("the car stops at a light", "the car stops at a light")])["cider"] == 0


def test_right_answers_have_the_most() -> None:
    """All right: ones, and CIDEr 10 where each sentence has four words that no other has."""
    found = values([caption(text, text) for text in ("the car stops here", "a bus turns left", "it waits at lights")])
    assert found == pytest.approx({name: 1 for name in found} | {"cider": 10})


def test_empty_and_missing_texts() -> None:
    """No rows, an empty answer, an empty reference: zeros, and counts that say so."""
    nothing = caption_metrics(caption_rows([]), [])
    assert {(metric.value, metric.count) for metric in nothing.values()} == {(0.0, 0)}
    assert max(values([caption("", "the car"), caption("", "a bus")]).values()) < 1e-6
    assert values([caption("the car", ""), caption("", "")])["rouge_l"] == 0


def test_intervals_are_over_groups() -> None:
    """Rows doubled within their groups keep their interval; rows doubled as groups of their own narrow it."""
    captions = draw_captions(5, 30)
    rows = caption_rows(captions)
    once = caption_metrics(rows, list(range(30)))
    twice = caption_metrics(type(rows)(np.concatenate([rows.columns_NC] * 2)), [*range(30), *range(30)])
    apart = caption_metrics(type(rows)(np.concatenate([rows.columns_NC] * 2)), list(range(60)))
    for name in once:
        assert (twice[name].low, twice[name].high) == pytest.approx((once[name].low, once[name].high))
        assert once[name].low <= once[name].value <= once[name].high
    assert apart["rouge_l"].high - apart["rouge_l"].low < 0.85 * (once["rouge_l"].high - once["rouge_l"].low)


def test_sums_give_the_interval_of_a_share() -> None:
    """A mean as a function of sums has the value and interval that a share has; one group says nothing of the spread."""
    marks, groups = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0], list("aabbcde")
    columns = np.array([(mark, 1.0) for mark in marks])
    mean = Measure(lambda sums_RC: sums_RC[:, 0] / sums_RC[:, 1], len(marks), 5.0)
    assert of_sums(columns, groups, {"mean": mean})["mean"] == share(marks, groups)
    alone = of_sums(columns, ["a"] * 7, {"mean": mean})["mean"]
    assert (alone.low, alone.high) == (0.0, 5.0)
