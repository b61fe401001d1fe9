"""One scores.json as the page shows it: its metrics beside their floors, published rows, and what its details hold by kind."""

from collections.abc import Mapping, Sequence
from typing import Any

from adapt.domain import find_benchmark
from adapt.errors import UsageError
from adapt.report.runs import BASE, BEST, OTHER, ScoreSet, model_name

MOST_ROWS, MOST_COLUMNS = 40, 8
MOST_MIXED_UP = 10
CONFUSION = "confusion"
# Keys of a published row that are words; all others are metrics.
WORDS = ("name", "set", "source", "convention")


def describe_scores(score: ScoreSet) -> dict[str, Any]:
    """Everything the page says of one scores.json."""
    document = score.document
    floor = document.get("floor", {})
    details = document.get("details", {})
    return {
        "title": document["benchmark"],
        "whose": _whose(score),
        "where": " ".join(
            part for part in (str(document.get("data") or score.place), document.get("split"), score.measurement.way) if part
        ),
        "place": score.place,
        "trained_on": score.trained_on,
        "convention": document.get("convention"),
        "rows": [
            {"name": name, "headline": name == document["headline"], "floor": floor.get(name)} | dict(metric)
            for name, metric in document["metrics"].items()
        ],
        "other_floors": {name: value for name, value in floor.items() if name not in document["metrics"]},
        "counts": details.get("answers", {}) | {"missing": len(document.get("missing", ()))},
        "speed": document.get("questions_per_second"),
        "tables": _tables(details),
        "mixed_up": _mixed_up(details.get(CONFUSION)),
        "published": _published(score),
    }


def _whose(score: ScoreSet) -> str:
    if score.owner == OTHER:
        return f"answered by {model_name(score.model)}"
    return {BASE: "before: answered by the model it started from", BEST: "answered by its best step"}.get(score.owner, "")


def _published(score: ScoreSet) -> dict[str, Any]:
    """Published rows, a column a metric, the run's own value of each in the first row. Which rule they follow is said."""
    try:
        benchmark = find_benchmark(score.document["benchmark"])
    except UsageError:  # a benchmark of a package that is not installed here
        return {"columns": (), "rows": ()}
    columns = list(dict.fromkeys(name for row in benchmark.published for name in row if name not in WORDS))
    metrics = score.document["metrics"]
    rows = [
        {
            "name": row["name"],
            "about": ", ".join(str(row[name]) for name in ("set", "source") if name in row),
            "convention": row.get("convention") or "not said: that of its source",
            "values": [row.get(name) for name in columns],
        }
        for row in benchmark.published
    ]
    own = [metrics[name]["value"] if name in metrics else None for name in columns]
    return {"columns": columns, "rows": rows, "own": own}


def _tables(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each entry that holds the same few numbers of many kinds (by answer type, by class), as a table."""
    found = []
    for name, kinds in details.items():
        if name == CONFUSION or not isinstance(kinds, Mapping) or not kinds:
            continue
        if not all(isinstance(row, Mapping) and row for row in kinds.values()):
            continue
        columns = list(dict.fromkeys(column for row in kinds.values() for column in row))
        values = [value for row in kinds.values() for value in row.values()]
        if len(columns) > MOST_COLUMNS or not all(isinstance(value, int | float | None) for value in values):
            continue
        rows = [(str(kind), [row.get(column) for column in columns]) for kind, row in list(kinds.items())[:MOST_ROWS]]
        found.append({"name": str(name).replace("_", " "), "columns": columns, "rows": rows, "left": len(kinds) - len(rows)})
    return found


def _mixed_up(confusion: Any) -> Sequence[tuple[str, str, int]]:
    """(expected, answered, how often) of the commonest mistakes."""
    if not isinstance(confusion, Mapping):
        return ()
    cells = [
        (str(true), str(said), count)
        for true, row in confusion.items()
        if isinstance(row, Mapping)
        for said, count in row.items()
        if said != true and isinstance(count, int) and count
    ]
    return sorted(cells, key=lambda cell: (-cell[2], cell))[:MOST_MIXED_UP]
