"""How samples come from their readers, and how they are cut into chunks for the workers."""

import dataclasses
from pathlib import Path

import pytest

from adapt.conversion import stream
from adapt.domain import Rejected, Source, find_domain, find_task, read_options
from adapt.errors import DataError


@dataclasses.dataclass(frozen=True)
class Asked:
    pictures: tuple[str, ...]


@pytest.mark.parametrize("group", [1, 7, 100, 300])
def test_samples_of_one_picture_stay_in_one_chunk(group: int) -> None:
    """Chunks hold all samples once and in order; no group that shows the same pictures is cut, and none is much too long."""
    samples = [Asked((f"{number // group}.png",)) for number in range(2000)]
    chunks = list(stream._chunks(iter(samples)))
    assert [sample for chunk in chunks for sample in chunk] == samples
    assert all(first[-1].pictures != second[0].pictures for first, second in zip(chunks, chunks[1:], strict=False))
    assert all(stream.SAMPLES <= len(chunk) < stream.SAMPLES + group for chunk in chunks[:-1])


def test_a_picture_of_endless_questions_does_not_fill_the_memory() -> None:
    """A group is cut at the bound; texts and rejected samples are never held together."""
    chunks = list(stream._chunks(Asked(("a.png",)) for _ in range(5000)))
    assert [len(chunk) for chunk in chunks] == [1024, 1024, 1024, 1024, 904]
    for sample in (Asked(()), Rejected("here", "why")):
        assert [len(chunk) for chunk in stream._chunks(sample for _ in range(600))] == [256, 256, 88]
    assert list(stream._chunks(iter([]))) == []


@pytest.mark.parametrize(
    ("domain", "task", "folder", "last", "options"),
    [
        ("medical", "vqarad", "vqa_rad", "testset.json", {}),
        ("medical", "slake", "Slake1.0", "test.json", {"kinds": "vqa,detect"}),
        ("remote_sensing", "rsvqa", "RSVQA-LR", "LR_split_test_questions.json", {}),
    ],
)
def test_samples_are_made_as_they_are_asked_for(
    domain: str, task: str, folder: str, last: str, options: dict[str, str], tmp_path: Path
) -> None:
    """Samples of the first file come before the last file is read, which is damaged: they are not all held together."""
    write_sample = find_domain(domain).sample
    assert write_sample is not None
    write_sample(tmp_path, seed=0, size=16)
    (tmp_path / folder / last).write_text("{")
    chosen = find_task(task)
    source = Source(tmp_path / folder, None, read_options(chosen.options, options, task), 0, None)
    samples = iter(chosen.read(source).samples)
    assert next(samples).split == "train"
    with pytest.raises(DataError, match=f"{last}.*not JSON"):
        list(samples)
