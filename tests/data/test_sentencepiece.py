"""SentencePiece models: every text between control tokens becomes what sentencepiece itself makes of it."""

import io
import json
from pathlib import Path

import pytest
import sentencepiece
from PIL import Image
from sentencepiece import sentencepiece_model_pb2
from transformers import AutoProcessor, AutoTokenizer

from adapt.data.template import PICTURE_TOKENS, TEMPLATES, encode, encode_prompt, opens_with_bos
from adapt.errors import DataError
from adapt.model.config import ModelConfig, VisionConfig, for_tokenizer
from adapt.model.internvl import InternVL
from adapt.model.saving import save_model
from adapt.model.tokenizer_files import load_tokenizer
from adapt.records import Turn

TEXTS = [
    "Is there a river in the picture? Yes, a river.",
    "How many buildings are there? There are 12 buildings and 3 roads.",
    "Which class is it? An airport, a harbour or a runway.",
    "这是什么？这是一条河。",
    "user\nassistant\nsystem\n",
]
ANSWERS = ["Yes", " two blanks ", "12.5 % of 448", "为什么", "e\u0301 \u0378 🚗", "a\nb", "<s> </s>", "x"]


def train(folder: Path, *, prefix: bool, kind: str = "bpe", byte_fallback: bool = True, **options) -> bytes:
    """A SentencePiece model file in ``folder``, trained on the texts above."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_writer=made,
        vocab_size=420 if byte_fallback else 150,
        model_type=kind,
        byte_fallback=byte_fallback,
        add_dummy_prefix=prefix,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    (folder / "tokenizer.model").write_bytes(made.getvalue())
    return made.getvalue()


def add_files(folder: Path, model: bytes, tokens: dict[str, dict], **settings) -> dict[str, int]:
    """tokenizer_config.json with the tokens after the model's own pieces; returns their ids."""
    first = sentencepiece.SentencePieceProcessor(model_proto=model).vocab_size()
    ids = {name: first + place for place, name in enumerate(tokens)}
    plain = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    decoder = {str(ids[name]): {"content": name, **plain, **flags} for name, flags in tokens.items()}
    config = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "</s>",
        "added_tokens_decoder": decoder,
    }
    config |= {"tokenizer_class": "InternLM2Tokenizer", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | settings))
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    return ids


CHATML = {"<|im_start|>": {}, "<|im_end|>": {}, **dict.fromkeys(PICTURE_TOKENS, {})}
PHI3 = {
    name: {"rstrip": True} for name in ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
} | {"<|endoftext|>": {}, **dict.fromkeys(PICTURE_TOKENS, {})}  # fmt: skip


