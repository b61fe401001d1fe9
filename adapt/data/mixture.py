"""The mixture inside a side: several sources with weights, epochs and caps, set by the sources' names.

A source is what a record's ``source`` says, else its file's name. A side of which no source is named stays one stream; in
the others every source is a stream of its own, keyed by its own name, so that a source more or less leaves the order of
the others as it was. Trees hold rows of one source then.

- ``epochs``: how often a source's rows are seen in one epoch of its side; 1 where nothing is said.
- ``weights``: the sources named share among themselves, in these proportions, the samples that they have together; so an
  epoch of the side stays as long as it was, and where all of its sources are named a weight is a share of the side.
- ``caps``: at most that many rows of a source are used at all. They are drawn by tree, a picture with up to max_branches of
  its questions, so that a capped source costs in proportion to its rows: rows drawn one by one would leave nearly
  every picture to be encoded for a question or two, and whole pictures would leave too few of them.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adapt.data.plan import Plan, Side, Stream, epoch_trees, stream_of, whole
from adapt.errors import UsageError, unknown

if TYPE_CHECKING:
    from adapt.data.index import Index

EXAMPLES = {"weights": "aerial=2,street=1", "epochs": "rare=3", "caps": "huge=5000"}


@dataclasses.dataclass(frozen=True)
class BySource:
    """Numbers by source name: ``data.weights``, ``data.epochs`` and ``data.caps`` of a recipe."""

    weights: Mapping[str, float]
    epochs: Mapping[str, float]
    caps: Mapping[str, int]

    def named(self) -> Iterable[tuple[str, str]]:
        """(setting, source) of every source named."""
        for field in dataclasses.fields(self):
            yield from ((f"data.{field.name}", source) for source in getattr(self, field.name))


def read_by_source(weights: str, epochs: str, caps: str) -> BySource:
    """The three settings read from their texts. Raises UsageError for other texts and for two shares of one source."""
    read = BySource(
        _numbers("weights", weights),
        _numbers("epochs", epochs),
        {source: int(number) for source, number in _numbers("caps", caps).items()},
    )
    for source in read.weights:
        if source in read.epochs:
            raise UsageError(
                f"'{source}' stands in data.weights and in data.epochs: both say how much of it is seen; take it out of one"
            )
    return read


def _numbers(field: str, text: str) -> dict[str, float]:
    numbers: dict[str, float] = {}
    wanted = "a whole number of rows, 1 or more" if field == "caps" else "a number above 0"
    for item in filter(None, (part.strip() for part in text.split(","))):
        source, _, written = (part.strip() for part in item.rpartition("="))
        try:
            number = float(written)
        except ValueError:
            number = math.nan
        fits = 0 < number < math.inf and (field != "caps" or number.is_integer())
        if not source or not fits or source in numbers:
            fault = f"'{source}' twice" if source in numbers else f"'{item}'"
            raise UsageError(
                f"data.{field}={text}: {fault}; expected SOURCE={wanted}, one for each source, "
                f"such as --set data.{field}={EXAMPLES[field]}"
            )
        numbers[source] = number
    return numbers


def check_sources(by_source: BySource, index: "Index", rows: Mapping[str, np.ndarray]) -> None:
    """Raise UsageError for a source that has no training rows or has them on both sides; ``rows`` are those of each side."""
    everywhere = np.asarray(index.table["source"][:])
    sides = {side: set(everywhere[mine].tolist()) for side, mine in rows.items()}
    for setting, source in by_source.named():
        found = [side for side, sources in sides.items() if source in sources]
        if len(found) > 1:
            raise UsageError(
                f"{setting}: '{source}' is a source of the {found[0]} data and of the {found[1]} data; give one another name: "
                "the 'source' of its rows, or where they have none the file's name"
            )
        if not found and source in everywhere:
            raise UsageError(f"{setting}: the source '{source}' has no training rows; take it out of the setting")
        if not found:
            raise unknown(f"source in {setting}", source, set().union(*sides.values()))


def make_side(
    name: str, index: "Index", rows: np.ndarray, by_source: BySource, *, seed: int, max_branches: int
) -> tuple[Side, list[str]]:
    """One side of the mixture, and what its caps did in words. Raises UsageError for a weight without another to weigh it."""
    of_row = np.asarray(index.table["source"][:])[rows]
    sources = sorted(set(of_row.tolist()))
    if not any(source in sources for _, source in by_source.named()):
        return whole(stream_of(name, index, rows)), []
    streams, notes = [], []
    for source in sources:
        stream = stream_of(f"{name}/{source}", index, rows[of_row == source])
        cap = by_source.caps.get(source)
        if cap is not None:
            kept = capped(stream, cap, seed, max_branches)
            took = "drawn" if len(kept.rows) < len(stream.rows) else "used, as without the cap"
            notes.append(f"{name}: {len(kept.rows):,} of {len(stream.rows):,} training rows of '{source}' {took}")
            stream = kept
        streams.append(stream)
    counts = {source: len(stream.rows) for source, stream in zip(sources, streams, strict=True)}
    return Side(tuple(streams), tuple(quotas(counts, by_source))), notes


def capped(stream: Stream, cap: int, seed: int, max_branches: int) -> Stream:
    """At most ``cap`` rows of a stream: whole trees in a drawn order, the last one cut. A smaller cap keeps a part of them."""
    if len(stream.rows) <= cap:
        return stream
    trees = epoch_trees(dataclasses.replace(stream, name=f"cap of {stream.name}"), seed, 0, max_branches)
    kept = np.isin(stream.rows, np.concatenate(trees)[:cap])
    return Stream(stream.name, stream.rows[kept], stream.tree_keys[kept])


def quotas(counts: Mapping[str, int], by_source: BySource) -> list[float]:
    """Samples of each source in one epoch of their side, from the rows of each; see the top of this file."""
    weighed = {source: by_source.weights[source] for source in counts if source in by_source.weights}
    if len(weighed) == 1:
        (only,) = weighed
        others = ", ".join(source for source in counts if source != only)
        raise UsageError(
            f"data.weights names '{only}' alone of its side, so there is nothing to weigh it against; "
            + (f"name another of {others}, or say" if others else "--general-ratio weighs general against domain data; or say")
            + f" how often its rows are seen with data.epochs={only}=2"
        )
    together = sum(counts[source] for source in weighed)
    total = sum(weighed.values())
    return [
        together * weighed[source] / total if source in weighed else by_source.epochs.get(source, 1.0) * count
        for source, count in counts.items()
    ]


def realised(plan: Plan, index: "Index", sides: Mapping[str, Side]) -> dict[str, dict[str, dict[str, Any]]]:
    """What the plan takes of each source of each side: rows, samples, share of the side's samples, epochs of its rows."""
    everywhere = np.asarray(index.table["source"][:])
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for number, (name, side) in enumerate(sides.items()):
        rows = _counted(everywhere[np.concatenate([stream.rows for stream in side.streams])])
        taken = index.records([row for step in plan.steps for tree in step if tree.stream == number for row in tree.rows])
        samples = _counted(everywhere[taken])
        found[name] = {
            source: {
                "rows": count,
                "samples": samples.get(source, 0),
                "share": round(samples.get(source, 0) / max(1, len(taken)), 4),
                "epochs": round(samples.get(source, 0) / count, 4),
            }
            for source, count in rows.items()
        }
    return found


def _counted(names: np.ndarray) -> dict[str, int]:
    found, counts = np.unique(names, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def describe_sources(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Sequence[str]:
    """One line on the sources of the sides, none where no side has several."""
    if all(len(sources) < 2 for sources in found.values()):
        return ()
    sides = (
        f"{name}: "
        + ", ".join(f"{source} {each['share']:.1%} ({each['epochs']:.2f} epochs)" for source, each in sources.items())
        for name, sources in found.items()
    )
    return (f"sources: {'; '.join(sides)}",)
