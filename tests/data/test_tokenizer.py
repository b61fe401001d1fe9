"""The small tokenizer of a preset: its control tokens, its size, the same one from the same text."""

import os
import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from adapt.data.template import TEMPLATES
from adapt.data.tokenizer import SPECIAL_TOKENS, tokenizer_for_run, train_tokenizer
from adapt.errors import UsageError
from adapt.records import ChatRecord, Turn

TEXTS = [f"Is there a river beside building {i}? Yes, at <box>[[{i}, 20, {i * 2}, 400]]</box>." for i in range(400)]


def test_control_tokens_come_first() -> None:
    """Control tokens hold the first ids in InternVL's order, the picture token is 5, and all are special."""
    tokenizer = train_tokenizer(TEXTS, 600)
    assert tokenizer.convert_ids_to_tokens(list(range(len(SPECIAL_TOKENS)))) == list(SPECIAL_TOKENS)
    assert tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>") == 5
    text = "".join(SPECIAL_TOKENS)
    assert tokenizer(text)["input_ids"] == list(range(len(SPECIAL_TOKENS)))
    assert tokenizer.decode(tokenizer(text + "a")["input_ids"], skip_special_tokens=True) == "a"
    assert len(tokenizer) <= 600
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|endoftext|>", "<|im_end|>")


def test_any_text_comes_back() -> None:
    """Every text comes back from its tokens, whatever its script, blanks and bytes."""
    tokenizer = train_tokenizer(TEXTS, 600)
    for text in (
        "a river",
        "  two\n\n\tblanks \r\n",
        "为什么？ ação 🚗‍♀️ שלום",
        "\x00\x7f\u2028",
        "1234567",
        "Ġ Ċ",
        "é e\u0301",
    ):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=False) == text


def test_digits_stay_apart() -> None:
    """Every digit is a token of its own, so coordinates have a regular form."""
    tokenizer = train_tokenizer(TEXTS, 600)
    assert tokenizer.tokenize("400") == ["4", "0", "0"]


def test_fixed_text_is_short() -> None:
    """The text around a one-word question costs few tokens: the system prompt one, a role at most three."""
    tokenizer = train_tokenizer(TEXTS, 2048)
    assert len(tokenizer(TEMPLATES["internvl2_5"].system_prompt)["input_ids"]) == 1
    for role in ("system\n", "user\n", "assistant\n"):
        assert len(tokenizer(role)["input_ids"]) <= 3


def test_text_cannot_train_control_tokens() -> None:
    """Control tokens and <image> spelt out in the training text teach nothing."""
    spoilt = [text.replace(" ", "<|im_end|>", 1) + "<image>" for text in TEXTS]
    assert train_tokenizer(spoilt, 500).get_vocab().keys() >= set(SPECIAL_TOKENS)
    assert not any(
        "im_" in token or "image" in token for token in train_tokenizer(spoilt, 2000).get_vocab() if token not in SPECIAL_TOKENS
    )


def test_too_small_a_vocabulary() -> None:
    """A vocabulary without room for the bytes is refused with the smallest that works."""
    with pytest.raises(UsageError, match="at least 270"):
        train_tokenizer(TEXTS, 200)
    assert len(train_tokenizer([], 270)) == 270


def test_saved_and_loaded(tmp_path) -> None:
    """AutoTokenizer reads the saved folder and gives the same ids, attributes and ends."""
    tokenizer = train_tokenizer(TEXTS, 600)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in (TEXTS[3], "为什么？ 12\n\n<img>x</img>", TEMPLATES["internvl2_5"].system_prompt + "<|im_end|>\n"):
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.context_image_token == "<IMG_CONTEXT>" and loaded.start_image_token_id == 3
    assert loaded.get_vocab() == tokenizer.get_vocab() and len(loaded) == len(tokenizer)


PROGRAM = """
import hashlib
from adapt.data.tokenizer import train_tokenizer
texts = [f"Is there a river {i} beside {i * 7 % 31} {chr(97 + i % 26) * 3}?" for i in range(3000)]
print(hashlib.sha256(train_tokenizer(texts, 700).backend_tokenizer.to_str().encode()).hexdigest())
"""


@pytest.mark.slow
def test_training_is_deterministic() -> None:
    """The same texts give the same tokenizer, byte for byte, for any hash seed and number of threads."""
    digests = set()
    for seed, threads, parallel in (("0", "1", "false"), ("1", "2", "true"), ("77", "4", "true")):
        env = {**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": parallel}
        run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=env, check=True)
        digests.add(run.stdout)
    assert len(digests) == 1


def test_rows_of_test_splits_have_no_say() -> None:
    """The tokenizer of a run is that of its rows without the test splits, unless training on them was allowed."""

    def record(number: int, text: str, split: str | None) -> ChatRecord:
        turns = (Turn("human", text), Turn("gpt", "yes"))
        return ChatRecord(str(number), turns, meta={} if split is None else {"split": split})

    used = [record(i, f"Is the harbour number {i} empty?", split) for i, split in enumerate((None, "train", "val") * 5)]
    unseen = [record(100 + i, f"Zyzzyva xylophone {i}", split) for i, split in enumerate(("test", "test_far") * 5)]
    found, alone, allowed = (
        tokenizer_for_run(records, 600, accept_test=accept).backend_tokenizer.to_str()
        for records, accept in ((used + unseen, False), (used, False), (used + unseen, True))
    )
    assert found == alone != allowed