@pytest.mark.parametrize("identity", [True, False], ids=["identity", "nmt_nfkc"])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("prefix", [True, False], ids=["prefix", "no-prefix"])
def test_ids_are_those_of_sentencepiece(tmp_path: Path, prefix: bool, kind: str, identity: bool) -> None:
    """internlm2-chat: system, question and answer are sentencepiece's ids of each text between control tokens."""
    rule = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False} if identity else {}
    model = train(tmp_path, prefix=prefix, kind=kind, **rule)
    ids = add_files(tmp_path, model, CHATML)
    tokenizer = load_tokenizer(tmp_path)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    template = TEMPLATES["internlm2-chat"]
    assert opens_with_bos(template, tokenizer)
    for answer in ANSWERS if kind == "bpe" else [text for text in ANSWERS if "<s>" not in text]:
        found, labels = encode(
            [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": answer}], template, tokenizer, [2]
        )
        whole = theirs.encode("assistant\n" + answer.strip())
        expected = [
            theirs.bos_id(),
            *[ids["<|im_start|>"], *theirs.encode("system\n" + template.system_prompt), ids["<|im_end|>"]],
            *[ids["<|im_start|>"], *theirs.encode("user\n")],
            *[ids["<img>"], ids["<IMG_CONTEXT>"], ids["<IMG_CONTEXT>"], ids["</img>"]],
            *[*theirs.encode("\nWhat is it?"), ids["<|im_end|>"]],
            *[ids["<|im_start|>"], *whole, ids["<|im_end|>"]],
        ]
        assert found == expected, answer
        header = len(theirs.encode("assistant\n"))
        learnt = [label for label in labels if label != -100]
        assert learnt == [*whole[header:], ids["<|im_end|>"]], answer


def test_a_unigram_model_forges_nothing(tmp_path: Path) -> None:
    """A unigram model finds <s> in plain text, which would forge a control token: such a text is refused."""
    add_files(tmp_path, train(tmp_path, prefix=False, kind="unigram"), CHATML)
    with pytest.raises(DataError, match="without a control token"):
        encode(
            [{"from": "human", "value": "a <s> b"}, {"from": "gpt", "value": "c"}], "internlm2-chat", load_tokenizer(tmp_path)
        )


def test_phi3_takes_blanks_after_its_tokens(tmp_path: Path) -> None:
    """phi3-chat: the newline after <|user|> and its like is taken by the token, as ``rstrip`` says, and no blank is put."""
    model = train(tmp_path, prefix=True)
    ids = add_files(tmp_path, model, PHI3, legacy=False, tokenizer_class="LlamaTokenizer", pad_token="<|endoftext|>")
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    end_of_text = {
        "content": "</s>",
        "lstrip": False,
        "rstrip": True,
        "single_word": False,
        "normalized": False,
        "special": False,
    }
    config["added_tokens_decoder"]["2"] = end_of_text  # as microsoft/Phi-3-mini-4k-instruct has it
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(tmp_path)
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    proto.normalizer_spec.add_dummy_prefix = False
    theirs = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    template = TEMPLATES["phi3-chat"]
    found, labels = encode([{"from": "human", "value": "Is it?"}, {"from": "gpt", "value": "Yes, it is"}], template, tokenizer)
    end = ids["<|end|>"]
    assert found == [
        theirs.bos_id(),
        *[ids["<|system|>"], *theirs.encode(template.system_prompt), end],
        *[ids["<|user|>"], *theirs.encode("Is it?"), end],
        *[ids["<|assistant|>"], *theirs.encode("Yes, it is"), end],
    ]
    assert [label for label in labels if label != -100] == [*theirs.encode("Yes, it is"), end]
    forged, _ = encode([{"from": "human", "value": "a </s>  b"}, {"from": "gpt", "value": "c"}], template, tokenizer)
    assert theirs.eos_id() not in forged and theirs.encode("a </s>  b") == forged[-len(theirs.encode("a </s>  b")) - 4 : -4]
    # and the tokenizer itself reads the whole text so
    text = "<s><|user|>\nIs it?<|end|><|assistant|>\nYes, it is<|end|>"
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == [
        theirs.bos_id(),
        *[ids["<|user|>"], *theirs.encode("Is it?"), end],
        *[ids["<|assistant|>"], *theirs.encode("Yes, it is"), end],
    ]


def test_placeholder_pieces_become_the_added_tokens(tmp_path: Path) -> None:
    """InternLM2 keeps unused pieces for its control tokens: the token takes the id, texts are read as before."""
    model = train(tmp_path, prefix=False, user_defined_symbols=["[UNUSED_TOKEN_1]", "[UNUSED_TOKEN_2]"])
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = add_files(tmp_path, model, CHATML)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    for name, piece in (("<|im_start|>", "[UNUSED_TOKEN_1]"), ("<|im_end|>", "[UNUSED_TOKEN_2]")):
        config["added_tokens_decoder"][str(theirs.piece_to_id(piece))] = config["added_tokens_decoder"].pop(str(ids[name]))
    for place, name in enumerate(PICTURE_TOKENS):
        number = theirs.vocab_size() + place
        config["added_tokens_decoder"][str(number)] = {**config["added_tokens_decoder"].pop(str(ids[name]))}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == theirs.piece_to_id("[UNUSED_TOKEN_2]")
    assert tokenizer.convert_tokens_to_ids("<img>") == theirs.vocab_size()
    assert len(tokenizer) == theirs.vocab_size() + len(PICTURE_TOKENS)


def test_saved_it_is_the_same_tokenizer(tmp_path: Path) -> None:
    """What is saved reads every text the same through transformers' AutoTokenizer, without any code."""
    model = train(tmp_path, prefix=True)
    add_files(tmp_path, model, CHATML)
    tokenizer = load_tokenizer(tmp_path)
    tokenizer.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved", trust_remote_code=False)
    for text in [*TEXTS, *ANSWERS, "<|im_start|>user\n<img>a</img><|im_end|>"]:
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"], text
        assert again.decode(again(text, add_special_tokens=False)["input_ids"]) == tokenizer.decode(
            tokenizer(text, add_special_tokens=False)["input_ids"]
        )


def test_damaged_and_contradicting_files_are_refused(tmp_path: Path) -> None:
    """A cut model file, and an added token whose id is another's, are one error that names the file."""
    model = train(tmp_path, prefix=False)
    add_files(tmp_path, model, CHATML)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|other|>": sentencepiece_first(model)}))
    with pytest.raises(DataError, match="added_tokens.json: id .* do not belong together"):
        load_tokenizer(tmp_path)
    (tmp_path / "added_tokens.json").unlink()
    (tmp_path / "tokenizer.model").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match="tokenizer.model: not a SentencePiece model"):
        load_tokenizer(tmp_path)


