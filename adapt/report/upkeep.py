"""A run's own page and card, kept up to date without a command: at the end of its training, and when scores lie below it.

Neither is what a run is for. Whatever goes wrong with them is said in one line and stops nothing.
"""

from pathlib import Path

from adapt import progress
from adapt.report.runs import read_run, run_above

PAGE = "report.html"


def write_own_page(run: Path) -> Path | None:
    """RUN/report.html, and RUN/model/README.md with the scores there are. None, and one line on stderr, where that fails."""
    from adapt.report.card import update_cards
    from adapt.report.page import write_page

    try:
        facts = read_run(run, run.resolve().name)
        page = write_page([facts], run / PAGE)
        update_cards(facts)
    except Exception as error:  # noqa: BLE001  hours of training or answers are done: no fault of a page may undo them
        reason = " ".join(str(error).split()) or type(error).__name__
        progress.say(f"warning: {run / PAGE} was not written: {reason}; 'adapt report {run} --output {run / PAGE}' tries again")
        return None
    return page


def note_scores(folder: Path) -> None:
    """After scores were written to ``folder``: bring the page and the card of the run that it lies in up to date."""
    run = run_above(folder / "scores.json")
    if run is not None and (page := write_own_page(run)) is not None:
        progress.say(f"the run's page is {page}")
