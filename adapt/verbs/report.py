"""``adapt report``: one HTML page over one or more runs."""

from collections.abc import Sequence
from pathlib import Path

from adapt.errors import UsageError


def report(runs: Sequence[Path | str] | Path | str, *, output: Path | str) -> Path:
    """Write one self-contained page over ``runs`` to ``output`` and return its path.

    A run is the folder that ``finetune`` left; scores are looked for anywhere below it. The folder of a demo stands for its
    runs, and a folder that holds only scores (of the model before, say) for itself. The cards of the runs' models are brought
    up to date. Raises UsageError for a folder that is neither, DataError for damaged files.
    """
    folders = [Path(runs)] if isinstance(runs, str | Path) else [Path(run) for run in runs]
    if not folders:
        raise UsageError("report: no run given; expected the --output of 'adapt finetune'")
    page = Path(output)
    if page.is_dir():
        raise UsageError(f"{page}: a folder; --output takes the name of the page, such as {page}/report.html")
    if page.suffix.lower() not in (".html", ".htm"):  # a slip must not replace a picture or rows
        raise UsageError(f"output '{page}': expected the name of a page that ends in .html, such as report.html")
    from adapt.report.card import update_cards
    from adapt.report.page import write_page
    from adapt.report.runs import read_runs

    found = read_runs(folders)
    write_page(found, page)
    for run in found:
        update_cards(run)
    return page