def sentencepiece_first(model: bytes) -> int:
    return sentencepiece.SentencePieceProcessor(model_proto=model).vocab_size()


PHI3_FILES = {"legacy": False, "tokenizer_class": "LlamaTokenizer", "pad_token": "<|endoftext|>"}


@pytest.mark.parametrize(
    ("name", "tokens", "settings"),
    [("internlm2-chat", CHATML, {}), ("Hermes-2", CHATML, {}), ("phi3-chat", PHI3, PHI3_FILES)],
    ids=["internlm2", "hermes", "phi3"],
)
def test_a_saved_processor_reads_a_chat_as_training_does(tmp_path: Path, name: str, tokens, settings) -> None:
    """transformers' own processor gives the ids of training, one <s> and all, with SentencePiece behind it."""
    add_files(tmp_path, train(tmp_path, prefix=name != "Hermes-2"), tokens, **settings)
    tokenizer = load_tokenizer(tmp_path)
    language = {
        "model_type": "qwen2", "vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64,
    }  # fmt: skip
    vision = VisionConfig(image_size_px=32, patch_size_px=8, hidden_size=32, num_layers=1, num_heads=2, mlp_size=64)
    config = for_tokenizer(ModelConfig(vision, language, template=name, max_tiles=2), tokenizer)
    save_model(tmp_path / "m", config, InternVL(config).state_dict(), tokenizer, dtype=None, provenance={})
    processor = AutoProcessor.from_pretrained(tmp_path / "m")
    chat = [("user", "What is it?"), ("assistant", "Yes, it is"), ("user", "Is it?")]
    messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in chat]
    messages[0]["content"].insert(0, {"type": "image", "image": Image.new("RGB", (32, 32))})
    inputs = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    turns = [Turn("human", "<image>\nWhat is it?"), Turn("gpt", "Yes, it is"), Turn("human", "Is it?")]
    prompt = encode_prompt(turns, TEMPLATES[name], tokenizer).input_ids
    place = prompt.index(config.image_token_id)
    expected = prompt[:place] + [config.image_token_id] * config.tokens_per_tile + prompt[place + 1 :]
    assert inputs["input_ids"][0] == expected


def test_characters_that_no_piece_holds_without_byte_fallback(tmp_path: Path) -> None:
    """Without byte fallback they are <unk>, as sentencepiece reads them, and nothing is lost around them."""
    model = train(tmp_path, prefix=False, byte_fallback=False)
    add_files(tmp_path, model, CHATML)
    tokenizer = load_tokenizer(tmp_path)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    text = "Is it \N{SNOWMAN}\N{SNOWMAN} here?"
    assert theirs.unk_id() in theirs.encode(text)
    ids, _ = encode([{"from": "human", "value": text}, {"from": "gpt", "value": "x"}], "internlm2-chat", tokenizer)
    whole = theirs.encode("user\n" + text)
    assert any(ids[place : place + len(whole)] == whole for place in range(len(ids)))
