"""InternVL: tiles through the vision tower and the connector, spliced into the text, through the language model.

One path serves training and generation: packs of message trees. The language head runs only where labels are.

Axes: N tiles, C channels, S tile side, K picture tokens, R rows, L row length, D hidden size, P predicted tokens,
M residual branches of the vision tower, V vocabulary, T places of a pack (R * L).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from adapt.data.packing import Batch
from adapt.data.tiling import IMAGENET_MEAN, IMAGENET_STD
from adapt.model.attention import mask_of
from adapt.model.config import ModelConfig
from adapt.model.connector import Connector
from adapt.model.language import build_language
from adapt.model.vision import Vision

HEAD_POSITIONS = 1024  # logits of so many positions are kept at a time: 0.6 GB in float32 at a vocabulary of 150,000


class InternVL(nn.Module):
    """``InternVL(config)`` with random weights; ``adapt.load`` gives one with weights from disk."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = Vision(config.vision)
        self.language = build_language(config.language)
        self.connector = Connector(config)
        self.restore_buffers()

    def restore_buffers(self) -> None:
        """Compute what no file holds: the picture statistics and the frequencies of the position encoding."""
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None] * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None] * 255, persistent=False)
        rotary = self.language.model.rotary_emb
        self.language.model.rotary_emb = type(rotary)(config=self.language.config)

    def checkpoint_activations(self) -> None:
        """From now on keep the input of each block and layer alone, and compute the rest again in the backward pass."""
        self.vision.checkpointing = True
        language: Any = self.language
        newer = hasattr(language, "activation_checkpointing_enable")  # transformers 5.23 warns of the older name
        enable = language.activation_checkpointing_enable if newer else language.gradient_checkpointing_enable
        enable({"use_reentrant": False})

    def picture_features(self, tiles_NCHW: Tensor, keep_MN: Tensor | None = None) -> Tensor:
        """uint8[N, 3, S, S] -> float[K, D], the tokens of all tiles in order; K = N * tokens_per_tile."""
        dtype = self.connector.norm.weight.dtype
        pixels = (tiles_NCHW.to(dtype) - self.get_buffer("mean").to(dtype)) / self.get_buffer("std").to(dtype)
        return self.connector(self.vision(pixels, keep_MN)).flatten(0, 1)

    def embed(self, batch: Batch) -> Tensor:
        """float[R, L, D]: token embeddings with the picture tokens in their places."""
        embedded_RLD = self.language.get_input_embeddings()(batch.input_ids_RL)
        if not len(batch.tiles_NCHW):
            return embedded_RLD
        features_KD = self.picture_features(batch.tiles_NCHW, batch.keep_MN).to(embedded_RLD.dtype)
        if not len(batch.feature_positions_K):  # a tile that stands for nothing: the tower runs, and nothing comes of it
            return embedded_RLD + 0 * features_KD.sum()
        flat = embedded_RLD.flatten(0, 1).index_copy(0, batch.feature_positions_K, features_KD)
        return flat.view_as(embedded_RLD)

    def hidden(self, batch: Batch) -> Tensor:
        """float[R, L, D]: last hidden states of a pack."""
        output = self.language.model(
            inputs_embeds=self.embed(batch),
            position_ids=batch.position_ids_RL,
            attention_mask=mask_of(batch),
            use_cache=False,
        )
        return output.last_hidden_state

    def hidden_with(self, held: Any, embedded_RLD: Tensor, position_ids_RL: Tensor) -> Tensor:
        """float[R, L, D]: last hidden states where ``held`` keeps keys and values and attends (adapt.model.branches)."""
        # Never looked at; its four axes tell transformers that there is nothing to make.
        mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=embedded_RLD.device)
        output = self.language.model(
            inputs_embeds=embedded_RLD, position_ids=position_ids_RL, attention_mask=mask, use_cache=False, held=held
        )
        return output.last_hidden_state

    def logits_at(self, hidden_RLD: Tensor, positions_P: Tensor) -> Tensor:
        """float[P, V] at flat places of the pack."""
        return self.language.lm_head(hidden_RLD.flatten(0, 1).index_select(0, positions_P))

    def forward(self, batch: Batch) -> Tensor:
        """float[P]: cross-entropy of each supervised token, in float32 or better.

        Where more than ``HEAD_POSITIONS`` are supervised the head runs on so many at a time and again in the backward pass, so
        that logits never take more than those of one part.
        """
        flat_TD = self.hidden(batch).flatten(0, 1)
        if len(batch.target_ids_P) <= HEAD_POSITIONS:
            return self._losses(flat_TD, batch.target_positions_P, batch.target_ids_P)
        parts = zip(batch.target_positions_P.split(HEAD_POSITIONS), batch.target_ids_P.split(HEAD_POSITIONS), strict=True)
        return torch.cat(
            [
                checkpoint(self._losses, flat_TD, positions, ids, use_reentrant=False, preserve_rng_state=False)
                for positions, ids in parts
            ]
        )

    def _losses(self, flat_TD: Tensor, positions_P: Tensor, ids_P: Tensor) -> Tensor:
        logits_PV = self.language.lm_head(flat_TD.index_select(0, positions_P))
        wide = torch.promote_types(logits_PV.dtype, torch.float32)
        return nn.functional.cross_entropy(logits_PV.to(wide), ids_P, reduction="none")
