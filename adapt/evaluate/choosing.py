"""The next token of an answer: the likeliest, or a drawn one.

Axes: A answers, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapt import randomness
from adapt.errors import DataError
from adapt.evaluate.sampling import Sampling

_DRAWN_TOGETHER = 32  # answers whose shares of the whole vocabulary are held at once


def check_finite(numbers: Tensor, dtype: torch.dtype) -> None:
    """Raise DataError for NaN or infinity: the likeliest of such logits would be scored as an answer like any other."""
    if not numbers.isfinite().all():
        raise DataError(
            f"the model gives NaN or infinity instead of logits: its weights are damaged, or too large for "
            f"{str(dtype).removeprefix('torch.')}; take another checkpoint"
        )


class Chooser:
    """Chooses for one answer after another, or for many at once; a draw is of the question's key and the token's number."""

    def __init__(self, sampling: Sampling, max_new_tokens: int) -> None:
        from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        self._seed, self._longest = sampling.seed, max_new_tokens
        self._warpers: list[Any] = []
        if sampling.temperature == 0:
            return
        self._warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.top_k:
            self._warpers.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            self._warpers.append(TopPLogitsWarper(sampling.top_p))

    def draws(self, key: str) -> np.ndarray | None:
        """float64 of every token of an answer; None where nothing is drawn."""
        return randomness.uniforms(self._longest, self._seed, "answer", key) if self._warpers else None

    def __call__(self, logits_AV: Tensor, drawn: Sequence[float | None]) -> Tensor:
        """int64[A]; ``drawn`` is the draw of each answer's next token. Raises DataError where logits are no numbers."""
        likeliest_A = logits_AV.argmax(-1)  # of a row with NaN its place
        check_finite(logits_AV.gather(-1, likeliest_A[:, None]), logits_AV.dtype)
        if not self._warpers:
            return likeliest_A
        drawn_A = torch.tensor(drawn, dtype=torch.float64, device=logits_AV.device)
        chunks = zip(logits_AV.split(_DRAWN_TOGETHER), drawn_A.split(_DRAWN_TOGETHER), strict=True)
        return torch.cat([self._draw(*chunk) for chunk in chunks])

    def _draw(self, logits_AV: Tensor, drawn_A: Tensor) -> Tensor:
        scores_AV: Any = logits_AV.double() - logits_AV.amax(-1, keepdim=True)
        for warper in self._warpers:
            scores_AV = warper(None, scores_AV)
        shares_AV = scores_AV.softmax(-1).cumsum(-1)
        # A draw is below 1, so below the sum too: what is found has a share.
        return torch.searchsorted(shares_AV, drawn_A[:, None] * shares_AV[:, -1:], right=True)[:, 0]
