"""What a field provides: tasks that read native datasets, benchmarks that score answers, a recipe, a generated sample.

Domains are found through the entry-point group ``adapt.domains``; each entry is a ``Domain``. Another package adds a
field by declaring one, without touching this one. Nothing here or in a domain may import torch: `adapt tasks` reads all.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

from adapt.errors import UsageError, unknown
from adapt.records import ChatRecord

ENTRY_POINT_GROUP = "adapt.domains"


class Sample(Protocol):
    """What a reader yields: a typed, frozen dataclass with at least these fields. ``pictures`` start at the image root."""

    @property
    def id(self) -> str: ...
    @property
    def where(self) -> str: ...
    @property
    def split(self) -> str | None: ...
    @property
    def pictures(self) -> tuple[str, ...]: ...


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A sample that cannot become a record: where (``file:line`` or an id) and why."""

    where: str
    reason: str
    split: str | None = None


@dataclasses.dataclass(frozen=True)
class Option:
    """A ``--option name=value`` of a task or benchmark. ``is_beside``: the default is a file beside the predictions."""

    name: str
    help: str
    default: str | None = None
    choices: tuple[str, ...] = ()
    is_beside: bool = False


@dataclasses.dataclass(frozen=True)
class Source:
    """What a reader is asked to read. Pictures that it makes go to the folder ``made`` (see adapt/made.py).

    ``counting`` says that the samples are only counted, as ``--limit`` does first: their pictures need not be made.
    """

    input: Path
    images: Path | None
    options: Mapping[str, str]
    seed: int
    made: Path | None = None
    counting: bool = False


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a reader answers: the picture root, the samples in a fixed order, and what it did not take as a sample.

    ``context`` is whatever the task's ``convert`` needs to know of the whole set (class names, say). ``facts`` are written
    into the manifest: what a reader of the JSONL needs to find the way back (class names, the split rule).
    A task whose records show made pictures answers ``image_root=source.made``. One root serves all rows: what is not made is
    then copied there. Where ``convert`` makes them from the samples' pictures, ``pictures_root`` is the root of those.
    """

    image_root: Path
    samples: Iterable[Any]
    context: Any = None
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pictures_root: Path | None = None


@dataclasses.dataclass(frozen=True)
class Task:
    """One way from a native dataset to chat records.

    ``read(source) -> Reading`` yields samples and ``Rejected`` in the dataset's order; ``convert(sample, context, source)
    -> list[ChatRecord]`` is pure and runs in worker processes; a sample with a field ``sizes`` gets the decoded pictures'
    (width, height) there first. A DataError from ``convert`` rejects the sample. ``unit`` is what one sample is; ``licence``
    the data's licence as its publishers state it, '' for data of anyone's making.
    """

    name: str
    summary: str
    layout: str
    unit: str
    read: Callable[[Source], Reading]
    convert: Callable[[Any, Any, Source], list[ChatRecord]]
    options: tuple[Option, ...] = ()
    example: str = ""
    licence: str = ""


@dataclasses.dataclass(frozen=True)
class Metric:
    """A value with the number of items behind it, its 95 % interval, and the number of groups that this was drawn from.

    It is shown as a share 0..1 unless the metric's name ends in one of ``adapt.evaluate.metrics.NO_SHARES`` (cider, rmse, mae).
    """

    value: float
    count: int
    low: float
    high: float
    groups: int = 0


@dataclasses.dataclass(frozen=True)
class Answered:
    """A reference record and the model's answer to it; None where the answer is missing."""

    record: ChatRecord
    answer: str | None


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a scorer returns: metrics by name, the convention's name, a mark 0..1 per record id, and details to show.

    ``headline`` names the metric to read first where that is not the benchmark's, because its rows ask for something else.
    ``headline_rows`` are the ids whose mean mark is the headline, where they are not all: two runs are compared on them.
    """

    metrics: Mapping[str, Metric]
    convention: str
    per_row: Mapping[str, float]
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    headline: str | None = None
    headline_rows: frozenset[str] | None = None


@dataclasses.dataclass(frozen=True)
class OfficialFiles:
    """A benchmark's own files: references, answers by id, and the ids whose answer is neither text, number nor null."""

    references: Sequence[ChatRecord]
    answers: Mapping[str, str | None]
    malformed: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A protocol: which metric is the headline, how long answers may be, and the scorer.

    ``read_official(predictions, references)`` reads the benchmark's own files; None where these are none, and are JSONL.
    ``official_files`` names them for people, the answers first.
    """

    name: str
    summary: str
    headline: str
    score: Callable[[Sequence[Answered], Mapping[str, str]], Scores]
    max_new_tokens: int = 50
    options: tuple[Option, ...] = ()
    published: tuple[Mapping[str, Any], ...] = ()
    read_official: Callable[[Path, Path], OfficialFiles | None] | None = None
    official_files: str = ""


@dataclasses.dataclass(frozen=True)
class Demo:
    """What ``adapt demo`` shows of a field: one dataset of its generated sample, in how many pictures, and its benchmark.

    ``options`` are those of the dataset's task; ``settings`` (KEY=VALUE) are of the field's two runs, before the demo's own.
    """

    dataset: str
    benchmark: str
    size: int
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    settings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Domain:
    """A field. ``recipe`` maps ``--set`` keys to values; ``sample(folder, seed, size)`` writes native datasets."""

    name: str
    summary: str
    tasks: tuple[Task, ...] = ()
    benchmarks: tuple[Benchmark, ...] = ()
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sample: Callable[..., Any] | None = None
    demo: Demo | None = None


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value


def _load(entry: EntryPoint) -> Domain:
    """The domain of one installed package. Whatever its code raises is that package's fault, and is said with its name."""
    package = _package(entry)
    try:
        found = entry.load()
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise UsageError(
            f"the field '{entry.name}' of the package {package} cannot be loaded: {what}; mend or uninstall it"
        ) from error
    if not isinstance(found, Domain):
        raise UsageError(f"the field '{entry.name}' of the package {package}: {entry.value} is no adapt.domain.Domain")
    return found


