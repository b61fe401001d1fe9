"""The language model: transformers' logits under torch's norms, and configurations that are refused."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from adapt.errors import DataError
from adapt.model.language import build_language, language_config, rope_threshold


def models(tiny_config, dtype=torch.float32):
    torch.manual_seed(0)
    ours = build_language(tiny_config.language, dtype)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    theirs = AutoModelForCausalLM.from_config(language_config(tiny_config.language), dtype=dtype)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def test_norms_are_torchs_and_logits_transformers(tiny_config) -> None:
    """With torch's norms the names stay and the logits equal the untouched transformers model."""
    ours, theirs = models(tiny_config)
    ids = torch.randint(0, 512, (2, 40))
    assert any(isinstance(module, torch.nn.RMSNorm) for module in ours.modules())
    assert not any(type(module).__name__ in ("Qwen2RMSNorm", "LlamaRMSNorm", "Phi3RMSNorm") for module in ours.modules())
    torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, rtol=0, atol=1e-4)


def test_norm_computes_in_float32() -> None:
    """torch's RMSNorm of bfloat16 rounds once, at the end: equal to the float64 result rounded."""
    x = (torch.randn(256, 896) * 3).bfloat16()
    weight = torch.randn(896).bfloat16()
    norm = torch.nn.RMSNorm(896, eps=1e-6, dtype=torch.bfloat16)
    norm.weight.data.copy_(weight)
    exact = x.double() * torch.rsqrt(x.double().square().mean(-1, keepdim=True) + 1e-6) * weight.double()
    assert (norm(x) == exact.bfloat16()).float().mean() > 0.9999


def test_float64_gradients(tiny_config) -> None:
    """In float64 the gradient agrees with finite differences to nine digits: nothing inside is cast down."""
    ours, _ = models(tiny_config, torch.float64)
    x = torch.randn(1, 12, 64, dtype=torch.float64, requires_grad=True)
    direction, step = torch.randn_like(x), 1e-5

    def loss(at: torch.Tensor) -> torch.Tensor:
        return ours(inputs_embeds=at).logits.square().mean()

    loss(x).backward()
    with torch.no_grad():
        slope = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    torch.testing.assert_close((x.grad * direction).sum(), slope, rtol=1e-8, atol=1e-9)


def test_unknown_model_type() -> None:
    """A language model that transformers does not have is refused by name; remote code is never run."""
    with pytest.raises(DataError, match="internlm2.*remote code is never run"):
        build_language({"model_type": "internlm2", "auto_map": {"AutoModelForCausalLM": "evil.Evil"}})


def test_foreign_settings_are_ignored(tiny_config) -> None:
    """Code references and old generation settings inside a configuration have no effect."""
    noisy = {
        **tiny_config.language,
        "auto_map": {"AutoConfig": "evil.Evil"},
        "bad_words_ids": None,
        "tie_word_embeddings": True,
    }
    assert language_config(noisy).to_dict() == language_config(tiny_config.language).to_dict()


def test_old_rope_names() -> None:
    """The RoPE settings of the published configurations (dynamic, and Phi-3's 'su') are understood."""
    dynamic = {"model_type": "llama", "rope_theta": 1e6, "rope_scaling": {"type": "dynamic", "factor": 2.0}}
    found = language_config(dynamic).rope_parameters
    assert (found["rope_type"], found["factor"], found["rope_theta"]) == ("dynamic", 2.0, 1e6)
    phi3 = {
        "model_type": "phi3",
        "hidden_size": 64,
        "num_attention_heads": 4,
        "original_max_position_embeddings": 4096,
        "max_position_embeddings": 131072,
        "rope_scaling": {"type": "su", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8},
    }
    found = language_config(phi3).rope_parameters
    assert (found["rope_type"], found["original_max_position_embeddings"]) == ("longrope", 4096)
    with pytest.raises(DataError, match="not one that transformers takes"):
        language_config({**phi3, "rope_scaling": {"type": "longrope"}})


def test_the_length_at_which_rope_changes_is_known() -> None:
    """longrope changes above the original length, dynamic scaling above the largest; plain RoPE never does."""
    small = {"hidden_size": 64, "num_attention_heads": 4, "max_position_embeddings": 512}
    longrope = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
    phi3 = {**small, "model_type": "phi3", "original_max_position_embeddings": 32, "rope_scaling": longrope}
    assert rope_threshold(phi3) == 32
    assert rope_threshold({**small, "model_type": "llama", "rope_scaling": {"type": "dynamic", "factor": 2.0}}) == 512
    assert rope_threshold({**small, "model_type": "llama", "rope_scaling": {"type": "linear", "factor": 2.0}}) is None
    assert rope_threshold({**small, "model_type": "qwen2"}) is None
