"""What a verb returned, on stdout: a table on a terminal, aligned plain text elsewhere, or one JSON document."""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NEGLIGIBLE = 1e-12  # a figure this small is rounding


def is_first_rank() -> bool:
    """Whether this process speaks: of several started by torchrun only rank 0 does."""
    return os.environ.get("RANK", "0") == "0"


def counted(number: int, noun: str) -> str:
    """``1 fault``, ``2 faults``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shortened(text: str, length: int = 60) -> str:
    """A text as one line of at most so many letters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 3] + "..."


def duration(seconds: float) -> str:
    """``0.05 s``, ``12 s``, ``3.4 min``, ``5.2 h``: a time in the unit that a reader would choose."""
    if seconds < 100:
        return "less than 0.01 s" if seconds < 0.01 else f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def figure(value: float) -> str:
    """Four significant digits. BLEU adds 1e-15 to what it divides: a score of nothing comes out near 1e-19, which is 0."""
    return "0" if abs(value) < NEGLIGIBLE else f"{value:.4g}"


def show_json(value: Any) -> None:
    """Exactly one JSON document."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def show_lines(*lines: str) -> None:
    """Plain lines."""
    if lines and is_first_rank():
        print("\n".join(lines))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> None:
    """Rows under their columns; numbers to the right."""
    written = [[_cell(value) for value in row] for row in rows]
    if not written or not is_first_rank():
        return
    numeric = [all(_is_number(row[index]) for row in written) for index in range(len(columns))]
    if sys.stdout.isatty():
        _show_rich(columns, written, numeric, title)
    else:
        _show_plain(columns, written, numeric, title)


def _show_rich(columns: Sequence[str], rows: list[list[str]], numeric: list[bool], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column, right in zip(columns, numeric, strict=True):
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _show_plain(columns: Sequence[str], rows: list[list[str]], numeric: list[bool], title: str) -> None:
    widths = [max(len(cells[index]) for cells in [list(columns), *rows]) for index in range(len(columns))]
    if title:
        print(title)
    for cells in [list(columns), *rows]:
        padded = [
            cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(cells, widths, numeric, strict=True)
        ]
        print("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return figure(value) if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return " ".join(str(value).split())


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").replace(".", "").removeprefix("-").replace("e-", "").isdigit()


def show_values(values: Mapping[str, Any], title: str = "") -> None:
    """A nested mapping as name and value; lists are counted, not printed."""
    show_table(("name", "value"), list(_flat(values)), title)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            short = all(isinstance(each, str | int | float) for each in value) and len(value) <= 8
            yield prefix + name, ", ".join(_cell(each) for each in value) if short else f"{len(value):,} entries"
        else:
            yield prefix + name, value


def show_tasks(rows: Sequence[Mapping[str, Any]]) -> None:
    """Tasks, then benchmarks, field by field, a paragraph each."""
    show_lines("Tasks: adapt convert --task NAME (options and an example: adapt tasks NAME)")
    for row in _by_field(rows, "task"):
        show_lines(*_paragraph(row["name"], f"{row['summary']}; reads {row['layout']}; one sample is: {row['unit']}"))
    show_lines("", "Benchmarks: adapt evaluate --benchmark NAME, adapt score --benchmark NAME")
    for row in _by_field(rows, "benchmark"):
        show_lines(*_paragraph(row["name"], f"{row['summary']}; headline: {row['headline']}"))


def show_task(rows: Sequence[Mapping[str, Any]]) -> None:
    """A task, a benchmark, or both where they share a name: all that is known of them."""
    for row in rows:
        facts = ("kind", "domain", "summary", "layout", "unit", "licence", "headline", "official", "example")
        for fact in facts:
            if row.get(fact):
                show_lines(*_paragraph(fact, row[fact]))
        options = [(each["name"], each["default"], ", ".join(each["choices"]) or None, each["help"]) for each in row["options"]]
        show_lines("", *(["options: --option NAME=VALUE"] if options else []))
        for name, default, choices, meaning in options:
            known = [f"one of {choices}" if choices else "", "" if default is None else f"default: {default or '(empty)'}"]
            show_lines(*_paragraph(name, "; ".join([meaning, *filter(None, known)])))


def _by_field(rows: Sequence[Mapping[str, Any]], kind: str) -> Iterable[Mapping[str, Any]]:
    """The rows of a kind; a line names each field in front of its first."""
    field = None
    for row in rows:
        if row["kind"] == kind:
            if row["domain"] != field:
                field = row["domain"]
                show_lines("", field)
            yield row


def _paragraph(name: str, text: str) -> list[str]:
    """A name and what stands beside it, in lines that fit the terminal."""
    width = min(shutil.get_terminal_size((128, 24)).columns, 128)
    indent = " " * 14
    head = f"  {name:<11} "
    return textwrap.wrap(
        head + " ".join(str(text).split()), width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def show_samples(written: Mapping[str, Mapping[str, Any]]) -> None:
    """The generated datasets, each with the command that converts it."""
    rows = [(name, facts["pictures"], facts["questions"], facts["next"]) for name, facts in written.items()]
    show_table(("dataset", "pictures", "questions", "convert it with"), rows)


def show_scores(scores: Mapping[str, Any], title: str = "") -> None:
    """Metrics with counts, 95 % intervals and what needs no picture; * is the headline; several splits one after the other."""
    if "metrics" not in scores:
        for name, part in scores.items():
            if isinstance(part, Mapping):
                show_scores(part, name)
        return
    floor, headline = scores.get("floor", {}), scores.get("headline")
    about = (title, scores.get("benchmark"), f"(convention: {scores['convention']})" if "convention" in scores else "")
    show_table(
        ("metric", "value", "low", "high", "count", *(["floor"] if floor else [])),
        [
            (
                f"{name} *" if name == headline else name,
                *(each[field] for field in ("value", "low", "high", "count")),
                *([floor.get(name)] if floor else []),
            )
            for name, each in scores["metrics"].items()
        ],
        " ".join(str(part) for part in about if part),
    )
    if "paired" in scores:
        show_lines(_paired_line(scores["paired"]))


def _paired_line(paired: Mapping[str, Any]) -> str:
    if "reason" in paired:
        return f"against {paired['against']}: {paired['reason']}"
    # Where as many are drawn as there are questions, each stands for itself, with or without a picture.
    drawn = f" of {counted(paired['groups'], 'picture')}" if paired["groups"] < paired["count"] else ""
    points = {name: f"{100 * paired[name]:+.1f}" for name in ("difference", "low", "high")}
    return (
        f"against {paired['against']}: {paired['headline']} {points['difference']} points, 95 % {points['low']} to "
        f"{points['high']}, p = {paired['p']:.3g}, {counted(paired['count'], 'question')}{drawn}"
    )


def show_demo(summary: Mapping[str, Mapping[str, float]], page: str) -> None:
    """What each of the demo's models knows, with its change against the first one in points."""
    base = next(iter(summary.values()))
    rows = [
        (
            name,
            f"{100 * row['domain']:.1f} %",
            "-" if row is base else f"{100 * (row['domain'] - base['domain']):+.1f}",
            f"{100 * row['general']:.1f} %",
            "-" if row is base else f"{100 * (base['general'] - row['general']):+.1f}",
        )
        for name, row in summary.items()
    ]
    show_table(("model", "field", "gained", "general", "forgotten"), rows, page)


