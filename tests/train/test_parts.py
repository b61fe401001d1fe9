"""Which weights train: stages, frozen parts, and LoRA judged by peft and transformers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import InternVLForConditionalGeneration

from adapt.errors import UsageError
from adapt.model.config import PRESETS
from adapt.model.internvl import InternVL
from adapt.train import checkpoint
from adapt.train.parts import set_trained
from adapt.train.recipe import make_recipe
from adapt.verbs import finetune

FAST = ("train.samples_per_step=6", "train.max_branches=2", "data.workers=0", "train.tensorboard=no", "train.precision=float32")
LORA = ("train.stage=lora", "train.lora_rank=4", "train.learning_rate=3e-3")


def run(made: dict[str, Path], output: Path, *settings: str, **changes: Any) -> dict[str, Any]:
    given = {"model": "nano", "data": [made["field"]]}
    return finetune(**(given | changes), output=output, set=(*FAST, "train.max_steps=4", *settings))


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.slow
def test_lora_is_what_peft_makes_of_the_adapter(data: dict[str, Path], tmp_path: Path) -> None:
    """RUN/adapter, loaded by peft onto the base in transformers, merges into RUN/model; nothing outside the language model's
    matrices moves, the vision tower's layers of the same names least of all."""
    run(data, tmp_path / "base")
    done = run(data, tmp_path / "run", *LORA, model=tmp_path / "base")
    base = InternVLForConditionalGeneration.from_pretrained(tmp_path / "base" / "model", dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, str(tmp_path / "run" / "adapter"))
    on = {name for name, _ in adapted.named_parameters() if "lora_" in name}
    assert on and all(".language_model." in name for name in on)
    merged = adapted.merge_and_unload().state_dict()
    tuned = InternVLForConditionalGeneration.from_pretrained(tmp_path / "run" / "model", dtype=torch.float32).state_dict()
    for name, tensor in tuned.items():
        torch.testing.assert_close(merged[name], tensor, rtol=0, atol=1e-6)
    moved = changed(weights(tmp_path / "base"), weights(tmp_path / "run"))
    assert len(moved) == len(on) // 2 and all("language_model.layers" in name or "model.layers" in name for name in moved)
    assert done["trained_parameters"] == sum(tensor.numel() for tensor in load_file(
        tmp_path / "run" / "adapter" / "adapter_model.safetensors").values())  # fmt: skip
    kept = sum(tensor.nbytes for tensor in weights(tmp_path / "base").values())
    moments = load_file(checkpoint.checkpoint_path(tmp_path / "run" / "checkpoints", 4) / "optimizer.safetensors")
    moving = 2 * sum(tensor.nbytes for tensor in moments.values())  # weights, gradients and both moments
    assert sum(done["memory_bytes"][name] for name in ("weights", "gradients", "moments")) == kept + moving


