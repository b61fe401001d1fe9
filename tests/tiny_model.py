"""A model folder with random weights that answers in milliseconds, and questions about small pictures for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from adapt.data.tokenizer import train_tokenizer
from adapt.model.config import ModelConfig, VisionConfig, for_tokenizer
from adapt.model.internvl import InternVL
from adapt.model.saving import save_model
from adapt.records import ChatRecord, Turn, write_records

WORDS = ["What is it?", "How many cars?", "Is there a road?", "Which colour is it?"]


def save_random(folder: Path, language: dict[str, Any], words: Sequence[str], *, max_tiles: int, scale: float = 6) -> None:
    """A model of any language family; ``scale`` makes its random weights large enough that answers differ."""
    tokenizer = train_tokenizer(list(words) * 3, 300)
    config = for_tokenizer(ModelConfig(VisionConfig(32, 8, 32, 2, 2, 64), language, max_tiles=max_tiles), tokenizer)
    torch.manual_seed(3)
    model = InternVL(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(scale)
    save_model(folder, config, model.state_dict(), tokenizer, dtype=torch.float32, provenance={})


def save_tiny_model(folder: Path) -> Path:
    """The smallest of them, of one tile a picture; returns its folder."""
    language = {
        "model_type": "qwen2", "vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "tie_word_embeddings": False,
    }  # fmt: skip
    save_random(folder, language, WORDS, max_tiles=1)
    return folder


def write_questions(folder: Path, pictures: int, splits: tuple[str, ...] = ("test",)) -> Path:
    """``folder/d.jsonl``: four questions of each picture, pictures in turn of each split; the last picture's are longest."""
    records = []
    for number in range(pictures):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        for place, words in enumerate(WORDS):
            words = f"{words} {'Is it large or small? ' * (number == pictures - 1)}"
            turns = (Turn("human", f"<image>\n{words}"), Turn("gpt", "yes"))
            meta = {"split": splits[number % len(splits)]}
            records.append(ChatRecord(f"{number}-{place}", turns, (f"{number}.png",), meta=meta))
    write_records(folder / "d.jsonl", records)
    return folder / "d.jsonl"
