"""Scores beside those of what was tuned from, and paired tests between every two contenders."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from adapt.evaluate.metrics import is_share
from adapt.report.answers import AnsweredSet, Pair, compare_sheets
from adapt.report.contenders import Contender, role_of
from adapt.report.runs import Measurement, RunFacts

MOST_COMPARED = 8  # contenders of a measurement, each with each; of more each with the first
ROLES = {"field": "The field", "general": "General ability", "": "Other"}


def compare_all(
    contenders: Sequence[Contender], answered: Mapping[Measurement, AnsweredSet], runs: Sequence[RunFacts]
) -> dict[str, Any]:
    """One row a contender, one column a measurement; changes are against what a model was tuned from."""
    pairs = {measurement: _pairs(each) for measurement, each in answered.items()}
    columns = [_column(measurement, contenders, runs) for measurement in answered]
    rows = [
        {
            "name": contender.name,
            "origin": contender.origin,
            "cells": [_cell(contender, measurement, pairs[measurement]) for measurement in answered],
        }
        for contender in contenders
        if contender.scores or len(contenders) > 1
    ]
    return {"columns": columns, "rows": rows, "pairs": _untold(pairs, contenders), "is_tested": any(pairs.values())}


def _untold(pairs: Mapping[Measurement, Sequence[Pair]], contenders: Sequence[Contender]) -> list[tuple[str, Sequence[Pair]]]:
    """The tests of each measurement, where there are others than those that stand in the cells."""
    told = {
        (contender.name, before[0], measurement)
        for contender in contenders
        for measurement in pairs
        if (before := contender.before_at(measurement)) is not None
    }
    return [
        (place.title, found)
        for place, found in pairs.items()
        if any((pair.first, pair.second, place) not in told for pair in found)
    ]


def _pairs(answered: AnsweredSet) -> list[Pair]:
    sheets = answered.sheets
    chosen = itertools.combinations(sheets, 2) if len(sheets) <= MOST_COMPARED else ((sheets[0], each) for each in sheets[1:])
    return [pair for first, second in chosen if (pair := compare_sheets(answered, second, first)) is not None]


def _column(measurement: Measurement, contenders: Sequence[Contender], runs: Sequence[RunFacts]) -> dict[str, Any]:
    score = next(found for contender in contenders if (found := contender.at(measurement)) is not None)
    return {
        "role": ROLES[role_of(measurement, runs)],
        "what": f"{measurement.benchmark} {score.document['headline']}",
        "where": " ".join(part for part in (measurement.data, measurement.split, measurement.way) if part),
        "count": score.headline["count"],
        "floor": score.floor,
        "is_share": is_share(score.document["headline"]),
        "convention": measurement.convention,
    }


def _cell(contender: Contender, measurement: Measurement, pairs: Sequence[Pair]) -> dict[str, Any] | None:
    mine = contender.at(measurement)
    if mine is None:
        return None
    before, own = contender.before_at(measurement), dict(mine.headline) | {"trained_on": mine.trained_on}
    if before is None:
        return own | {"change": None, "test": None}
    name, score = before
    test = next((pair.found for pair in pairs if (pair.first, pair.second) == (contender.name, name)), None)
    change = mine.headline["value"] - score.headline["value"]
    shown = f"{100 * change:+.1f} points" if is_share(mine.document["headline"]) else f"{change:+.4g}"
    # What is shown as no change has no colour, whatever is behind the digits.
    direction = "same" if float(shown.partition(" ")[0]) == 0 else "up" if change > 0 else "down"
    return own | {"change": change, "change_shown": shown, "direction": direction, "test": test}
