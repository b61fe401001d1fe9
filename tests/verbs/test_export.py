"""``adapt export``: official checkpoints into transformers and back, judged by transformers and the official outputs."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, InternVLForConditionalGeneration

import adapt
from adapt.data.tokenizer import train_tokenizer
from adapt.errors import DataError, UsageError
from adapt.model.config import ModelConfig, VisionConfig
from adapt.model.connector import pixel_shuffle
from adapt.model.folder import load_config, load_state
from adapt.model.internvl import InternVL
from adapt.model.loading import find_model, load_internvl
from adapt.model.parity import compare, made_prompts
from adapt.model.saving import save_model
from adapt.model.tokenizer_files import load_tokenizer
from adapt.records import ChatRecord, Turn, write_records
from adapt.verbs import export

LANGUAGE = {
    "vocab_size": 512,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 160,
    "max_position_embeddings": 2048,
}
FAMILIES = {
    "qwen2": {**LANGUAGE, "model_type": "qwen2"},
    "qwen3": {**LANGUAGE, "model_type": "qwen3", "head_dim": 24},
    "llama": {**LANGUAGE, "model_type": "llama"},
    "internlm2": {**LANGUAGE, "model_type": "llama", "rope_theta": 1e6, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "phi3": {
        **LANGUAGE,
        "model_type": "phi3",
        "num_key_value_heads": 4,
        "pad_token_id": 0,
        "original_max_position_embeddings": 256,
        "rope_scaling": {"type": "su", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8},
    },
}
VISION = VisionConfig(image_size_px=32, patch_size_px=8, hidden_size=48, num_layers=3, num_heads=4, mlp_size=100)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["Which class is it? A river, a harbour or a runway."] * 50, 400)


def config_of(family: str, **changes) -> ModelConfig:
    config = ModelConfig(VISION, FAMILIES[family], internlm2=family == "internlm2", image_token_id=5, max_tiles=6)
    return dataclasses.replace(config, **changes)


def write(folder: Path, config: ModelConfig, tokenizer) -> dict[str, torch.Tensor]:
    """A transformers folder with random weights; returns them."""
    torch.manual_seed(0)
    state = {name: tensor + 0.05 * torch.randn_like(tensor) for name, tensor in InternVL(config).state_dict().items()}
    save_model(folder, config, state, tokenizer, dtype=torch.float32, provenance={})
    return state


@pytest.mark.parametrize("family", ["qwen2", "internlm2", "phi3"])
def test_golden_checkpoints_into_transformers_and_back(shared, tmp_path: Path, family: str) -> None:
    """transformers gives the official logits and loss within 1e-4; back in the official layout nothing changed."""
    golden = np.load(shared / "golden" / family / "golden.npz", allow_pickle=False)
    export(model=shared / "golden" / family, output=tmp_path / "hf", format="transformers", image_token_id=500)
    model, info = InternVLForConditionalGeneration.from_pretrained(
        tmp_path / "hf", attn_implementation="eager", output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ids, labels = (torch.from_numpy(golden[name]) for name in ("input_ids", "labels"))
    pixels = torch.from_numpy(golden["pixel_values"])
    with torch.no_grad():
        found = model(input_ids=ids, pixel_values=pixels, labels=labels, attention_mask=torch.ones_like(ids))
    torch.testing.assert_close(found.logits, torch.from_numpy(golden["logits"]), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.loss, torch.tensor(float(golden["loss"])), rtol=0, atol=1e-4)
    export(model=tmp_path / "hf", output=tmp_path / "back", format="internvl")
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "back", shared / "golden" / family))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)
    config, official = (
        json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "back", shared / "golden" / family)
    )
    same = (
        "template",
        "ps_version",
        "select_layer",
        "downsample_ratio",
        "force_image_size",
        "max_dynamic_patch",
        "hidden_size",
    )
    assert [config[name] for name in same] == [official[name] for name in same]
    assert config["llm_config"]["architectures"] == official["llm_config"]["architectures"] and "auto_map" not in config
    assert official.keys() - config.keys() <= {"_commit_hash", "transformers_version"}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_through_every_layout(tmp_path: Path, tokenizer, family: str) -> None:
    """ours -> official -> ours is bit-identical for each language model, the numbers of its configuration too."""
    state = write(tmp_path / "a", config_of(family), tokenizer)
    found = export(model=tmp_path / "a", output=tmp_path / "b", format="internvl", verify=True)
    assert found["verified"] == {"tensors": "bit-identical"}
    found = export(model=tmp_path / "b", output=tmp_path / "c", format="transformers", verify=True)
    assert found["verified"]["largest_logit_difference"] < 1e-4 and found["verified"]["same_greedy_text"] == "4 of 4"
    again = load_state(tmp_path / "c")
    assert again.keys() == state.keys() and all(torch.equal(again[name], state[name]) for name in state)
    one, other = (json.loads((tmp_path / name / "config.json").read_text())["text_config"] for name in "ac")
    assert one == other
    assert load_tokenizer(tmp_path / "c")("Which river?")["input_ids"] == tokenizer("Which river?")["input_ids"]


def made_pictures(folder: Path) -> list[Path]:
    random = np.random.default_rng(0)
    paths = []
    for number, (width, height) in enumerate([(70, 30), (64, 64), (40, 90)]):
        paths.append(folder / f"{number}.png")
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def test_the_card_asks_with_exact_pixels(tmp_path: Path, tokenizer) -> None:
    """The code of RUN/model's README.md, run as it stands, answers as ``adapt`` does: one picture, three, and frames."""
    write(tmp_path / "m", config_of("qwen2"), tokenizer)
    paths = made_pictures(tmp_path)
    code = (tmp_path / "m" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    space: dict[str, Any] = {}
    exec(code.replace('folder = "."', f"folder = {str(tmp_path / 'm')!r}").rpartition("print(")[0], space)  # noqa: S102
    answerer = adapt.load(tmp_path / "m")
    for shown in (paths[:1], paths):
        theirs = space["ask"]([str(path) for path in shown], "Which class is it?", max_new_tokens=8)
        assert theirs == answerer.answer(shown, "Which class is it?", max_new_tokens=8)
    theirs = space["ask"]([str(path) for path in paths], "Which class is it?", frames=True, max_new_tokens=8)
    assert theirs == answerer.answer_video(paths, "Which class is it?", max_new_tokens=8)


def test_the_card_of_an_exported_run_still_says_what_it_was_tuned_on(tmp_path: Path, tokenizer) -> None:
    """Base, data and steps go along with an export, and no path of this machine does."""
    config = config_of("qwen2")
    provenance = {"base": {"folder": str(tmp_path / "InternVL2-1B")}, "data": ["aid.jsonl"], "step": 7, "domain": "driving"}
    save_model(tmp_path / "m", config, InternVL(config).state_dict(), tokenizer, dtype=None, provenance=provenance)
    export(model=tmp_path / "m", output=tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Tuned with adapt from `InternVL2-1B` on aid.jsonl, 7 steps." in card and str(tmp_path) not in card


def test_verify_tells_another_model(tmp_path: Path, tokenizer) -> None:
    """One matrix of one layer turned around is another model, and is said to be."""
    config = config_of("qwen2")
    state = write(tmp_path / "m", config, tokenizer)
    name = "language.model.layers.1.mlp.down_proj.weight"
    other = state | {name: state[name].flip(0)}
    save_model(tmp_path / "other", config, other, tokenizer, dtype=None, provenance={})
    with pytest.raises(DataError, match="is not the model it was made from"):
        compare(
            find_model(tmp_path / "m"), load_config(tmp_path / "m"), tmp_path / "other", "transformers", made_prompts(config)
        )


def test_a_tokenizer_of_transformers_4_can_be_named(tmp_path: Path, tokenizer) -> None:
    """Both layouts call the tokenizer by a class that transformers 4 has too, and transformers 5 reads the same ids by it."""
    write(tmp_path / "m", config_of("qwen2"), tokenizer)
    export(model=tmp_path / "m", format="internvl", output=tmp_path / "official")
    text = "Which <ref>river</ref>?<|im_end|>"
    for folder in (tmp_path / "m", tmp_path / "official"):
        assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
        assert AutoTokenizer.from_pretrained(folder)(text).input_ids == tokenizer(text).input_ids


def test_a_video_token_beyond_the_rows_gets_one(tmp_path: Path, tokenizer) -> None:
    """transformers' own conversions have a <video> token without a row (InternVL3-2B-hf): such a folder loads and exports."""
    state = write(tmp_path / "m", config_of("qwen2"), tokenizer)
    rows = len(tokenizer)
    image_token_id = tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    config = config_of("qwen2", language={**FAMILIES["qwen2"], "vocab_size": rows}, image_token_id=image_token_id)
    cut = {name: tensor[:rows] if tensor.shape[:1] == (512,) else tensor for name, tensor in state.items()}
    save_model(tmp_path / "small", config, cut, tokenizer, dtype=None, provenance={})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        place = tmp_path / "small" / name
        place.write_text(place.read_text().replace('"<video>"', '"<unused>"'))
    stored = json.loads((tmp_path / "small" / "tokenizer.json").read_text())
    stored["added_tokens"].append(stored["added_tokens"][-1] | {"id": rows, "content": "<video>"})
    (tmp_path / "small" / "tokenizer.json").write_text(json.dumps(stored))
    done = export(model=tmp_path / "small", output=tmp_path / "out", verify=True)
    assert done["verified"]["same_greedy_text"] == "4 of 4"
    written = load_file(tmp_path / "out" / "model.safetensors")["language_model.model.embed_tokens.weight"]
    assert len(written) == rows + 1


def test_verify_with_records(tmp_path: Path, tokenizer) -> None:
    """--data asks about the user's own pictures, and names the records whose pictures transformers cuts otherwise."""
    write(tmp_path / "m", config_of("qwen2"), tokenizer)
    names = [path.name for path in made_pictures(tmp_path)]
    Image.new("RGB", (40, 40)).save(tmp_path / "small.png")
    answer = Turn("gpt", "a river")
    rows = [
        ChatRecord("one", (Turn("human", "<image>\nWhich?"), answer), (names[0],)),
        ChatRecord("small", (Turn("human", "<image>\n<image>\nWhich?"), answer), ("small.png", "small.png")),
        ChatRecord("three", (Turn("human", "<image>\n<image>\n<image>\nWhich?"), answer), tuple(names)),
        ChatRecord("frames", (Turn("human", "Frame-1: <image>\nWhich?"), answer), (names[0],), max_tiles=1),
        ChatRecord("text", (Turn("human", "Which?"), answer)),
    ]
    write_records(tmp_path / "rows.jsonl", rows)
    done = export(model=tmp_path / "m", output=tmp_path / "out", verify=True, data=tmp_path / "rows.jsonl")["verified"]
    assert done["same_greedy_text"] == "4 of 4" and done["largest_logit_difference"] < 1e-4
    assert done["cut_otherwise_by_transformers"] == {"records": 2, "ids": ["three", "frames"]}
    assert 0 < done["processor_grey_levels"] <= 16, "torchvision's filter is not Pillow's; noise shows it most"
    with pytest.raises(UsageError, match="add --verify"):
        export(model=tmp_path / "m", output=tmp_path / "other", data=tmp_path / "rows.jsonl")
    write_records(tmp_path / "text.jsonl", rows[-1:])
    with pytest.raises(DataError, match="none of the records has a picture"):
        export(model=tmp_path / "m", output=tmp_path / "other", verify=True, data=tmp_path / "text.jsonl")
    assert not (tmp_path / "other").exists()


def test_in_memory_names(tmp_path: Path, tokenizer) -> None:
    """The names of a transformers model in memory are read as those on disk, with and without the leading ``model.``."""
    state = write(tmp_path / "a", config_of("qwen2"), tokenizer)
    model = InternVLForConditionalGeneration.from_pretrained(tmp_path / "a")
    names = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    for variant in (lambda name: name, lambda name: name.removeprefix("model.")):
        save_file({variant(name): tensor for name, tensor in names.items()}, tmp_path / "a" / "model.safetensors")
        again = load_state(tmp_path / "a")
        assert again.keys() == state.keys() and all(torch.equal(again[name], state[name]) for name in state)
    doubled = names | {"vision_tower.embeddings.cls_token": names["model.vision_tower.embeddings.cls_token"].clone()}
    save_file(doubled, tmp_path / "a" / "model.safetensors")
    with pytest.raises(DataError, match=r"there twice; doubled \(1\): vision_tower.embeddings.cls_token"):
        load_state(tmp_path / "a")


def test_a_tied_head_is_its_embeddings(tmp_path: Path, tokenizer) -> None:
    """A transformers folder that ties its head stores none; ours is the embeddings, and untied when written."""
    state = write(tmp_path / "a", config_of("qwen2"), tokenizer)
    tensors = load_file(tmp_path / "a" / "model.safetensors")
    del tensors["language_model.lm_head.weight"]
    save_file(tensors, tmp_path / "a" / "model.safetensors")
    with pytest.raises(DataError, match=r"missing \(1\): language_model.lm_head.weight"):
        load_state(tmp_path / "a")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    (tmp_path / "a" / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    assert torch.equal(load_state(tmp_path / "a")["language.lm_head.weight"], state["language.model.embed_tokens.weight"])


def test_an_index_that_points_to_the_wrong_file(tmp_path: Path, tokenizer) -> None:
    """An index whose tensors are in other files than it says is refused with their names."""
    write(tmp_path / "a", config_of("qwen2"), tokenizer)
    tensors = load_file(tmp_path / "a" / "model.safetensors")
    names = sorted(tensors)
    save_file({name: tensors[name] for name in names[:10]}, tmp_path / "a" / "one.safetensors")
    save_file({name: tensors[name] for name in names[10:]}, tmp_path / "a" / "two.safetensors")
    (tmp_path / "a" / "model.safetensors").unlink()
    places = {name: "one.safetensors" if place < 10 else "two.safetensors" for place, name in enumerate(names)}
    shuffled = places | {names[3]: "two.safetensors", names[12]: "one.safetensors"}
    index = tmp_path / "a" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shuffled}))
    with pytest.raises(DataError, match=r"wrong \(2\)") as caught:
        load_state(tmp_path / "a")
    assert names[3] in str(caught.value) and names[12] in str(caught.value)
    index.write_text(json.dumps({"weight_map": places | {names[0]: "weights.bin"}}))
    with pytest.raises(DataError, match="names weights.bin; only safetensors"):
        load_state(tmp_path / "a")


