"""``adapt tasks``: every task and benchmark that the installed domains provide."""

from collections.abc import Sequence
from typing import Any

from adapt.domain import Option, all_domains
from adapt.errors import unknown


def tasks(name: str | None = None) -> list[dict[str, Any]]:
    """One row per task and benchmark, by domain: what it reads or scores, its layout, its sample unit and its options.

    With ``name`` the task and the benchmark of that name alone. Raises UsageError with the nearest match.
    """
    rows = _rows()
    found = [row for row in rows if name in (None, row["name"])]
    if not found:
        raise unknown("task or benchmark", str(name), sorted({row["name"] for row in rows}))
    return found


def _rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for domain in all_domains():
        for task in domain.tasks:
            rows.append(
                {
                    "kind": "task",
                    "domain": domain.name,
                    "name": task.name,
                    "summary": task.summary,
                    "layout": task.layout,
                    "unit": task.unit,
                    "licence": task.licence,
                    "options": _option_rows(task.options),
                    "example": task.example,
                }
            )
        for benchmark in domain.benchmarks:
            rows.append(
                {
                    "kind": "benchmark",
                    "domain": domain.name,
                    "name": benchmark.name,
                    "summary": benchmark.summary,
                    "headline": benchmark.headline,
                    "official": benchmark.official_files,
                    "options": _option_rows(benchmark.options),
                }
            )
    return rows


def _option_rows(options: Sequence[Option]) -> list[dict[str, Any]]:
    return [{"name": each.name, "help": each.help, "default": each.default, "choices": list(each.choices)} for each in options]
