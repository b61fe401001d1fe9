"""Whether an exported folder is the model it was made from: judged by the library that will load it.

Axes: L tokens of a prompt, T tokens of an answer, D hidden size, V vocabulary, N tiles.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, InternVLForConditionalGeneration

from adapt import randomness, safe
from adapt.data.template import encode_prompt, get_template
from adapt.data.tiling import IMAGENET_MEAN, IMAGENET_STD, count_tiles, tile, tile_budget
from adapt.errors import DataError
from adapt.model.config import ModelConfig
from adapt.model.folder import load_config, load_state
from adapt.model.internvl import InternVL
from adapt.model.language import language_config
from adapt.model.loading import Found, load_internvl, stream_weights
from adapt.model.tokenizer_files import has_tokenizer, load_tokenizer
from adapt.records import ChatRecord, Turn

TOLERANCE = 1e-4
_NUM_NEW_TOKENS = 16
_NUM_RECORDS = 8  # asked of the user's own
_NUM_NAMED = 20
# (width, height) of the made pictures that are asked about, prompt by prompt
_SIZES = (((96, 96),), ((333, 200),), ((640, 480),), ((500, 250), (200, 400)))


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One prompt: the turns up to a question, and its pictures, each of at most ``budget`` tiles and a thumbnail."""

    turns: tuple[Turn, ...]
    pictures: tuple[Image.Image, ...]
    budget: int


def made_prompts(config: ModelConfig) -> list[Prompt]:
    """Prompts about made pictures, for who gives none."""
    prompts = []
    for number, sizes in enumerate(_SIZES):
        pictures = tuple(_picture(size, 8 * number + place) for place, size in enumerate(sizes))
        turn = Turn("human", "<image>\n" * len(sizes) + "What is in the picture?")
        prompts.append(Prompt((turn,), pictures, tile_budget(config.max_tiles, len(sizes))))
    return prompts


def record_prompts(config: ModelConfig, records: Sequence[ChatRecord], root: Path) -> list[Prompt]:
    """The first few records with pictures, as prompts. Raises DataError where no record has any."""
    prompts = []
    for record in [record for record in records if record.images][:_NUM_RECORDS]:
        pictures = tuple(safe.read_picture(safe.inside(root, name, record.id)) for name in record.images)
        budget = tile_budget(config.max_tiles, len(pictures), record.max_tiles)
        prompts.append(Prompt(record.turns[:-1], pictures, budget))
    if not prompts:
        raise DataError(f"{root}: none of the records has a picture; --verify compares answers about pictures, give others")
    return prompts


def cut_otherwise(config: ModelConfig, records: Sequence[ChatRecord], root: Path) -> dict[str, Any]:
    """How many records transformers' processor cuts into other tiles unless ``max_patches`` tells it their budget; some ids.

    It gives every picture the whole budget, where several share it here and frames of a video have one tile.
    """
    ids = []
    for record in records:
        budget = tile_budget(config.max_tiles, len(record.images), record.max_tiles)
        if budget == config.max_tiles:
            continue
        sizes = [safe.picture_size(safe.inside(root, name, record.id)) for name in record.images]
        ours, theirs = ([count_tiles(*size, most, config.tile_px) for size in sizes] for most in (budget, config.max_tiles))
        if ours != theirs:
            ids.append(record.id)
    return {"records": len(ids), "ids": ids[:_NUM_NAMED]}


