"""How many rows a second `adapt convert --task chat` writes: text-only conversations, one process.

Rows of two turns of a few dozen words, as LLaVA's text rows are. The whole verb is timed: reading, parsing,
checking and writing. Memory is the peak of this process.

Run: python -m benchmarks.conversion FOLDER [--rows N] [--workers N] [--profile]
"""

import argparse
import cProfile
import json
import pstats
import resource
import time
from pathlib import Path

from adapt.verbs import convert

WORDS = (
    "river",
    "bridge",
    "the",
    "two",
    "boats",
    "under",
    "a",
    "tall",
    "red",
    "crane",
    "waits",
    "for",
    "morning",
    "light",
    "and",
    "rain",
)
QUESTION_WORDS, ANSWER_WORDS = 20, 60


def make_rows(path: Path, rows: int) -> None:
    """A JSONL of text-only conversations, the same for the same number of rows."""
    with open(path, "w", encoding="utf-8") as handle:
        for number in range(rows):
            start = number % len(WORDS)
            words = [WORDS[(start + place * place) % len(WORDS)] for place in range(QUESTION_WORDS + ANSWER_WORDS)]
            turns = [
                {"from": "human", "value": " ".join(words[:QUESTION_WORDS]) + "?"},
                {"from": "gpt", "value": " ".join(words[QUESTION_WORDS:]) + "."},
            ]
            handle.write(json.dumps({"id": f"text-{number}", "conversations": turns}) + "\n")


def main() -> None:
    """Make the rows where they are not there, convert them, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="print where the time goes (which slows it)")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    source = given.folder / f"text-{given.rows}.jsonl"
    if not source.exists():
        make_rows(source, given.rows)
    profile = cProfile.Profile()
    began, began_cpu = time.perf_counter(), time.process_time()
    if given.profile:
        profile.enable()
    convert(task="chat", input=source, output=given.folder / "converted.jsonl", workers=given.workers)
    profile.disable()
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    found = {
        "rows": given.rows,
        "workers": given.workers,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_s, 2),
        "rows_per_second": round(given.rows / seconds),
        "rows_per_cpu_second": round(given.rows / cpu_s),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(found))
    if given.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
