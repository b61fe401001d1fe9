"""adapt sample: a small generated dataset in the native layouts of a domain's datasets."""

import shlex
from pathlib import Path
from typing import Any

from adapt import atomic
from adapt.domain import all_domains
from adapt.errors import UsageError, unknown


def sample(*, domain: str, output: Path | str, seed: int = 0, size: int | None = None) -> dict[str, Any]:
    """Write the generated sample of ``domain`` to the folder ``output``, whole or not at all.

    ``size`` is about how many pictures each dataset gets (default: the domain's own). The same seed and size give the same
    bytes. Returns {dataset: {path, task, pictures, questions, next}}, where ``next`` is the command that converts it.
    Raises UsageError for an unknown domain, one without a sample, and an output that is not an empty folder.
    """
    output = Path(output)
    writers = {each.name: each.sample for each in all_domains() if each.sample is not None}
    names = {each.name for each in all_domains()}
    if domain not in names:
        raise unknown("domain", domain, names)
    if domain not in writers:
        raise UsageError(f"the domain '{domain}' has no generated sample; those that have one: {', '.join(sorted(writers))}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"output '{output}' exists and is not an empty folder; name a new one")
    chosen = {"seed": seed} if size is None else {"seed": seed, "size": size}
    with atomic.staged_folder(output) as folder:
        written = writers[domain](folder, **chosen)
    return {name: _placed(output, name, facts) for name, facts in written.items()}


def _placed(output: Path, name: str, facts: dict[str, Any]) -> dict[str, Any]:
    path = output / facts["path"]
    command = f"adapt convert --task {facts['task']} --input {shlex.quote(str(path))} --output {name}.jsonl"
    return facts | {"path": str(path), "next": command}
