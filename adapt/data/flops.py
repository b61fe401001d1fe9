"""What a pass costs in floating point operations, two for each multiply-add: the measure that packs are balanced by."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Flops:
    """Operations per tile (tower and connector), token of the language model, attended pair and predicted position."""

    per_tile: float
    per_token: float
    per_pair: float
    per_prediction: float

    def total(self, *, tiles: int, tokens: int, pairs: int, predictions: int) -> float:
        """Operations for so many of each."""
        return tiles * self.per_tile + tokens * self.per_token + pairs * self.per_pair + predictions * self.per_prediction

    def times(self, vision: float, language: float) -> "Flops":
        """The costs of a tile and of the language model multiplied, each by its own factor."""
        return Flops(
            self.per_tile * vision, self.per_token * language, self.per_pair * language, self.per_prediction * language
        )
