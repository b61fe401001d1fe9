"""A SentencePiece model file (``tokenizer.model``) as a tokenizer of the ``tokenizers`` library.

InternLM2 and Phi-3 checkpoints bring such a file, and code to read it that is never run here. Each text between control
tokens becomes what sentencepiece itself makes of that text alone.

Source: ``src/normalizer.cc``, ``src/bpe_model.cc`` and ``src/sentencepiece_model.proto`` of github.com/google/sentencepiece.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, decoders, models, normalizers, processors
from transformers.convert_slow_tokenizer import generate_merges

from adapt import safe
from adapt.errors import DataError

BLANK = "\u2581"
_UNIGRAM, _BPE = 1, 2  # TrainerSpec.ModelType
_NORMAL, _, _CONTROL, _USER_DEFINED, _UNUSED, _ = range(1, 7)  # SentencePiece.Type
_SPELT = (_NORMAL, _UNUSED)  # what letters of a text become

# What the two libraries could read differently: blanks, line breaks, digits, other scripts, characters without a piece.
_PROBES = (
    "Is there a river?",
    " two  blanks  and\n\na break\t at 12.5 % \n",
    "为什么？这是一条河。",
    "naïve e\u0301 ﬁ Ⅷ ½ 🚗‍♀️ \u0378 שלום",
    "<|im_start|>user\n<box>[[1, 23, 456, 1000]]</box>",
    "\n",
    " ",
    "<s> </s> <unk>",
)


def read_sentencepiece(
    path: Path, added: Mapping[int, AddedToken], *, opens_with_bos: bool, prefix: bool = True
) -> tokenizers.Tokenizer:
    """The tokenizer of the model file ``path`` with the ``added`` tokens at their ids.

    ``prefix`` False leaves out the blank that the model may put before a text (what ``legacy: false`` of a Llama tokenizer
    means). An added token whose id is that of a piece takes its place, as InternLM2's do.

    Raises DataError where the file is not whole, where an added token cannot have its id, and where the result would not
    read texts as sentencepiece does.
    """
    content = safe.read_bytes(path)
    model: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]  # made at import
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise DataError(f"{path}: not a SentencePiece model ({error}); fetch it again") from error
    if not model.pieces:
        raise DataError(f"{path}: a SentencePiece model without pieces; fetch it again")
    model.normalizer_spec.add_dummy_prefix &= prefix
    if model.trainer_spec.model_type not in (_UNIGRAM, _BPE):
        raise DataError(f"{path}: a SentencePiece model of words or characters; expected BPE or unigram")
    if model.trainer_spec.treat_whitespace_as_suffix or not model.normalizer_spec.escape_whitespaces:
        raise DataError(f"{path}: blanks after words, or not marked in pieces; such a SentencePiece model is not supported")
    tokenizer = tokenizers.Tokenizer(_algorithm(model, added))
    tokenizer.normalizer = _normalizer(model.normalizer_spec)
    tokenizer.decoder = _decoder(model)
    _add_tokens(tokenizer, model, added, path)
    _compare(tokenizer, model, path)
    if opens_with_bos and not 0 <= model.trainer_spec.bos_id < len(model.pieces):
        raise DataError(
            f"{path}: has no <s> (bos_id {model.trainer_spec.bos_id}), which texts are to open with; fetch it again"
        )
    if opens_with_bos:
        bos = tokenizer.id_to_token(model.trainer_spec.bos_id)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, model.trainer_spec.bos_id)]
        )
    return tokenizer


def _algorithm(model: Any, added: Mapping[int, AddedToken]) -> models.Model:
    names = [added[number].content if number in added else piece.piece for number, piece in enumerate(model.pieces)]
    byte_fallback = model.trainer_spec.byte_fallback
    if model.trainer_spec.model_type == _UNIGRAM:
        scores = [piece.score for piece in model.pieces]
        return models.Unigram(
            list(zip(names, scores, strict=True)), unk_id=model.trainer_spec.unk_id, byte_fallback=byte_fallback
        )
    # Texts never merge into these: they are found whole (user-defined, added), or are not in texts at all.
    apart = {
        name
        for number, (name, piece) in enumerate(zip(names, model.pieces, strict=True))
        if number in added or piece.type not in _SPELT
    }
    ids = {name: number for number, name in enumerate(names)}
    by_name = {name: piece.score for name, piece in zip(names, model.pieces, strict=True)}
    return models.BPE(
        vocab=ids,
        merges=generate_merges(ids, by_name, skip_tokens=apart),
        unk_token=names[model.trainer_spec.unk_id],
        fuse_unk=True,
        byte_fallback=byte_fallback,
    )


def _normalizer(spec: Any) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend(BLANK))
    return normalizers.Sequence([*steps, normalizers.Replace(" ", BLANK)])


def _decoder(model: Any) -> decoders.Decoder:
    steps: list[decoders.Decoder] = [decoders.Replace(BLANK, " ")]
    if model.trainer_spec.byte_fallback:
        steps.append(decoders.ByteFallback())
    steps.append(decoders.Fuse())
    if model.normalizer_spec.add_dummy_prefix:
        steps.append(decoders.Strip(content=" ", left=1))
    return decoders.Sequence(steps)


def _add_tokens(tokenizer: tokenizers.Tokenizer, model: Any, added: Mapping[int, AddedToken], path: Path) -> None:
    own = {
        number: AddedToken(piece.piece, normalized=False, special=piece.type == _CONTROL)
        for number, piece in enumerate(model.pieces)
        if piece.type in (_CONTROL, _USER_DEFINED)
    }
    for number, token in sorted((own | dict(added)).items()):
        if number in own and own[number].special:  # Phi-3's files call its </s> not special; a text must not forge it
            token.special = True
        tokenizer.add_tokens([token])
        found = tokenizer.token_to_id(token.content)
        if found != number:
            raise DataError(
                f"{path}: the added token {token.content!r} would get the id {found}, but the tokenizer files beside it say "
                f"{number}; the files do not belong together"
            )


def _compare(tokenizer: tokenizers.Tokenizer, model: Any, path: Path) -> None:
    """Raise DataError where the two libraries read a text differently."""
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    ours = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    ours.encode_special_tokens = True
    # The library's unigram model finds control pieces in texts; chat encoding refuses such texts instead.
    probes = _PROBES if model.trainer_spec.model_type == _BPE else _PROBES[:-1]
    for text in probes:
        expected, found = theirs.encode(text), ours.encode(text, add_special_tokens=False).ids
        if expected != found:
            raise DataError(
                f"{path}: this SentencePiece model reads {text!r} as {expected}, its conversion as {found}; "
                "such a model is not supported"
            )
