"""How an answer is drawn. No torch here: settings are checked before anything is loaded."""

import dataclasses

from adapt.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How an answer is drawn; ``temperature`` 0 takes the likeliest token (greedy).

    ``top_k`` keeps that many tokens (0: all), ``top_p`` the likeliest whose shares reach it (1: all), as transformers does.
    A draw depends on ``seed``, the question's key and the token's place, never on the other questions. Raises UsageError.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"temperature {self.temperature}; expected 0 (greedy) or a finite number above")
        if self.top_k < 0:
            raise UsageError(f"top_k {self.top_k}; expected 0 (all tokens) or more")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p {self.top_p}; expected more than 0 and at most 1 (all tokens)")
        if not self.temperature and (self.top_k, self.top_p, self.seed) != (0, 1.0, 0):
            raise UsageError("top_k, top_p and seed are of drawn answers; give a temperature above 0 too, or leave them out")


GREEDY = Sampling()
