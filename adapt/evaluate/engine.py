"""What answers a benchmark's questions: a model loaded here, or a server. `adapt evaluate` sees only this.

No torch here: a server needs none.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from adapt import progress
from adapt.evaluate.sampling import Sampling
from adapt.records import ChatRecord

if TYPE_CHECKING:
    from adapt.evaluate.answer import Answerer

NATIVE = "native"
GENERATE, LIKELIHOOD = "generate", "likelihood"
CUT, REFUSED = "length", "refusal"  # how an answer ended that did not end by itself


@dataclasses.dataclass(frozen=True)
class Reply:
    """An answer; ``ended`` is '' for one that ended by itself, or where it is not known, else CUT or REFUSED."""

    text: str
    ended: str = ""


# Told of every answer as it comes: a record's id and the reply.
Keep = Callable[[str, Reply], None]


@dataclasses.dataclass(frozen=True)
class AnswerRules:
    """How questions are asked, whoever answers them: the longest answer in tokens, and how it is drawn.

    ``scoring`` LIKELIHOOD chooses the likeliest of each record's candidates instead of writing an answer.
    """

    max_new_tokens: int
    sampling: Sampling
    scoring: str = GENERATE


class Engine(Protocol):
    """What answers questions. ``model`` names the model for scores.json; answers depend on it, on ``facts`` and the rules."""

    @property
    def model(self) -> Mapping[str, Any]: ...

    @property
    def facts(self) -> Mapping[str, Any]: ...

    def answer(self, records: Sequence[ChatRecord], rules: AnswerRules, keep: Keep) -> Mapping[str, str]:
        """Give every record's reply to ``keep`` as it comes; returns why records could not be answered, by id."""
        ...


@dataclasses.dataclass(frozen=True)
class NativeEngine:
    """A model loaded here. ``images`` is the picture root, ``places`` has the ``file:line`` of each record by its id."""

    answerer: "Answerer"
    images: Path
    places: Mapping[str, str]

    @property
    def model(self) -> Mapping[str, Any]:
        """Where the model is, with the digests of its files."""
        return self.answerer.found.provenance

    @property
    def facts(self) -> Mapping[str, Any]:
        """Where it computes and in what."""
        weight = next(self.answerer.model.parameters())
        return {"name": NATIVE, "device": weight.device.type, "dtype": str(weight.dtype).removeprefix("torch.")}

    def answer(self, records: Sequence[ChatRecord], rules: AnswerRules, keep: Keep) -> Mapping[str, str]:
        """All questions of a picture from one prefill. None is left without an answer."""
        ways = {GENERATE: self._generate, LIKELIHOOD: self._choose}
        for key, text in progress.track(ways[rules.scoring](records, rules), len(records), "answering"):
            keep(key, Reply(text))
        return {}

    def _generate(self, records: Sequence[ChatRecord], rules: AnswerRules) -> Iterator[tuple[str, str]]:
        from adapt.evaluate.generate import Question, answer_questions

        questions = [Question.of(record, self.images, self.places[record.id]) for record in records]
        return answer_questions(self.answerer, questions, max_new_tokens=rules.max_new_tokens, sampling=rules.sampling)

    def _choose(self, records: Sequence[ChatRecord], rules: AnswerRules) -> Iterator[tuple[str, str]]:
        from adapt.evaluate.likelihood import Choice, choose_options

        choices = [Choice.of(record, self.images, self.places[record.id]) for record in records]
        return ((key, option) for key, option, _ in choose_options(self.answerer, choices))
