"""Models on disk: names and values to the last bit, transformers loading our folders, official folders read, damage refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor

from adapt.data import template as templates
from adapt.data.tiling import IMAGENET_MEAN, IMAGENET_STD, count_tiles, tile
from adapt.errors import DataError
from adapt.model.folder import load_config, load_state
from adapt.model.internvl import InternVL
from adapt.model.language import language_config
from adapt.model.layouts import from_disk, official_layout, to_disk
from adapt.model.saving import save_model
from adapt.model.tokenizer_files import load_tokenizer

TEMPLATE = templates.TEMPLATES["internvl2_5"]


def random_parts(config):
    torch.manual_seed(0)
    parts = InternVL(config)
    for parameter in parts.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.15)
    return parts.eval()


@pytest.fixture
def saved(tmp_path: Path, tiny_config, tiny_tokenizer):
    parts = random_parts(tiny_config)
    folder = tmp_path / "model"
    save_model(folder, tiny_config, parts.state_dict(), tiny_tokenizer, dtype=torch.float32, provenance={"base": "nothing"})
    return folder, tiny_config, parts


def ask(parts, config, input_ids, pixels):
    """Logits of our three parts, put together here by hand."""
    embedded = parts.language.get_input_embeddings()(input_ids)
    features = parts.connector(parts.vision(pixels)).flatten(0, 1)
    embedded[input_ids == config.image_token_id] = features
    return parts.language(inputs_embeds=embedded).logits


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (height // 7 + 1, width // 7 + 1, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def test_names_round_trip(tiny_config) -> None:
    """Names and values go to disk and back bit for bit, also for moments of the trained parts only."""
    state = random_parts(tiny_config).state_dict()
    back = from_disk(to_disk(state))
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)
    moments = {name: tensor.square() for name, tensor in state.items() if not name.startswith("vision.")}
    assert from_disk(to_disk(moments)).keys() == moments.keys()


def test_unknown_and_missing_names() -> None:
    """One error lists the names that no rule knows and the thirds that are missing."""
    lonely = "vision_tower.encoder.layer.3.attention.q_proj.bias"
    with pytest.raises(DataError, match=r"unknown \(1\): surprise; missing \(2\): .*layer.3.attention.k_proj.bias"):
        from_disk({lonely: torch.zeros(3), "surprise": torch.zeros(1)})


def test_transformers_loads_the_folder_and_agrees(saved) -> None:
    """AutoModelForImageTextToText loads the folder with no key missing or left over, and its logits equal ours within 1e-4."""
    folder, config, parts = saved
    model, info = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    input_ids = torch.randint(20, 400, (2, 60))
    input_ids[0, 5 : 5 + 3 * config.tokens_per_tile] = config.image_token_id
    input_ids[1, 9 : 9 + config.tokens_per_tile] = config.image_token_id
    pixels = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        theirs = model(input_ids=input_ids, pixel_values=pixels).logits
        ours = ask(parts, config, input_ids, pixels)
    assert ours.std() > 0.5  # large enough for 1e-4 to mean something
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert not model.config.tie_word_embeddings and model.lm_head.weight is not model.get_input_embeddings().weight


def test_folder_comes_back(saved, tiny_tokenizer) -> None:
    """load_config, load_state and load_tokenizer give back what was saved, bit for bit."""
    folder, config, parts = saved
    loaded = load_config(folder)
    assert language_config(loaded.language).to_dict() == language_config(config.language).to_dict()
    assert {**vars(loaded), "language": None} == {**vars(config), "language": None}
    state = load_state(folder)
    assert state.keys() == parts.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in parts.state_dict().items())
    InternVL(loaded).load_state_dict(state, strict=True)
    text = "Which class?\n\n<box>日本 <|im_end|> 12,5"
    assert load_tokenizer(folder)(text)["input_ids"] == tiny_tokenizer(text)["input_ids"]
    assert json.loads((folder / "adapt.json").read_text())["provenance"] == {"base": "nothing"}


def test_weights_in_the_compute_type(tmp_path: Path, tiny_config, tiny_tokenizer) -> None:
    """A model saved in bfloat16 is a cast of the state, and says so in config.json."""
    state = random_parts(tiny_config).state_dict()
    save_model(tmp_path / "m", tiny_config, state, tiny_tokenizer, dtype=torch.bfloat16, provenance={})
    loaded = load_state(tmp_path / "m")
    assert all(torch.equal(loaded[name], tensor.bfloat16()) for name, tensor in state.items())
    assert json.loads((tmp_path / "m" / "config.json").read_text())["dtype"] == "bfloat16"


def test_generation_ends_where_training_did(saved) -> None:
    """transformers' generate stops at the template's end token without being told."""
    folder, config, _ = saved
    model = AutoModelForImageTextToText.from_pretrained(folder)
    end = load_tokenizer(folder).convert_tokens_to_ids("<|im_end|>")
    assert model.generation_config.eos_token_id == [end]
    model.lm_head.weight.data.zero_()  # every token is as likely: greedy takes id 0, unless a bias says otherwise
    model.lm_head.register_forward_hook(lambda module, args, output: output.index_fill(-1, torch.tensor([end]), 9.0))
    assert model.generate(input_ids=torch.tensor([[20, 21, 22]]), max_new_tokens=8).tolist() == [[20, 21, 22, end]]


@pytest.mark.parametrize("tiny_config", ["qwen2"], indirect=True)
def test_processor_sees_what_training_saw(saved) -> None:
    """AutoProcessor and its chat template give the tokens and the pixels of training: several pictures, several turns."""
    folder, config, _ = saved
    processor = AutoProcessor.from_pretrained(folder)
    drifting = processor.image_processor  # on torch tensors, whose bicubic filter is not Pillow's
    processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    pictures = [picture(100, 75), picture(31, 90, seed=1)]
    tokens = [config.tokens_per_tile * count_tiles(*p.size, config.max_tiles, config.tile_px) for p in pictures]
    conversations = [
        {"from": "human", "value": "<image>\n<image>\nWhich of the two shows a <ref>river</ref>?"},
        {"from": "gpt", "value": "The first: <ref>river</ref><box>[[1, 20, 300, 999]]</box>"},
        {"from": "human", "value": "Warum? 为什么？"},
        {"from": "gpt", "value": "It is blue."},
    ]
    expected, _ = templates.encode(conversations, TEMPLATE, load_tokenizer(folder), tokens)
    as_parts = [
        {
            "role": "user",
            "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": conversations[0]["value"][16:]}],
        },
        {"role": "assistant", "content": [{"type": "text", "text": conversations[1]["value"]}]},
        {"role": "user", "content": [{"type": "text", "text": conversations[2]["value"]}]},
        {"role": "assistant", "content": [{"type": "text", "text": conversations[3]["value"]}]},
    ]
    roles = {"human": "user", "gpt": "assistant"}
    as_text = [{"role": roles[turn["from"]], "content": turn["value"]} for turn in conversations]
    for messages in (as_parts, as_text):
        text = processor.apply_chat_template(messages, tokenize=False)
        inputs = processor(images=pictures, text=text, return_tensors="pt")
        assert inputs["input_ids"][0].tolist() == expected
    tiles = np.concatenate([tile(p, config.max_tiles, config.tile_px) for p in pictures])
    ours = (tiles / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(inputs["pixel_values"].numpy(), ours.transpose(0, 3, 1, 2), rtol=0, atol=1e-5)
    close = drifting(pictures, return_tensors="pt")["pixel_values"].numpy()
    assert np.abs(close - ours.transpose(0, 3, 1, 2)).mean() < 0.1 / 255 / min(IMAGENET_STD)  # a tenth of a grey level


@pytest.mark.parametrize("tiny_config", ["qwen2"], indirect=True)
def test_one_call_with_pictures_in_the_messages(saved) -> None:
    """processor.apply_chat_template with the pictures inside the messages gives what the model takes, and it answers."""
    folder, config, _ = saved
    processor, model = AutoProcessor.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder)
    shown = picture(64, 40)
    messages = [{"role": "user", "content": [{"type": "image", "image": shown}, {"type": "text", "text": "Which class?"}]}]
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    turns = [templates.Turn("human", "<image>\nWhich class?")]
    prompt = templates.encode_prompt(turns, TEMPLATE, load_tokenizer(folder))
    ids = inputs["input_ids"][0].tolist()
    num_tiles = count_tiles(*shown.size, config.max_tiles, config.tile_px)
    assert ids.count(config.image_token_id) == config.tokens_per_tile * num_tiles
    first = ids.index(config.image_token_id)
    assert ids[: first + 1] + ids[first + config.tokens_per_tile * num_tiles :] == prompt.input_ids
    assert model.generate(**inputs, max_new_tokens=3).shape[1] > len(ids)


@pytest.mark.parametrize("family", ["qwen2", "internlm2", "phi3"])
def test_official_checkpoints(shared, family: str) -> None:
    """Folders of the official code give its features and logits within 1e-4, and their tensors go back as they were."""
    folder = shared / "golden" / family
    golden = np.load(folder / "golden.npz", allow_pickle=False)
    config = dataclasses.replace(load_config(folder), image_token_id=int(golden["image_token_id"]))
    state = load_state(folder)
    parts = InternVL(config).eval()
    parts.load_state_dict(state, strict=True)
    input_ids, pixels = torch.from_numpy(golden["input_ids"]), torch.from_numpy(golden["pixel_values"])
    with torch.no_grad():
        features = parts.connector(parts.vision(pixels))
        logits = ask(parts, config, input_ids, pixels)
    torch.testing.assert_close(features, torch.from_numpy(golden["connector_features"]), rtol=0, atol=1e-4)
    torch.testing.assert_close(logits, torch.from_numpy(golden["logits"]), rtol=0, atol=1e-4)
    stored = load_file(folder / "model.safetensors")
    back = to_disk(state, official_layout(config))
    assert back.keys() == stored.keys() and all(torch.equal(back[name], stored[name]) for name in stored)


def write_official_tokenizer(folder: Path, tokenizer) -> None:
    """The tokenizer's files as the official Qwen2-based folders have them: vocab.json, merges.txt, no named picture tokens."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    special = [token for token in backend["added_tokens"] if token["special"] and token["content"] != "<video>"]
    (folder / "vocab.json").write_text(json.dumps(backend["model"]["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in backend["model"]["merges"]))
    (folder / "added_tokens.json").write_text(json.dumps({token["content"]: token["id"] for token in special}))
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "added_tokens_decoder": {str(token["id"]): {**token, "id": None} for token in special},
        "additional_special_tokens": [token["content"] for token in special],
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def test_official_folder_into_transformers(shared, tmp_path: Path, tiny_tokenizer) -> None:
    """An official folder whose config names remote code becomes one that transformers loads, asks and answers with."""
    folder = tmp_path / "official"
    shutil.copytree(shared / "golden/qwen2", folder)
    folder.chmod(0o755)
    (folder / "config.json").chmod(0o644)
    edit(folder / "config.json", lambda value: value.update(auto_map={"AutoConfig": "evil.Evil"}))
    write_official_tokenizer(folder, tiny_tokenizer)
    config, tokenizer = dataclasses.replace(load_config(folder), template="internvl2_5"), load_tokenizer(folder)
    assert config.image_token_id == tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>") == 5
    save_model(tmp_path / "ours", config, load_state(folder), tokenizer, dtype=torch.float32, provenance={})
    processor = AutoProcessor.from_pretrained(tmp_path / "ours")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "ours")
    shown = picture(100, 60)
    messages = [{"role": "user", "content": [{"type": "image", "image": shown}, {"type": "text", "text": "Which class?"}]}]
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    prompt = templates.encode_prompt([templates.Turn("human", "<image>\nWhich class?")], TEMPLATE, tokenizer)
    expected = config.tokens_per_tile * count_tiles(*shown.size, config.max_tiles, config.tile_px)
    assert inputs["input_ids"].shape[1] == len(prompt.input_ids) - 1 + expected
    with torch.no_grad():
        theirs = model(**inputs).logits
        parts = InternVL(config).eval()
        parts.load_state_dict(load_state(tmp_path / "ours"))
        torch.testing.assert_close(ask(parts, config, inputs["input_ids"], inputs["pixel_values"]), theirs, rtol=0, atol=1e-4)


def edit(path: Path, change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize("tiny_config", ["qwen2"], indirect=True)
def test_wrong_weights_are_one_error(saved) -> None:
    """Missing, extra and misshapen tensors are one DataError that lists them all."""
    folder, _, _ = saved
    tensors = load_file(folder / "model.safetensors")
    del tensors["multi_modal_projector.linear_2.bias"]
    tensors["language_model.model.layers.7.mlp.up_proj.weight"] = torch.zeros(2, 2)
    tensors["language_model.lm_head.weight"] = torch.zeros(5, 64)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(DataError) as caught:
        load_state(folder)
    for part in (
        "missing (1): multi_modal_projector.linear_2.bias",
        "extra (1): language_model.model.layers.7",
        "lm_head.weight [5, 64] instead of [512, 64]",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("tiny_config", ["qwen2"], indirect=True)
def test_several_files(saved) -> None:
    """Weights in several safetensors files with an index come back the same; an index cannot name a file outside the folder."""
    folder, _, _ = saved
    expected = load_state(folder)
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    files = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in files.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {name: file for file, part in files.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    state = load_state(folder)
    assert state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in expected)
    edit(folder / "model.safetensors.index.json", lambda value: value["weight_map"].update(x="../../elsewhere.safetensors"))
    with pytest.raises(DataError, match="leaves"):
        load_state(folder)


@pytest.mark.parametrize("tiny_config", ["qwen2"], indirect=True)
def test_only_safetensors(saved) -> None:
    """A folder with pickled weights only, a cut file, and no weights at all are each refused in one line."""
    folder, _, _ = saved
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a whole safetensors file"):
        load_state(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="pytorch_model.bin, which may run code"):
        load_state(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(DataError, match="no weights"):
        load_state(folder)


@pytest.mark.parametrize("tiny_config", ["qwen2"], indirect=True)
def test_foreign_folders(saved, tmp_path: Path) -> None:
    """Code named by config.json is never run, other variants of the model are refused by name, a tokenizer must be there."""
    folder, config, _ = saved
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    edit(folder / "config.json", lambda value: value["text_config"].update(auto_map={"AutoConfig": "evil.Evil"}))
    edit(folder / "tokenizer_config.json", lambda value: value.update(auto_map={"AutoTokenizer": ["evil.Evil", None]}))
    load_config(folder), load_state(folder), load_tokenizer(folder)
    edit(folder / "config.json", lambda value: value["vision_config"].update(use_qk_norm=True))
    with pytest.raises(DataError, match="use_qk_norm is True; only False"):
        load_config(folder)
    edit(folder / "config.json", lambda value: value.update(model_type="llava"))
    with pytest.raises(DataError, match="model_type is 'llava'"):
        load_config(folder)
    shutil.copy(folder / "config.json", tmp_path / "config.json")
    with pytest.raises(DataError, match="no tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("tiny_config", ["qwen2"], indirect=True)
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("adapt.json", {"tiling": {"min_tiles": 2}}, "adapt.json: min_tiles is 2; only 1"),
        ("adapt.json", {"tiling": {"use_thumbnail": False}}, "adapt.json: use_thumbnail is False; only True"),
        ("preprocessor_config.json", {"min_patches": 2}, "preprocessor_config.json: min_patches is 2; only 1"),
    ],
)
def test_another_tiling_is_refused(saved, name: str, change: dict, message: str) -> None:
    """A folder whose pictures were tiled by another rule is refused: its tiles would be others without a word."""
    folder, _, _ = saved
    edit(folder / name, lambda value: value.update(change))
    with pytest.raises(DataError, match=message):
        load_config(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_dynamic_patch": 2}, "min_dynamic_patch is 2; only 1"),
        ({"use_thumbnail": False}, "use_thumbnail is False; only True"),
    ],
)
def test_another_tiling_of_an_official_folder_is_refused(shared, tmp_path: Path, change: dict, message: str) -> None:
    """The same for config.json of the official layout; without dynamic tiles every picture is one tile and all is well."""
    stored = json.loads((shared / "golden" / "qwen2" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(stored | change))
    with pytest.raises(DataError, match=message):
        load_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(stored | change | {"dynamic_image_size": False}))
    assert load_config(tmp_path).max_tiles == 1


@pytest.mark.parametrize("tiny_config", ["qwen2"], indirect=True)
def test_saving_is_whole_and_checked(saved, tiny_tokenizer) -> None:
    """A state that does not fit leaves the old folder as it was."""
    folder, config, parts = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    state = parts.state_dict()
    del state["language.model.norm.weight"]
    with pytest.raises(DataError, match="language.model.norm.weight"):
        save_model(folder, config, state, tiny_tokenizer, dtype=torch.float32, provenance={})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
