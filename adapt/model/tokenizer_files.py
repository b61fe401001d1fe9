"""The tokenizer of a model folder, from its data files alone: no code of the folder is run, no chat template of it is used.

Read are ``tokenizer.json``, or else ``tokenizer.model`` (SentencePiece), or else ``vocab.json`` with ``merges.txt``; beside
them ``tokenizer_config.json``, ``special_tokens_map.json`` and ``added_tokens.json``.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

from adapt import safe
from adapt.data.template import IMAGE_CONTEXT, IMAGE_END, IMAGE_START, PICTURE_TOKENS
from adapt.errors import DataError
from adapt.model.config import NO_TOKEN

_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")
# A template is text that transformers runs; none that chats needs to reach into Python's objects.
_TRICK = re.compile(r"__\w+__|\battr\s*\(")


def has_tokenizer(folder: Path | str) -> bool:
    """Whether the folder has a vocabulary that ``load_tokenizer`` reads."""
    return any((Path(folder) / name).is_file() for name in _VOCABULARIES)


def picture_token_id(folder: Path | str) -> int:
    """The id of <IMG_CONTEXT> by the tokenizer's files, NO_TOKEN where there are none or it is not among them yet."""
    folder = Path(folder)
    added = _added_tokens(folder, safe.read_object_if_there(folder / "tokenizer_config.json"), {})
    ids = {token.content: number for number, token in added.items()}
    for token in safe.read_object_if_there(folder / "tokenizer.json").get("added_tokens", []):
        ids.setdefault(token["content"], token["id"])
    return ids.get(IMAGE_CONTEXT, NO_TOKEN)


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerFast:
    """The tokenizer of a model folder; picture and box tokens that it lacks are added at the end, in InternVL's order.

    Raises DataError where there is none, where a file is damaged, and where the files give one id to two tokens.
    """
    folder = Path(folder)
    config = safe.read_object_if_there(folder / "tokenizer_config.json")
    _refuse_tricks(folder, config)
    special = {name: text for name in _SPECIAL if (text := _special_token(folder, config, name)) is not None}
    added = _added_tokens(folder, config, special)
    backend = _backend(folder, config, added)
    for number, token in sorted(added.items()):
        _add(backend, token)
        if backend.token_to_id(token.content) != number:
            raise DataError(
                f"{folder}: the token {token.content!r} has the id {backend.token_to_id(token.content)} in the vocabulary and "
                f"{number} in the files beside it; the files do not belong together"
            )
    for name in PICTURE_TOKENS:
        _add(backend, AddedToken(name, special=True, normalized=False))
    names = {"start_image_token": IMAGE_START, "end_image_token": IMAGE_END, "context_image_token": IMAGE_CONTEXT}
    # InternVLProcessor wants one; it must be a token that no text holds, and a new one would have no row.
    video = config.get("video_token") or special.get("pad_token") or special.get("eos_token")
    if video is None:
        raise DataError(f"{folder / 'tokenizer_config.json'}: names neither pad_token nor eos_token; fetch the files again")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **special,
        clean_up_tokenization_spaces=False,
        extra_special_tokens=names | {"video_token": video},
    )


def _add(backend: tokenizers.Tokenizer, token: AddedToken) -> None:
    """Let texts be read with the token, unless they are already. A piece of its name keeps its id."""
    if token.content not in {known.content for known in backend.get_added_tokens_decoder().values()}:
        backend.add_tokens([token])