@pytest.mark.slow
def test_lora_resumes_bit_for_bit(data: dict[str, Path], tmp_path: Path) -> None:
    """A run that goes on from its checkpoint of step 2, which holds the adapters alone, ends as the run that did not stop."""
    run(data, tmp_path / "base")
    settings = (*LORA, "train.save_every=2", "train.keep=5")
    run(data, tmp_path / "whole", *settings, model=tmp_path / "base")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "model")
    shutil.rmtree(checkpoint.checkpoint_path(tmp_path / "cut" / "checkpoints", 4))
    stored = load_file(checkpoint.checkpoint_path(tmp_path / "cut" / "checkpoints", 2) / "model.safetensors")
    assert all(".lora_" in name for name in stored)
    run(data, tmp_path / "cut", *settings, model=tmp_path / "base", resume=True)
    assert not changed(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    adapters = [load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("whole", "cut")]
    assert not changed(*adapters)


@pytest.mark.slow
def test_a_frozen_part_stays_and_costs_nothing(data: dict[str, Path], tmp_path: Path) -> None:
    """train.freeze=vision leaves the vision tower as it was, to the last bit, and keeps neither gradients nor activations."""
    run(data, tmp_path / "base")
    run(data, tmp_path / "run", "train.stage=tune", "train.freeze=vision", model=tmp_path / "base")
    before, after = weights(tmp_path / "base"), weights(tmp_path / "run")
    moved = changed(before, after)
    assert moved and not any("vision_tower" in name for name in moved)
    assert any("multi_modal_projector" in name for name in moved) and any("language_model" in name for name in moved)
    moments = load_file(checkpoint.checkpoint_path(tmp_path / "run" / "checkpoints", 4) / "optimizer.safetensors")
    assert not any("vision_tower" in name for name in moments)
    model = InternVL(PRESETS["nano"])
    set_trained(model, make_recipe({"train.freeze": "vision"}).train)
    tiles = torch.zeros(1, 3, PRESETS["nano"].tile_px, PRESETS["nano"].tile_px, dtype=torch.uint8)
    assert not model.vision(tiles.float()).requires_grad, "nothing of the tower is kept for a backward pass"
    model.picture_features(tiles).sum().backward()
    assert all(parameter.grad is None for parameter in model.vision.parameters())
    assert all(parameter.grad is not None for parameter in model.connector.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train.freeze": "visoin"}, "unknown part 'visoin': did you mean 'vision'?"),
        ({"train.freeze": "vision, connector,language"}, "trains nothing; freeze fewer parts"),
        ({"train.stage": "align", "train.freeze": "connector"}, "train.stage=align with train.freeze=connector trains nothing"),
        ({"train.stage": "lora", "train.freeze": "language"}, "does not train language; take it out of train.freeze"),
        ({"train.stage": "align", "train.freeze": "vision"}, "does not train vision; take it out of train.freeze"),
        ({"train.freeze": "vision", "train.vision_learning_rate": 1e-4}, "vision does not train; leave it out"),
        ({"train.lora_rank": 8}, "are of train.stage=lora; the stage is all"),
        ({"train.stage": "lora", "train.lora_rank": 0}, "train.lora_rank=0: expected at least 1"),
    ],
)
def test_a_stage_that_trains_nothing_is_refused(settings: dict[str, Any], message: str) -> None:
    """Wrong parts, and mixes that leave nothing to train, are named."""
    with pytest.raises(UsageError) as caught:
        make_recipe(settings)
    assert message in str(caught.value)


def test_adapters_need_a_model_that_knows_something(data: dict[str, Path], tmp_path: Path) -> None:
    """LoRA on a preset's random weights, which are stored nowhere, is wrong usage."""
    with pytest.raises(UsageError, match="adapters beside random weights learn nothing"):
        run(data, tmp_path / "run", *LORA)


def test_a_rank_beyond_the_matrices_is_wrong_usage(data: dict[str, Path], tmp_path: Path) -> None:
    """A rank larger than a matrix has no meaning; nothing is written."""
    run(data, tmp_path / "base")
    with pytest.raises(UsageError, match="the smallest matrix has a side of"):
        run(data, tmp_path / "run", "train.stage=lora", "train.lora_rank=100000", model=tmp_path / "base")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_changed_shard_is_another_base(data: dict[str, Path], tmp_path: Path) -> None:
    """A resume notices that one of the base's several weight files was replaced: checkpoints of LoRA hold none of them."""
    run(data, tmp_path / "base")
    base = tmp_path / "base" / "model"
    tensors = load_file(base / "model.safetensors")
    half = len(tensors) // 2
    shards = {"a.safetensors": dict(list(tensors.items())[:half]), "b.safetensors": dict(list(tensors.items())[half:])}
    for name, part in shards.items():
        save_file(part, base / name)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    (base / "model.safetensors").unlink()
    run(data, tmp_path / "run", *LORA, model=base)
    shutil.rmtree(tmp_path / "run" / "model")
    save_file({name: tensor + 0.01 for name, tensor in shards["b.safetensors"].items()}, base / "b.safetensors")
    with pytest.raises(UsageError, match="the run started from the model"):
        run(data, tmp_path / "run", *LORA, model=base, resume=True)


@pytest.mark.slow
def test_a_run_cut_before_its_model_still_gets_its_adapter(data: dict[str, Path], tmp_path: Path) -> None:
    """RUN/model is written last: without it a resume writes the adapter again, from the last checkpoint."""
    run(data, tmp_path / "base")
    run(data, tmp_path / "run", *LORA, model=tmp_path / "base")
    model, adapter = tmp_path / "run" / "model", tmp_path / "run" / "adapter"
    assert model.stat().st_mtime_ns >= adapter.stat().st_mtime_ns
    before = load_file(adapter / "adapter_model.safetensors")
    shutil.rmtree(model)
    shutil.rmtree(adapter)
    run(data, tmp_path / "run", *LORA, model=tmp_path / "base", resume=True)
    assert not changed(before, load_file(adapter / "adapter_model.safetensors"))
