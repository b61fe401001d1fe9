"""From patch features to tokens of the language model: pixel shuffle, LayerNorm, Linear, GELU, Linear.

Source: ``mlp1`` and ``pixel_shuffle`` (ps_version v2) in internvl_chat/internvl/model/internvl_chat/modeling_internvl_chat.py
of github.com/OpenGVLab/InternVL.

Axes: N tiles, P patches (row-major), K tokens (row-major), C vision channels, D language channels.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from adapt.model.config import ModelConfig


def pixel_shuffle(features_NPC: Tensor, size: int, version: str = "v2") -> Tensor:
    """[N, P, C] -> [N, P / size^2, C * size^2]: each cell of size x size patches becomes one row, its patches row-major.

    Version "v2" lists the cells row by row, "v1" column by column.

    Not torch.pixel_unshuffle, which orders the channels otherwise.
    """
    num_tiles, num_patches, channels = features_NPC.shape
    cells = round(num_patches**0.5) // size
    cells_NYyXxC = features_NPC.reshape(num_tiles, cells, size, cells, size, channels)
    cells_first = (0, 1, 3) if version == "v2" else (0, 3, 1)
    return cells_NYyXxC.permute(*cells_first, 2, 4, 5).reshape(num_tiles, cells * cells, size * size * channels)


class Connector(nn.Module):
    """patch features [N, P, C] -> tokens [N, K, D]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.shuffle_size, self.ps_version = config.shuffle_size, config.ps_version
        shuffled_size = config.vision.hidden_size * config.shuffle_size**2
        language_size = config.language["hidden_size"]
        self.norm = nn.LayerNorm(shuffled_size, eps=1e-5)
        self.linear_1 = nn.Linear(shuffled_size, language_size)
        self.linear_2 = nn.Linear(language_size, language_size)
        for linear in (self.linear_1, self.linear_2):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
            nn.init.zeros_(linear.bias)

    def forward(self, features_NPC: Tensor) -> Tensor:
        shuffled_NKC = pixel_shuffle(features_NPC, self.shuffle_size, self.ps_version)
        return self.linear_2(F.gelu(self.linear_1(self.norm(shuffled_NKC))))
