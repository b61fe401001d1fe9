"""The connector against transformers' own, and its pixel shuffle by hand."""

import torch
from transformers import InternVLConfig, InternVLModel

from adapt.model.config import ModelConfig, VisionConfig
from adapt.model.connector import Connector, pixel_shuffle


def test_shuffle_by_hand() -> None:
    """On a 4x4 grid each token is its cell's patches: top-left, top-right, bottom-left, bottom-right; cells row by row."""
    grid = torch.arange(16).reshape(1, 16, 1)
    assert pixel_shuffle(grid, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_shuffle_is_transformers() -> None:
    """The shuffle equals transformers' pixel_shuffle on random features, bit for bit."""
    features = torch.randn(3, 64, 7)
    theirs = InternVLModel.pixel_shuffle(None, features.reshape(3, 8, 8, 7), scale_factor=0.5).reshape(3, 16, 28)
    assert torch.equal(pixel_shuffle(features, 2), theirs)


def test_connector_is_transformers() -> None:
    """The connector equals transformers' projector with the same weights."""
    from transformers.models.internvl.modeling_internvl import InternVLMultiModalProjector

    vision = VisionConfig(image_size_px=32, patch_size_px=8, hidden_size=24, num_layers=1, num_heads=2, mlp_size=48)
    ours = Connector(ModelConfig(vision, {"model_type": "qwen2", "hidden_size": 40, "vocab_size": 8}))
    theirs = InternVLMultiModalProjector(
        InternVLConfig(vision_config={"hidden_size": 24}, text_config={"model_type": "qwen2", "hidden_size": 40})
    )
    for name, parameter in ours.named_parameters():
        torch.nn.init.normal_(parameter)
        theirs.get_parameter(name.replace("norm.", "layer_norm.")).data.copy_(parameter)
    features = torch.randn(2, 16, 24)
    torch.testing.assert_close(ours(features), theirs(pixel_shuffle(features, 2)), rtol=0, atol=1e-5)
