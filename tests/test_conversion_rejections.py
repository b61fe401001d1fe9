"""The list of rejected samples."""

import json
from pathlib import Path

from adapt.conversion.rejections import MOST_REASONS, OTHER_REASONS, Rejections
from adapt.domain import Rejected


def test_reasons_are_counted_up_to_a_number(tmp_path: Path) -> None:
    """Reasons that differ in every row fill neither the memory nor the manifest; each row stands in the file."""
    count = 3 * MOST_REASONS
    with Rejections(tmp_path / "out.jsonl") as rejections:
        for number in range(count):
            rejections.add(Rejected(f"f:{number}", f"is {'x' * number}, picture 'a{number}.png' is {number} px"))
        rejections.commit()
    reasons = rejections.reasons()
    assert sum(reasons.values()) == rejections.count == count
    assert len(reasons) == MOST_REASONS + 1 and reasons[OTHER_REASONS] == count - MOST_REASONS
    rows = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text().splitlines()]
    assert [row["where"] for row in rows] == [f"f:{number}" for number in range(count)]
