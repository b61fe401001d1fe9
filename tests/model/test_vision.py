"""The vision tower against timm's own, and drop-path as a function of given factors."""

import timm
import torch

from adapt.model.config import INTERNVIT_300M, VisionConfig
from adapt.model.vision import Vision

SMALL = VisionConfig(image_size_px=32, patch_size_px=8, hidden_size=48, num_layers=3, num_heads=4, mlp_size=100)


def random_vision(dtype: torch.dtype = torch.float64) -> Vision:
    torch.manual_seed(0)
    vision = Vision(SMALL).to(dtype)
    for parameter in vision.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return vision


def test_architecture_is_timms() -> None:
    """The 300M encoder has exactly the tensors of timm's vit_intern300m_patch14_448."""
    with torch.device("meta"):
        ours = Vision(INTERNVIT_300M).vit
        theirs = timm.create_model("vit_intern300m_patch14_448", pretrained=False, num_classes=0)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    assert ours.blocks[0].norm1.eps == theirs.blocks[0].norm1.eps == 1e-6
    assert repr(ours.blocks[3].mlp.act) == repr(theirs.blocks[3].mlp.act) == "GELU(approximate='none')"


def test_features_are_timms() -> None:
    """Without drop-path the features are those of timm's own forward, class token dropped."""
    vision = random_vision()
    pixels = torch.randn(5, 3, 32, 32, dtype=torch.float64)
    expected = vision.vit.forward_features(pixels)[:, 1:]
    torch.testing.assert_close(vision(pixels), expected, rtol=1e-10, atol=1e-10)
    assert vision(pixels).shape == (5, 16, 48)


def test_keep_scales_each_branch_of_each_tile() -> None:
    """Row 2i of keep multiplies block i's attention and row 2i+1 its MLP, tile by tile; one everywhere changes nothing."""
    vision = random_vision()
    pixels = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    keep = torch.rand(6, 4, dtype=torch.float64)
    features = vision(pixels, keep)
    for n in range(4):  # a scaled branch is a branch whose layer scale is scaled
        scaled = random_vision()
        for i, block in enumerate(scaled.vit.blocks):
            block.ls1.gamma.data *= keep[2 * i, n]
            block.ls2.gamma.data *= keep[2 * i + 1, n]
        torch.testing.assert_close(
            features[n : n + 1], scaled.vit.forward_features(pixels[n : n + 1])[:, 1:], rtol=1e-9, atol=1e-9
        )
    assert torch.equal(vision(pixels, torch.ones(6, 4)), vision(pixels))
    assert not torch.allclose(features, vision(pixels))


def test_checkpointing_changes_nothing() -> None:
    """With checkpointing features and gradients are bit for bit the same."""
    pixels, keep = torch.randn(2, 3, 32, 32), torch.rand(6, 2)
    gradients = []
    for checkpointing in (False, True):
        vision = random_vision(torch.float32)
        vision.checkpointing = checkpointing
        vision(pixels, keep).square().sum().backward()
        gradients.append([parameter.grad for parameter in vision.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