def compare(found: Found, config: ModelConfig, output: Path, layout: str, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """How far the exported folder is from the source, in numbers. Raises DataError where it is another model.

    The official layout is read back and compared bit for bit: its own code runs on no current transformers. The
    transformers layout is loaded by transformers' InternVL, one model after the other, in float32 on the CPU: logits and greedy
    text on ``prompts``, and the pixels of transformers' own picture processor (which may resize through torchvision) against
    the exact ones. Logits may differ by ``TOLERANCE`` of their size, and so may those of two tokens where the text differs.
    """
    if layout == "internvl":
        return _compare_weights(found, config, output)
    encoded = _encoded(config, output, prompts)
    answered = _answers_of_transformers(output, encoded)
    ours = load_internvl(found, config).eval()
    largest, beyond, same_text = 0.0, 0.0, 0
    for (input_ids_1L, tiles_NCHW), (theirs_1LV, answer_1T) in zip(encoded, answered, strict=True):
        length = input_ids_1L.shape[1]
        logits_1LV = _logits(ours, torch.cat([input_ids_1L, answer_1T], dim=1), tiles_NCHW)
        allowed = TOLERANCE * max(1.0, theirs_1LV.abs().max().item())
        difference = (logits_1LV[:, :length] - theirs_1LV).abs().max().item()
        if not math.isfinite(difference):
            raise DataError(f"{output}: its logits are not numbers: the weights hold NaN or infinity; look at the source's")
        largest, beyond = max(largest, difference), max(beyond, difference - allowed)
        predicting_1TV = logits_1LV[:, length - 1 : -1]
        behind_1T = predicting_1TV.amax(-1) - predicting_1TV.gather(-1, answer_1T[..., None])[..., 0]
        same_text += bool((behind_1T <= 2 * allowed).all())
    result: dict[str, Any] = {"largest_logit_difference": largest, "same_greedy_text": f"{same_text} of {len(encoded)}"}
    if has_tokenizer(output):
        result["processor_grey_levels"] = _processor_drift(config, output, prompts)
    if beyond > 0 or same_text < len(encoded):
        raise DataError(f"{output}: is not the model it was made from: {result}; it is left as it is, please report it")
    return result


@torch.no_grad()
def _answers_of_transformers(
    output: Path, encoded: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(float[1, L, V] logits, int64[1, T] greedy tokens) of each prompt by transformers' own InternVL."""
    model = InternVLForConditionalGeneration.from_pretrained(output, dtype=torch.float32, attn_implementation="eager").eval()
    mean, std = (torch.tensor(each)[:, None, None] * 255 for each in (IMAGENET_MEAN, IMAGENET_STD))
    answered = []
    for input_ids_1L, tiles_NCHW in encoded:
        pixels_NCHW = (tiles_NCHW - mean) / std
        given = {"input_ids": input_ids_1L, "pixel_values": pixels_NCHW, "attention_mask": torch.ones_like(input_ids_1L)}
        made_1L = model.generate(**given, max_new_tokens=_NUM_NEW_TOKENS, do_sample=False)
        answered.append((model(**given).logits, made_1L[:, input_ids_1L.shape[1] :]))
    return answered


def _compare_weights(found: Found, config: ModelConfig, output: Path) -> dict[str, Any]:
    assert found.folder is not None
    written = load_state(output)
    different = [name for name, tensor in stream_weights(found.folder, config) if not torch.equal(tensor, written.pop(name))]
    languages = [language_config(each.language).to_dict() for each in (config, load_config(output))]
    different += [f"config.json's {name}" for name in languages[0] if languages[0][name] != languages[1].get(name)]
    if different or written:
        found_different = ", ".join([*different, *written])
        raise DataError(f"{output}: is not the model it was made from: {found_different} differ; please report it")
    return {"tensors": "bit-identical"}


def _encoded(config: ModelConfig, output: Path, prompts: Sequence[Prompt]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(int64[1, L], uint8[N, 3, S, S]) of each prompt; its ids are drawn where there is no tokenizer."""
    tokenizer = load_tokenizer(output) if has_tokenizer(output) else None
    encoded = []
    for number, prompt in enumerate(prompts):
        tiles = [tile(picture, prompt.budget, config.tile_px) for picture in prompt.pictures]
        if tokenizer is None:
            drawn = randomness.words(8, 0, "parity", number) % config.language["vocab_size"]
            ids = [int(word) for word in drawn if word != config.image_token_id]
            ids[2:2] = [config.image_token_id] * len(tiles)
        else:
            ids = encode_prompt(prompt.turns, get_template(config.template), tokenizer).input_ids
        flat = np.asarray(ids)
        times = np.ones(len(ids), int)
        times[flat == config.image_token_id] = [config.tokens_per_tile * len(each) for each in tiles]
        tiles_NCHW = torch.from_numpy(np.concatenate(tiles)).permute(0, 3, 1, 2).contiguous()
        encoded.append((torch.from_numpy(np.repeat(flat, times))[None], tiles_NCHW))
    return encoded


def _picture(size: tuple[int, int], number: int) -> Image.Image:
    """Noise at several scales: what a wrong resize or a wrong order of tiles shows in."""
    small = (randomness.words(16 * 12 * 3, 0, "parity picture", number) % 256).astype(np.uint8).reshape(12, 16, 3)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@torch.no_grad()
def _logits(model: InternVL, input_ids_1L: torch.Tensor, tiles_NCHW: torch.Tensor) -> torch.Tensor:
    embedded_1LD = model.language.get_input_embeddings()(input_ids_1L)
    embedded_1LD[input_ids_1L == model.config.image_token_id] = model.picture_features(tiles_NCHW)
    return model.language(inputs_embeds=embedded_1LD).logits


def _processor_drift(config: ModelConfig, output: Path, prompts: Sequence[Prompt]) -> float:
    """The largest difference, in grey levels, between the pixels of transformers' own processor and the exact ones."""
    processor = AutoProcessor.from_pretrained(output).image_processor
    std, mean = (torch.tensor(each)[:, None, None] * 255 for each in (processor.image_std, processor.image_mean))
    largest = 0.0
    for prompt in prompts:
        for picture in prompt.pictures:
            exact = torch.tensor(tile(picture, prompt.budget, config.tile_px)).permute(0, 3, 1, 2)
            theirs = processor(images=[picture], max_patches=prompt.budget, return_tensors="pt")["pixel_values"] * std + mean
            if theirs.shape != exact.shape:
                raise DataError(
                    f"{output}: transformers' processor cuts {picture.size} into {len(theirs)} tiles, expected {len(exact)}"
                )
            largest = max(largest, (theirs - exact).abs().max().item())
    return round(largest, 2)
