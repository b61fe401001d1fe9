"""The vision encoder: InternViT as timm builds it (``vit_intern300m_patch14_448`` in timm/models/vision_transformer.py).

Pre-norm blocks with layer scale, exact GELU, a class token and no final norm. timm's modules hold the weights; the
residual sums are written here, because drop-path comes in as data instead of being drawn from a process's generator. A block
is called as a module, which is where sharding and compilation take hold.

Axes: N tiles, C channels, H W pixels, P patches, L twice the layers (attention, then MLP).
"""

from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from adapt.model.config import VisionConfig


class _Block(Block):
    """timm's block, its residual branches multiplied by what is handed in."""

    def forward(self, x_NPC: Tensor, keep_2N: Tensor | None = None) -> Tensor:  # type: ignore[override]
        attention_NPC = self.ls1(self.attn(self.norm1(x_NPC)))
        if keep_2N is not None:
            attention_NPC = attention_NPC * keep_2N[0, :, None, None]
        x_NPC = x_NPC + attention_NPC
        mlp_NPC = self.ls2(self.mlp(self.norm2(x_NPC)))
        if keep_2N is not None:
            mlp_NPC = mlp_NPC * keep_2N[1, :, None, None]
        return x_NPC + mlp_NPC


class Vision(nn.Module):
    """Tiles in, patch features out; ``checkpointing`` recomputes each block in the backward pass."""

    vit: Any  # timm's types say less than is so

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        self.vit = VisionTransformer(
            img_size=config.image_size_px,
            patch_size=config.patch_size_px,
            embed_dim=config.hidden_size,
            depth=config.num_layers,
            num_heads=config.num_heads,
            mlp_ratio=(config.mlp_size + 0.5) / config.hidden_size,  # timm truncates width * ratio
            qkv_bias=config.qkv_bias,
            init_values=config.layer_scale_init,
            norm_layer=partial(nn.LayerNorm, eps=config.layer_norm_eps),
            class_token=True,
            final_norm=False,
            num_classes=0,
            block_fn=_Block,
        )
        # timm draws with 0.02, made for widths near 1,000; in a narrow tower shapes then take thousands of steps to be seen.
        for linear in self.vit.modules():
            if isinstance(linear, nn.Linear):
                nn.init.normal_(linear.weight, std=linear.in_features**-0.5)

    def forward(self, pixels_NCHW: Tensor, keep_LN: Tensor | None = None) -> Tensor:
        """features: [N, P, C] of normalised tiles.

        keep_LN: float [2 * layers, N] multiplies the residual branches of each tile (0 dropped, 1 / keep probability
        kept; row 2i is the attention of block i, row 2i + 1 its MLP). None drops nothing.
        """
        patches_NPC = self.vit.patch_embed(pixels_NCHW)
        class_N1C = self.vit.cls_token.expand(len(patches_NPC), -1, -1)
        x_NPC = torch.cat([class_N1C, patches_NPC], dim=1) + self.vit.pos_embed
        for layer, block in enumerate(self.vit.blocks[: self.config.num_blocks_run]):
            keep_2N = None if keep_LN is None else keep_LN[2 * layer : 2 * layer + 2].to(x_NPC.dtype)
            if self.checkpointing and torch.is_grad_enabled():
                x_NPC = checkpoint(block, x_NPC, keep_2N, use_reentrant=False, preserve_rng_state=False)
            else:
                x_NPC = block(x_NPC, keep_2N)
        return x_NPC[:, 1:]
