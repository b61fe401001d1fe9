"""``adapt export``: any model in any layout."""

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapt import progress, safe
from adapt.errors import UsageError, no_file, unknown
from adapt.records import image_root, read_records

if TYPE_CHECKING:
    from adapt.model.config import ModelConfig
    from adapt.model.loading import Found
    from adapt.model.parity import Prompt


def export(
    *,
    model: str | Path,
    output: str | Path,
    format: str = "transformers",
    image_token_id: int | None = None,
    verify: bool = False,
    data: str | Path | None = None,
    images: str | Path | None = None,
) -> dict[str, Any]:
    """Write ``model`` (a run, a folder or a hub id, in either layout) into ``output`` as ``transformers`` or ``internvl``.

    Weights keep their stored type, bit for bit. ``image_token_id`` is the id of <IMG_CONTEXT> for a folder without
    tokenizer files. ``verify`` loads what was written and compares it with the source, on made pictures, or on the first
    records of ``data`` (chat JSONL; ``images`` is its picture root); what it found is under "verified". With ``data`` the
    records whose pictures transformers' processor cuts into other tiles, unless told their budget, are counted and named.
    Raises UsageError and DataError.
    """
    output = Path(output)
    _check_data(data, images, verify=verify, format=format)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output}: is there already and not an empty folder; choose another --output")
    from adapt.model.loading import stream_weights
    from adapt.model.parity import compare
    from adapt.model.saving import FORMATS, save_model

    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    found, source = _find(model)
    tokenizer, config = _tokenizer_and_config(found, image_token_id)
    prompts, cut = _prompts(found, config, tokenizer, data, images, verify=verify)  # before anything is written
    state = dict(stream_weights(source, config))
    own = safe.read_object_if_there(source / "adapt.json").get("provenance", {})
    provenance = own | {"exported_from": found.provenance}
    save_model(output, config, state, tokenizer, dtype=None, provenance=provenance, layout=format)
    if format == "internvl" and tokenizer is not None and (source / "tokenizer.model").is_file():
        shutil.copyfile(source / "tokenizer.model", output / "tokenizer.model")  # the official code reads this one
    written: dict[str, Any] = {
        "output": str(output),
        "format": format,
        "parameters": sum(tensor.numel() for tensor in state.values()),
        "dtype": str(next(iter(state.values())).dtype).removeprefix("torch."),
        "image_token_id": config.image_token_id,
    }
    if verify:
        written["verified"] = compare(found, config, output, format, prompts) | cut
    return written


def _find(model: str | Path) -> "tuple[Found, Path]":
    """The model and the folder of its weights. Raises UsageError where it has none."""
    from adapt.model.loading import find_model

    found = find_model(model)
    if found.folder is None:
        raise UsageError(
            f"model '{model}' is a preset with random weights, which nobody needs elsewhere; name a run or a folder"
        )
    return found, found.folder


def _tokenizer_and_config(found: "Found", image_token_id: int | None) -> "tuple[Any, ModelConfig]":
    """The tokenizer, None where the folder has none, and the model's numbers with the picture token that it says."""
    from adapt.data.template import check_template, get_template
    from adapt.model.config import for_tokenizer
    from adapt.model.tokenizer_files import has_tokenizer, load_tokenizer

    assert found.folder is not None
    if not has_tokenizer(found.folder):
        progress.say(f"warning: {found.folder} has no tokenizer files; the model is written without tokenizer and processor")
        return None, dataclasses.replace(found.config, image_token_id=_picture_token(found, image_token_id))
    tokenizer = load_tokenizer(found.folder)
    check_template(get_template(found.config.template), tokenizer)
    config = for_tokenizer(found.config, tokenizer, grows=True)
    if image_token_id not in (None, config.image_token_id):
        raise UsageError(f"--image-token-id {image_token_id}: the tokenizer says {config.image_token_id}; leave the option out")
    return tokenizer, config


def _prompts(
    found: "Found", config: "ModelConfig", tokenizer: Any, data: str | Path | None, images: str | Path | None, *, verify: bool
) -> "tuple[list[Prompt], dict[str, Any]]":
    """What is asked of both models, and what transformers' processor cuts otherwise of ``data``."""
    from adapt.model.parity import cut_otherwise, made_prompts, record_prompts

    if data is None:
        return made_prompts(config) if verify else [], {}
    if tokenizer is None:
        raise UsageError(f"{found.folder}: has no tokenizer files, so it cannot be asked about --data; leave that out")
    rows, root = read_records(str(data)), image_root(Path(str(data)), None if images is None else Path(images))
    return record_prompts(config, rows, root), {"cut_otherwise_by_transformers": cut_otherwise(config, rows, root)}


def _check_data(data: str | Path | None, images: str | Path | None, *, verify: bool, format: str) -> None:
    if data is None and images is not None:
        raise UsageError("--images is the picture root of --data; give that too, or leave it out")
    if data is None:
        return
    if not verify:
        raise UsageError("--data names records to verify with; add --verify, or leave it out")
    if format == "internvl":
        raise UsageError("--data asks questions, and no current transformers runs the official layout's code; leave it out")
    if not Path(data).is_file():
        raise no_file(Path(data))
    if images is not None and not Path(images).is_dir():
        raise UsageError(f"images '{images}': no such folder")


def _picture_token(found: "Found", given: int | None) -> int:
    """The id of <IMG_CONTEXT> where no tokenizer tells it. Raises UsageError where nothing does, or where it has no row."""
    from adapt.model.config import NO_TOKEN

    token = found.config.image_token_id if given is None else given
    if given is None and token == NO_TOKEN:
        raise UsageError(
            f"{found.folder}: has no tokenizer files, so the id of <IMG_CONTEXT> is not known; "
            "put them there, or give --image-token-id N"
        )
    if not 0 <= token < found.config.language["vocab_size"]:
        raise UsageError(f"--image-token-id {token}: the vocabulary has {found.config.language['vocab_size']:,} rows")
    return token
