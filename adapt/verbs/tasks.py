"""``adapt tasks``: every task and benchmark that the installed domains provide."""

from collections.abc import Sequence
from typing import Any

from adapt.domain import Option, all_domains


def tasks() -> list[dict[str, Any]]:
    """One row per task and benchmark, by domain: what it reads or scores, its layout, its sample unit and its options."""
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
                    "options": _option_rows(benchmark.options),
                }
            )
    return rows


def _option_rows(options: Sequence[Option]) -> list[dict[str, Any]]:
    return [{"name": each.name, "help": each.help, "default": each.default, "choices": list(each.choices)} for each in options]
