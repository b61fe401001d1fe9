"""What a model is asked: pictures and the turns up to the last question."""

import dataclasses
from pathlib import Path

from adapt import safe
from adapt.data.video import FRAME_TILES, frames_text
from adapt.errors import DataError, UsageError
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord, Turn


@dataclasses.dataclass(frozen=True)
class Question:
    """What to answer: a key, pictures (paths) and the turns up to the last human one.

    ``max_tiles`` is the largest grid of any picture, 0 for the model's own bound, ``where`` the ``file:line`` of the row, ''
    where there is none. Raises DataError where the turns have another number of places for pictures than there are pictures.
    """

    key: str
    pictures: tuple[Path, ...]
    turns: tuple[Turn, ...]
    max_tiles: int = 0
    where: str = ""

    def __post_init__(self) -> None:
        places = sum(turn.value.count(IMAGE_PLACEHOLDER) for turn in self.turns if turn.role == "human")
        if places != len(self.pictures):
            raise DataError(
                f"{self.key}: {places} {IMAGE_PLACEHOLDER} placeholder(s) for {len(self.pictures)} picture(s); expected as many"
            )

    @classmethod
    def of(cls, record: ChatRecord, root: Path, where: str = "") -> "Question":
        """The last question of a record; earlier turns stay as they are."""
        paths = tuple(safe.inside(root, name, where or record.id) for name in record.images)
        return cls(record.id, paths, record.turns[:-1], record.max_tiles, where)

    @classmethod
    def ask(cls, key: str, pictures: tuple[Path, ...], text: str) -> "Question":
        """One question in words; pictures without a place in it stand in front. Raises UsageError for a place too many."""
        places = text.count(IMAGE_PLACEHOLDER)
        if places > len(pictures):
            raise UsageError(
                f"the question has {places} {IMAGE_PLACEHOLDER} place(s) for {len(pictures)} picture(s); "
                "give a picture for each, or leave the word out"
            )
        return cls(key, pictures, (Turn("human", f"{IMAGE_PLACEHOLDER}\n" * (len(pictures) - places) + text),))

    @classmethod
    def watch(cls, key: str, frames: tuple[Path, ...], text: str) -> "Question":
        """One question about a video: its frames in front, a tile each. Raises UsageError for a place for a picture."""
        if IMAGE_PLACEHOLDER in text:
            raise UsageError(
                f"a question about a video has no {IMAGE_PLACEHOLDER} place: its frames stand in front; leave it out"
            )
        if not frames:
            raise UsageError("a video of no frames; give at least one")
        return cls(key, frames, (Turn("human", frames_text(len(frames)) + text),), FRAME_TILES)
