"""What a forward pass costs in floating point operations, two for each multiply-add: the measure that packs are balanced by."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Flops:
    """Operations of the forward pass: per tile (tower and connector), token, attended pair and predicted position."""

    per_tile: float
    per_token: float
    per_pair: float
    per_prediction: float

    def forward(self, *, tiles: int, tokens: int, pairs: int, predictions: int) -> float:
        """Operations for so many tiles, tokens of the language model, attended pairs and positions of the head."""
        return tiles * self.per_tile + self.language(tokens=tokens, pairs=pairs, predictions=predictions)

    def language(self, *, tokens: int, pairs: int, predictions: int) -> float:
        """The language model's part of it."""
        return tokens * self.per_token + pairs * self.per_pair + predictions * self.per_prediction