def _backend(folder: Path, config: Mapping[str, Any], added: Mapping[int, AddedToken]) -> tokenizers.Tokenizer:
    whole, pieces, vocabulary = (folder / name for name in _VOCABULARIES)
    # Under ``legacy: false`` (Phi-3) the official code reads the pieces, and tokenizer.json puts a blank that it does not.
    if whole.is_file() and not (config.get("legacy") is False and pieces.is_file()):
        try:
            return tokenizers.Tokenizer.from_str(safe.read_bytes(whole).decode("utf-8"))
        except Exception as error:  # noqa: BLE001 (the library raises nothing narrower)
            raise DataError(f"{whole}: not a tokenizer that the tokenizers library can read: {error}") from error
    if pieces.is_file():
        from adapt.data.sentencepiece import read_sentencepiece

        # ``legacy: false`` is Llama's: only a text that opens the whole prompt gets the blank, and here none does.
        prefix = config.get("legacy") is not False
        return read_sentencepiece(pieces, added, opens_with_bos=config.get("add_bos_token", True), prefix=prefix)
    if vocabulary.is_file() and (folder / "merges.txt").is_file():
        try:
            return Qwen2Tokenizer(vocab=str(vocabulary), merges=str(folder / "merges.txt")).backend_tokenizer
        except Exception as error:  # noqa: BLE001 (the library raises nothing narrower)
            raise DataError(f"{folder}: vocab.json and merges.txt make no tokenizer: {error}") from error
    code = sorted(path.name for path in folder.glob("tokenization*.py"))
    found = f"only {', '.join(code)}, which is code and never run" if code else "none of them"
    raise DataError(f"{folder}: no tokenizer: expected tokenizer.json, tokenizer.model, or vocab.json and merges.txt; {found}")


def _special_token(folder: Path, config: Mapping[str, Any], name: str) -> str | None:
    for stored in (config, safe.read_object_if_there(folder / "special_tokens_map.json")):
        if (token := stored.get(name)) is not None:
            return token["content"] if isinstance(token, dict) else token
    return None


def _added_tokens(folder: Path, config: Mapping[str, Any], special: Mapping[str, str]) -> dict[int, AddedToken]:
    """{id: token} of tokenizer_config.json, then of added_tokens.json; their blanks and flags as they are stored."""
    tokens = {}
    decoder = config.get("added_tokens_decoder", {})
    for number, stored in decoder.items() if isinstance(decoder, dict) else [("", decoder)]:
        if not number.isdecimal() or not isinstance(stored, dict) or not isinstance(stored.get("content"), str):
            raise DataError(
                f"{folder / 'tokenizer_config.json'}: added_tokens_decoder holds {number!r}: {str(stored)[:40]}; expected "
                "an id with the token's content; fetch the file again"
            )
        flags = {name: bool(stored.get(name, False)) for name in ("lstrip", "rstrip", "single_word", "normalized", "special")}
        tokens[int(number)] = AddedToken(stored["content"], **flags)
    known = {*special.values(), *PICTURE_TOKENS}
    for content, number in safe.read_object_if_there(folder / "added_tokens.json").items():
        if not isinstance(number, int):
            raise DataError(f"{folder / 'added_tokens.json'}: {content!r} has {number!r} for an id; fetch the file again")
        if number not in tokens:
            tokens[number] = AddedToken(content, normalized=False, special=content in known)
        elif tokens[number].content != content:
            raise DataError(
                f"{folder / 'added_tokens.json'}: id {number} is {content!r} here and {tokens[number].content!r} in "
                "tokenizer_config.json; the files do not belong together"
            )
    return tokens


def _refuse_tricks(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise DataError for a chat template that reaches for Python's insides. None is used; the project writes its own."""
    files = [folder / "chat_template.jinja", *sorted(folder.glob("additional_chat_templates/*.jinja"))]
    texts = {path: safe.read_bytes(path).decode("utf-8", "replace") for path in files if path.is_file()}
    stored = {folder / "tokenizer_config.json": config} | {
        path: safe.read_object_if_there(path) for path in (folder / "chat_template.json", folder / "processor_config.json")
    }
    texts |= {path: str(content["chat_template"]) for path, content in stored.items() if "chat_template" in content}
    for path, text in texts.items():
        if trick := _TRICK.search(text):
            raise DataError(
                f"{path}: the chat template holds {trick[0]!r}, which no chat needs and which may run code; refused"
            )
