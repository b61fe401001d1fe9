"""The page: its sections put together and written. Everything stands in it: styles, drawings, pictures as data URIs.

Nothing is fetched and nothing runs in it. Text from outside is written by an escaping template only. Pictures are at most
gallery.PICTURE_BYTES, lists and texts are cut with a word that says so: a page stays below MOST_BYTES, whatever was measured.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapt import __version__, atomic
from adapt.report.answers import break_down, read_answered
from adapt.report.comparison import compare_all
from adapt.report.contenders import all_measurements, find_contenders
from adapt.report.curves import FRAME
from adapt.report.gallery import MOST_GALLERIES, choose_shots, to_content
from adapt.report.runs import RunFacts
from adapt.report.scores import describe_scores
from adapt.report.training import describe_training
from adapt.show import figure

FOLDER = Path(__file__).parent
MOST_BYTES = 12 * 2**20


def write_page(runs: Sequence[RunFacts], output: Path) -> Path:
    """Write the page over ``runs`` to ``output``. Raises DataError for damaged files of answers."""
    atomic.write_text(output, _environment().get_template("page.html").render(_content(runs)))
    return output


def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": lambda value: f"{100 * value:.1f} %", "points": _points, "number": _number}
    return environment


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _number(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return figure(value) if isinstance(value, float) else str(value)


def _content(runs: Sequence[RunFacts]) -> dict[str, Any]:
    contenders = find_contenders(runs)
    measurements = all_measurements(contenders, runs)
    answered = {measurement: read_answered(measurement, contenders) for measurement in measurements}
    several = len([contender for contender in contenders if contender.scores]) > 1 or len(runs) > 1
    return {
        "title": " · ".join(run.name for run in runs),
        "version": __version__,
        "style": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "comparison": compare_all(contenders, answered, runs) if measurements and several else None,
        "breakdowns": [(place.title, parts) for place in measurements if (parts := break_down(answered[place]))],
        "galleries": to_content([choose_shots(answered[place]) for place in measurements[:MOST_GALLERIES]]),
        "galleries_left": max(0, len(measurements) - MOST_GALLERIES),
        "runs": [_section(run) for run in runs],
        "frame": FRAME,
        "generated": any((folder / "summary.json").is_file() for folder in {run.folder.parent for run in runs}),
    }


def _section(run: RunFacts) -> dict[str, Any]:
    return {
        "name": run.name,
        "place": run.folder.as_posix(),
        "is_run": bool(run.config),
        "scores": [describe_scores(score) for score in run.scores],
    } | describe_training(run)
