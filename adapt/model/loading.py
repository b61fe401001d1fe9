"""From what a user calls a model (a preset, a folder, a finished run, a hub id) to the model itself."""

import dataclasses
import difflib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from adapt import progress, randomness, safe
from adapt.errors import DataError, UsageError, unknown
from adapt.model.config import PRESETS, ModelConfig
from adapt.model.folder import load_config, stream_state
from adapt.model.internvl import InternVL

_INPUT_ROWS, _OUTPUT_ROWS = "language.model.embed_tokens.weight", "language.lm_head.weight"
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja", "tokenizer.model"]


@dataclasses.dataclass(frozen=True)
class Found:
    """Where a model is. ``folder`` None is a preset with random weights; ``provenance`` is what a run records."""

    config: ModelConfig
    folder: Path | None
    provenance: dict[str, Any]


def find_model(name: str | Path) -> Found:
    """Find a model by preset name, folder, run folder or hub id (``owner/name``, or ``owner/name@revision``).

    A name below a folder that is here is a folder's, so a mistyped run is not looked for on the hub; with ``@revision`` it
    is. Raises UsageError where there is none, DataError where it is unfit.
    """
    text = str(name)
    if text in PRESETS:
        return Found(PRESETS[text], None, {"preset": text})
    folder = Path(name)
    if folder.is_dir():
        return _in_folder(folder, {"folder": text})
    is_hub_id = text.count("/") == 1 and not text.startswith((".", "/", "~")) and folder.suffix != ".json"
    if is_hub_id and ("@" in text or not folder.parent.is_dir()):
        return _on_hub(text)
    raise _no_model(text, folder)


def _no_model(text: str, folder: Path) -> UsageError:
    """Names the nearest preset, or the nearest folder beside the one that was asked for."""
    shown = {name: name for name in PRESETS}
    if folder.parent.is_dir():
        shown |= {each.name: str(each) for each in folder.parent.iterdir() if each.is_dir()}
    near = difflib.get_close_matches(folder.name, shown, n=1, cutoff=0.6)
    if near and ("/" in text or near[0] not in PRESETS):
        return UsageError(f"model '{text}': no such folder: did you mean '{shown[near[0]]}'?")
    if "/" not in text:
        return unknown("model", text, PRESETS)
    return UsageError(
        f"model '{text}': no such folder"
        + (f" (to ask the hub for it, write '{text}@main')" if text.count("/") == 1 and text[0] != "/" else "")
    )


def _in_folder(folder: Path, provenance: dict[str, Any]) -> Found:
    if (folder / "model" / "config.json").is_file():
        folder = folder / "model"
    elif (folder / "checkpoints").is_dir():
        raise UsageError(f"{folder}: an unfinished run; finish it with 'adapt finetune ... --output {folder} --resume'")
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder}: neither a model nor a finished run (no config.json); presets are {', '.join(PRESETS)}")
    digest = safe.file_sha256(folder / "config.json")
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        provenance = provenance | {"weights_sha256": safe.file_sha256(files[0])}
    elif files:  # one digest of all shards, by their names
        named = "".join(f"{file.name} {safe.file_sha256(file)}\n" for file in files)
        provenance = provenance | {"weights_sha256": hashlib.sha256(named.encode()).hexdigest()}
    return Found(load_config(folder), folder, provenance | {"config_sha256": digest})


def _on_hub(text: str) -> Found:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = text.partition("@")
    try:
        folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"model '{text}': no such folder, and the hub did not give it: {reason}") from error
    return _in_folder(folder, {"hub": repository, "commit": folder.name})


def load_internvl(found: Found, config: ModelConfig | None = None, dtype: torch.dtype = torch.float32) -> InternVL:
    """The model in ``dtype``, its weights from the folder, read a tensor at a time. Raises DataError where they do not fit.

    ``config`` is the folder's own, or one with more rows for new tokens (``stream_weights``).
    """
    config = config or found.config
    if found.folder is None:
        return InternVL(config).to(dtype)
    with torch.device("meta"):
        model = InternVL(config).to(dtype)
    model.to_empty(device="cpu")
    model.restore_buffers()
    state = model.state_dict()
    for name, tensor in stream_weights(found.folder, config):
        state[name].copy_(tensor)
    return model


def stream_weights(folder: Path, config: ModelConfig) -> Iterator[tuple[str, torch.Tensor]]:
    """(our name, tensor) of every weight in the stored type, with rows for the tokens that ``config`` has more.

    New input rows are drawn at the scale of the old ones, new output rows are the mean of the old, as in the official
    trainer (internvl_chat/internvl/train/internvl_chat_finetune.py of github.com/OpenGVLab/InternVL).
    """
    num_rows = config.language["vocab_size"]
    for name, tensor in stream_state(folder):
        new = num_rows - len(tensor) if name in (_INPUT_ROWS, _OUTPUT_ROWS) else 0
        if new and name == _INPUT_ROWS:
            progress.say(f"{new} new tokens: input rows drawn at the scale of the others, output rows are their mean")
            generator = torch.Generator().manual_seed(randomness.key(0, "rows of new tokens") % 2**63)
            drawn_ND = torch.randn(new, tensor.shape[1], generator=generator) * tensor.float().std()
            tensor = torch.cat([tensor, drawn_ND.to(tensor.dtype)])
        elif new:
            mean_1D = tensor.float().mean(dim=0, keepdim=True).to(tensor.dtype)
            tensor = torch.cat([tensor, mean_1D.expand(new, -1)])
        yield name, tensor