def test_another_feature_layer(tmp_path: Path, tokenizer) -> None:
    """select_layer -2 gives transformers' logits with vision_feature_layer -2; the last block is stored all the same."""
    config = config_of("qwen2", vision=dataclasses.replace(VISION, feature_layer=-2))
    write(tmp_path / "a", config, tokenizer)
    assert json.loads((tmp_path / "a" / "config.json").read_text())["vision_feature_layer"] == -2
    export(model=tmp_path / "a", output=tmp_path / "b", format="internvl")
    assert json.loads((tmp_path / "b" / "config.json").read_text())["select_layer"] == -2
    assert export(model=tmp_path / "b", output=tmp_path / "c", verify=True)["verified"]["same_greedy_text"] == "4 of 4"


def test_v1_pixel_shuffle_is_v2_with_the_grid_transposed(tmp_path: Path, tokenizer) -> None:
    """v1 has v2's tokens column by column, by the official permutes; transformers cannot hold it, the official layout can."""
    features = torch.randn(2, 64, 5)
    v2 = pixel_shuffle(features, 2).reshape(2, 4, 4, 20)
    assert torch.equal(pixel_shuffle(features, 2, "v1").reshape(2, 4, 4, 20), v2.transpose(1, 2))
    # the official code, written out: view (n, w, h/2, 2c), permute, view (n, h/2, w/2, 4c), and for v2 one more permute
    grid = features.reshape(2, 8, 8, 5).reshape(2, 8, 4, 10).permute(0, 2, 1, 3).reshape(2, 4, 4, 20)
    assert torch.equal(pixel_shuffle(features, 2, "v1"), grid.reshape(2, 16, 20))
    assert torch.equal(pixel_shuffle(features, 2), grid.permute(0, 2, 1, 3).reshape(2, 16, 20))
    config = config_of("qwen2", ps_version="v1")
    state = {name: tensor.clone() for name, tensor in InternVL(config).state_dict().items()}
    with pytest.raises(DataError, match="ps_version 'v1'"):
        save_model(tmp_path / "a", config, state, tokenizer, dtype=None, provenance={})
    assert not (tmp_path / "a").exists()
    save_model(tmp_path / "b", config, state, tokenizer, dtype=None, provenance={}, layout="internvl")
    assert load_config(tmp_path / "b").ps_version == "v1"


