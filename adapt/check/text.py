"""Marks in the text of rows: tags that have no end, and text that spells a control token."""

import re
from collections import Counter
from collections.abc import Sequence

from adapt.boxes import find_boxes, is_only_boxes
from adapt.check.faults import Fault
from adapt.check.rows import Row

_TAG = re.compile(r"<(/?)(ref|box|quad)>")
_BOX = re.compile(r"<box>([^<]*)</box>")
_NO_NAME = re.compile(r"<ref>\s*</ref>")
_CONTROL = re.compile(r"<\|[A-Za-z0-9_ ]{1,40}\|>|</?img>|<IMG_CONTEXT>|</?s>|<unk>|<video>")


def tag_faults(rows: Sequence[Row]) -> list[Fault]:
    """Tags without their end, nested ones, a <box> that is not boxes alone, and a <ref> without a name."""
    return [
        Fault(row.where, "tag", message) for row in rows for turn in row.record.turns if (message := _tag_fault(turn.value))
    ]


def _tag_fault(text: str) -> str:
    open_tag = ""
    for match in _TAG.finditer(text):
        closes, name = bool(match[1]), match[2]
        if closes and name != open_tag:
            return f"</{name}> without <{name}> before it; it would be read as plain text"
        if not closes and open_tag:
            return f"<{name}> inside <{open_tag}>; expected </{open_tag}> first"
        open_tag = "" if closes else name
    if open_tag:
        return f"<{open_tag}> without </{open_tag}>; it would be read as plain text"
    for match in _BOX.finditer(text):
        if not find_boxes(match[0]):
            return f"no box can be read in '{match[0][:60]}'; expected <box>[[x1, y1, x2, y2]]</box>"
        if not is_only_boxes(match[1]):
            return f"only a part of '{match[0][:60]}' can be read as boxes; expected <box>[[x1, y1, x2, y2], ...]</box>"
    if _NO_NAME.search(text):
        return "<ref></ref> names nothing; expected a name between the tags"
    return ""


def control_tokens(rows: Sequence[Row]) -> dict[str, int]:
    """How many rows spell each control token. No fault: they become plain text and can forge nothing."""
    found = Counter(token for row in rows for token in set(_CONTROL.findall(" ".join(turn.value for turn in row.record.turns))))
    return dict(found.most_common())
