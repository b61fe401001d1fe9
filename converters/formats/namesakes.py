"""Pictures of one name in many folders: which of them a stated path means."""

import collections
import functools
from collections.abc import Callable, Hashable, Sequence
from pathlib import PurePosixPath
from typing import Generic, TypeVar

Kind = TypeVar("Kind", bound=Hashable)


class Namesakes(Generic[Kind]):
    """Pictures, each with its kind, whose last ``depth`` folders are called the same.

    They are told apart by the folder above those when a stated path leads there: a search takes as long as the path is deep,
    however many pictures there are.
    """

    def __init__(self, pictures: Sequence[tuple[Kind, PurePosixPath]], depth: int = 0) -> None:
        self._pictures = pictures
        self._depth = depth

    def nearest(self, stated: PurePosixPath, is_meant: Callable[[Kind], bool]) -> list[PurePosixPath]:
        """Of the kinds that are meant those that share most folders with the path, from the file upwards; the first two."""
        trails = [self]
        for folder in reversed(stated.parts[:-1]):
            if (above := trails[-1]._above.get(folder)) is None:
                break
            trails.append(above)
        for trail in reversed(trails):
            found = [path for kind, paths in trail._firsts.items() if is_meant(kind) for path in paths]
            if found:
                return sorted(found, key=lambda path: path.parts)[:2]
        return []

    @functools.cached_property
    def _above(self) -> dict[str, "Namesakes[Kind]"]:
        """By the next folder; a picture that is alone here is found already."""
        groups: dict[str, list[tuple[Kind, PurePosixPath]]] = collections.defaultdict(list)
        for kind, path in self._pictures if len(self._pictures) > 1 else ():
            if len(folders := path.parts[:-1]) > self._depth:
                groups[folders[-1 - self._depth]].append((kind, path))
        return {folder: Namesakes(pictures, self._depth + 1) for folder, pictures in groups.items()}

    @functools.cached_property
    def _firsts(self) -> dict[Kind, list[PurePosixPath]]:
        """Two pictures of each kind, which is enough to say that there are several."""
        firsts: dict[Kind, list[PurePosixPath]] = {}
        for kind, path in self._pictures:
            if len(paths := firsts.setdefault(kind, [])) < 2:
                paths.append(path)
        return firsts