def test_new_tokens_get_rows(tmp_path: Path, tokenizer) -> None:
    """A checkpoint whose tokenizer lacks picture tokens grows: output rows are the mean of the old ones, old rows unchanged."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    boxes = {"<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"}
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in boxes]
    for name in boxes:  # their pieces go by other names, so the ids of the others stay
        state["model"]["vocab"][f"unused {name}"] = state["model"]["vocab"].pop(name)
    poorer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token="<|im_end|>")
    config = config_of("qwen2", language={**FAMILIES["qwen2"], "vocab_size": len(poorer)})
    old = write(tmp_path / "a", config, tokenizer)
    poorer.save_pretrained(tmp_path / "a")
    export(model=tmp_path / "a", output=tmp_path / "b", format="transformers", verify=True)
    new, grown = load_state(tmp_path / "b"), load_config(tmp_path / "b")
    head, rows = "language.lm_head.weight", "language.model.embed_tokens.weight"
    assert grown.language["vocab_size"] == len(poorer) + 6 == len(load_tokenizer(tmp_path / "b"))
    assert torch.equal(new[head][:-6], old[head]) and torch.equal(new[rows][:-6], old[rows])
    torch.testing.assert_close(new[head][-6:], old[head].mean(0).expand(6, -1))


def test_refusals(shared, tmp_path: Path, tokenizer) -> None:
    """No picture token, a wrong one, a preset, an output that is there, an unknown format: one line each, nothing written."""
    golden = shared / "golden" / "qwen2"
    for given, message in (
        ({"model": golden}, "give --image-token-id N"),
        ({"model": golden, "image_token_id": 512}, "the vocabulary has 512 rows"),
        ({"model": "nano"}, "preset with random weights"),
        ({"model": golden, "image_token_id": 500, "format": "transformer"}, "did you mean 'transformers'"),
    ):
        with pytest.raises(UsageError, match=message):
            export(output=tmp_path / "out", **given)
        assert not (tmp_path / "out").exists()
    write(tmp_path / "a", config_of("qwen2"), tokenizer)
    with pytest.raises(UsageError, match="not an empty folder"):
        export(model=golden, image_token_id=500, output=tmp_path / "a")
    with pytest.raises(UsageError, match="the tokenizer says 5"):
        export(model=tmp_path / "a", image_token_id=7, output=tmp_path / "b")


@pytest.mark.parametrize("family", ["internlm2", "phi3", "qwen3"])
def test_wrong_tensors_of_an_official_folder_are_named(tmp_path: Path, tokenizer, family: str) -> None:
    """Missing, extra and misshapen tensors of the official layout are one error that lists each by its name there."""
    write(tmp_path / "m", config_of(family), tokenizer)
    export(model=tmp_path / "m", format="internvl", output=tmp_path / "official")
    place = tmp_path / "official" / "model.safetensors"
    tensors = load_file(place)
    gone, cut = "vision_model.encoder.layers.0.attn.qkv.weight", "mlp1.1.weight"
    del tensors[gone]
    tensors |= {cut: tensors[cut][:, 1:].contiguous(), "surprise": torch.zeros(1)}
    save_file(tensors, place)
    with pytest.raises(DataError) as caught:
        export(model=tmp_path / "official", output=tmp_path / "out")
    for named in (f"missing (1): {gone}", "extra (1): surprise", f"misshapen (1): {cut} "):
        assert named in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("text_config", {"hidden_size": -4}),
        ("text_config", {"hidden_size": "abc"}),
        ("text_config", {"num_hidden_layers": 10**9}),
        ("text_config", {"num_attention_heads": 0}),
        ("text_config", {"rope_parameters": {"rope_type": "yarn", "factor": "x"}}),
        ("vision_config", {"patch_size": [0, 0]}),
        ("vision_config", {"num_attention_heads": 0}),
    ],
)
def test_a_config_that_makes_no_model_is_named(tmp_path: Path, tokenizer, part: str, values: dict[str, Any]) -> None:
    """Impossible numbers are a fault of the file, said in one line that names it."""
    write(tmp_path / "m", config_of("qwen2"), tokenizer)
    stored = json.loads((tmp_path / "m" / "config.json").read_text())
    stored[part] |= values
    (tmp_path / "m" / "config.json").write_text(json.dumps(stored))
    with pytest.raises(DataError, match="config.json"):
        find_model(tmp_path / "m")


def test_weights_that_are_not_numbers_are_named(tmp_path: Path, tokenizer) -> None:
    """--verify on a model with NaN says that, and not that the export was wrong."""
    config = config_of("qwen2")
    state = write(tmp_path / "m", config, tokenizer)
    state["language.model.norm.weight"] = torch.full_like(state["language.model.norm.weight"], float("nan"))
    save_model(tmp_path / "nan", config, state, tokenizer, dtype=None, provenance={})
    with pytest.raises(DataError, match="its logits are not numbers"):
        export(model=tmp_path / "nan", output=tmp_path / "out", verify=True)


def test_a_pickle_beside_good_weights_is_not_opened(tmp_path: Path, tokenizer) -> None:
    """Published folders have both: the safetensors are read and the other one is left alone."""
    write(tmp_path / "m", config_of("qwen2"), tokenizer)
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    export(model=tmp_path / "m", output=tmp_path / "out")
    assert {path.suffix for path in (tmp_path / "out").iterdir()}.isdisjoint({".bin", ".py"})


def test_a_hub_id_is_resolved_to_its_commit(tmp_path: Path, tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the hub's own cache, without a network: the files are found by revision, and the commit is recorded."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "models--owner--small"
    write(cached / "snapshots" / commit, config_of("qwen2"), tokenizer)
    (cached / "refs").mkdir()
    (cached / "refs" / "v1").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    export(model="owner/small@v1", output=tmp_path / "out")
    provenance = json.loads((tmp_path / "out" / "adapt.json").read_text())["provenance"]["exported_from"]
    assert (provenance["hub"], provenance["commit"]) == ("owner/small", commit)


def test_hostile_folders(shared, tmp_path: Path, tokenizer) -> None:
    """Code, pickles and tricks in a model folder run nothing; what cannot be read as data is refused by its file's name."""
    marker = tmp_path / "ran"
    evil = f"open({str(marker)!r}, 'w').write('ran')\nclass Evil: pass\n"
    trick = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    write(tmp_path / "good", config_of("qwen2"), tokenizer)

    def planted(name: str, change) -> Path:
        shutil.copytree(tmp_path / "good", tmp_path / name)
        change(tmp_path / name)
        return tmp_path / name

    def edit(path: Path, **changes) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def code(folder: Path) -> None:
        (folder / "evil.py").write_text(evil)
        edit(folder / "config.json", auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}, model_type="evil")

    def pickled(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    def index(folder: Path) -> None:
        names = load_file(folder / "model.safetensors")
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": dict.fromkeys(names, "../x.safetensors")})
        )

    for name, change, message in (
        ("code", code, "code/config.json: model_type is 'evil'"),
        ("pickled", pickled, "pytorch_model.bin, which may run code"),
        ("index", index, "model.safetensors.index.json.*leaves"),
        ("jinja", lambda folder: (folder / "chat_template.jinja").write_text(trick), "chat_template.jinja: .*refused"),
        (
            "inline",
            lambda folder: edit(folder / "tokenizer_config.json", chat_template=trick),
            "tokenizer_config.json: .*refused",
        ),
    ):
        folder = planted(name, change)
        with pytest.raises(DataError, match=message):
            export(model=folder, output=tmp_path / f"{name}-out")
        assert not marker.exists() and not (tmp_path / f"{name}-out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loading_needs_hardly_more_than_the_weights(tmp_path: Path, tokenizer, dtype: str) -> None:
    """Loading peaks below 1.3 times the size of the stored weights, as the kernel counts a process's resident pages."""
    larger = {"vocab_size": 8_000, "hidden_size": 256, "num_hidden_layers": 24, "intermediate_size": 1024}
    config = config_of("qwen2", language={**FAMILIES["qwen2"], **larger})
    state = {name: torch.randn(tensor.shape) for name, tensor in InternVL(config).state_dict().items()}
    save_model(tmp_path / "a", config, state, tokenizer, dtype=getattr(torch, dtype), provenance={})
    size = (tmp_path / "a" / "model.safetensors").stat().st_size
    measure = (
        "import sys, torch, adapt.model.loading as l\n"
        "def pages(name): return 1024 * int(next(r for r in open('/proc/self/status') if r.startswith(name)).split()[1])\n"
        "found = l.find_model(sys.argv[1])\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"
        "before, dtype = pages('VmRSS:'), getattr(torch, sys.argv[2])\n"
        "model = l.load_internvl(found, dtype=dtype); print(pages('VmHWM:') - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", measure, str(tmp_path / "a"), dtype], capture_output=True, text=True, check=True
    )
    assert size * 0.9 < int(done.stdout) < 1.3 * size, f"{int(done.stdout) / size:.2f} times"


def test_our_own_model_is_the_official_one(shared) -> None:
    """Our class, loaded by stream from an official folder, gives the golden connector features and loss."""
    for family in ("qwen2", "internlm2", "phi3"):
        golden = np.load(shared / "golden" / family / "golden.npz", allow_pickle=False)
        found = find_model(shared / "golden" / family)
        model = load_internvl(found).eval()
        with torch.no_grad():
            features = model.connector(model.vision(torch.from_numpy(golden["pixel_values"])))
            embedded = model.language.get_input_embeddings()(torch.from_numpy(golden["input_ids"]))
            embedded[torch.from_numpy(golden["input_ids"]) == 500] = features.flatten(0, 1)
            logits = model.language(inputs_embeds=embedded).logits
        torch.testing.assert_close(features, torch.from_numpy(golden["connector_features"]), rtol=0, atol=1e-4)
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), torch.from_numpy(golden["labels"])[:, 1:].flatten()
        )
        assert abs(loss.item() - float(golden["loss"])) < 1e-4
