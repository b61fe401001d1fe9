"""Which questions a run was trained on, by the files that its config.json names with their digests, and by the splits.

A run takes rows of no split or of ``train`` from its files, those of ``val`` never, those of test splits with --accept-test.
Which rows of files without ``val`` it held out is drawn by picture and stands nowhere: they are counted as trained on.
"""

from collections.abc import Sequence
from pathlib import Path

from adapt import safe
from adapt.records import ChatRecord
from adapt.report.runs import is_run


def run_of(model: Path | None) -> Path | None:
    """The run whose weights (``model`` or ``best``) lie in that folder; None for a model of no run that is here."""
    run = None if model is None else model.absolute().parent
    return run if run is not None and is_run(run) else None


def count_trained(run: Path, data_sha256: str, records: Sequence[ChatRecord]) -> int:
    """How many of the records, of the file of that content, are of a file and a split that the run was trained on.

    Raises DataError for a config.json or plan.json that is no JSON object.
    """
    config, plan = safe.read_object(run / "config.json"), safe.read_object_if_there(run / "plan.json")
    arguments, files = config.get("arguments", {}), config.get("files", {})
    unused = () if plan.get("samples", {}).get("general") else arguments.get("general", ())
    if data_sha256 not in {digest for path, digest in files.items() if path not in unused}:
        return 0
    splits = [record.split or "train" for record in records]
    return sum(split == "train" or (bool(arguments.get("accept_test")) and split.startswith("test")) for split in splits)