def _installed() -> list[tuple[str, Domain]]:
    """(package, domain) of every entry point, by the domain's name."""
    found = [(_package(entry), _load(entry)) for entry in entry_points(group=ENTRY_POINT_GROUP)]
    if not found:
        raise UsageError("no domain is installed: the package's entry points are missing; run 'pip install -e .'")
    return sorted(found, key=lambda each: (each[1].name, each[0]))


def all_domains() -> list[Domain]:
    """Every installed domain, by name. Raises UsageError, naming the package, for one that cannot be loaded."""
    return [domain for _, domain in _installed()]


def _only(kind: str, name: str, provided: Callable[[Domain], Iterable[Any]]) -> Any:
    """What is called so among all that domains provide."""
    found = [(package, domain, value) for package, domain in _installed() for value in provided(domain)]
    matches = [each for each in found if each[2].name == name]
    if not matches:
        raise unknown(kind, name, {value.name for _, _, value in found})
    if len(matches) > 1:
        owners = " and ".join(f"the field '{domain.name}' of the package {package}" for package, domain, _ in matches)
        raise UsageError(f"the {kind} '{name}' is provided by {owners}; rename it in one, or uninstall one of the packages")
    return matches[0][2]


def find_domain(name: str) -> Domain:
    """The domain of that name; one without a recipe has the general one. Raises UsageError with the nearest match."""
    return _only("domain", name, lambda domain: (domain,))


def find_task(name: str) -> Task:
    """The task of that name. Raises UsageError with the nearest match."""
    return _only("task", name, lambda domain: domain.tasks)


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name. Raises UsageError with the nearest match."""
    return _only("benchmark", name, lambda domain: domain.benchmarks)


def parse_options(given: str | Iterable[str] | Mapping[str, Any]) -> dict[str, str]:
    """``["convention=internvl"]`` (one text will do, and so will a mapping) -> {"convention": "internvl"}.

    Raises UsageError for what is not name=value and for an option given twice.
    """
    if isinstance(given, Mapping):
        return {name: str(value) for name, value in given.items()}
    options: dict[str, str] = {}
    for item in [given] if isinstance(given, str) else given:
        name, equals, value = item.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"option '{item}': expected name=value")
        if name in options:
            raise UsageError(f"option '{name}' is given twice; keep one")
        options[name] = value
    return options


def read_options(options: Sequence[Option], given: Mapping[str, str], owner: str) -> dict[str, str]:
    """Defaults with the given values over them. Raises UsageError for an unknown name or a value outside the choices."""
    known = {option.name: option for option in options}
    for name, value in given.items():
        if name not in known:
            raise unknown(f"option of {owner}", name, known)
        if known[name].choices and value not in known[name].choices:
            raise UsageError(f"option {name}={value} of {owner}: expected one of {', '.join(known[name].choices)}")
    return {name: option.default for name, option in known.items() if option.default is not None} | dict(given)