def show_sweep(summary: Mapping[str, Any], page: str) -> None:
    """What each point of a sweep scores and keeps, and the recommendation in words."""
    one = {"ratios": "ratio", "fractions": "fraction"}[summary["kind"]]
    kept = {"kept": "general"} if one == "ratio" else {"kept_field": "field", "kept": "general"}
    rows = [("base", *_sweep_cells(summary["base"]), *["-"] * (2 * len(kept)))]
    for name, points in ((one, summary["points"]), ("alpha", summary["interpolation"]["points"])):
        for row in points:
            shares = [f"{row[key][of]:.3f}" if row.get(key) else "-" for key in kept for of in ("value", "at_least")]
            rows.append((f"{name} {row[name]:g}", *_sweep_cells(row), *shares))
    kept_heads = [head for of in kept.values() for head in (f"{of} kept", "of it at least")]
    show_table(("model", "field", "95 %", "general", "95 %", *kept_heads), rows, page)
    show_lines(summary["sentence"])


def _sweep_cells(row: Mapping[str, Any]) -> list[str]:
    sides = (row["field"], row["general"])
    return [
        text
        for side in sides
        for text in (f"{100 * side['value']:.1f} %", f"{100 * side['low']:.1f} to {100 * side['high']:.1f}")
    ]
