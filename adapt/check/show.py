"""The findings of a check on stdout: faults by kind, each with its place, then what the rows are and cost."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from adapt.check.faults import KINDS
from adapt.show import duration, shortened, show_json, show_lines, show_table, show_values

SHOWN_FAULTS = 20


def show_findings(found: Mapping[str, Any], *, as_json: bool) -> None:
    """One JSON document with everything, or tables with at most SHOWN_FAULTS faults of each kind."""
    if as_json:
        show_json(found)
        return
    summary = {
        name: found[name]
        for name in (
            "rows",
            "records",
            "pictures",
            "tests",
            "splits",
            "sources",
            "tiles",
            "tokens",
            "training",
            "control_tokens",
        )
    }
    if "hours" in (summary["training"] or {}):
        summary["training"] = {name: value for name, value in summary["training"].items() if name != "hours"} | {
            "time": duration(3600 * summary["training"]["hours"])
        }
    show_values(
        {name: value for name, value in summary.items() if value not in (None, {}) and (name, value) != ("tests", 0)},
        ", ".join(found["files"]),
    )
    show_lines(*found["notes"])
    for source, spread in found["answers"].items():
        common = ", ".join(f"{shortened(answer)} {count:,}" for answer, count in spread["common"].items())
        show_lines(f"answers of {source}: {spread['distinct']:,} distinct; {common}")
    by_kind: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for fault in found["faults"]:
        by_kind[fault["kind"]].append(fault)
    for kind, faults in by_kind.items():
        show_lines("")
        rows = [(fault["where"], fault["message"]) for fault in faults[:SHOWN_FAULTS]]
        show_table(("where", "what"), rows, f"{kind}: {KINDS[kind]} ({len(faults):,})")
        if len(faults) > SHOWN_FAULTS:
            show_lines(f"... and {len(faults) - SHOWN_FAULTS:,} more; --json lists all")
    if not found["faults"]:
        show_lines("no faults")
