"""The tokenizer of a preset: a small byte-level BPE trained on the run's own text and saved with the model.

Words are split as Qwen2's tokenizer splits them (digits one by one, which keeps coordinates regular). The control tokens
come first, in InternVL's order (internvl_chat/internvl/train/constants.py of github.com/OpenGVLab/InternVL).
"""

import re
from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from adapt.boxes import TAGS
from adapt.data.template import IMAGE_CONTEXT, IMAGE_END, IMAGE_START, Template, get_template
from adapt.errors import UsageError
from adapt.records import IMAGE_PLACEHOLDER, ChatRecord

PAD, TURN_START, TURN_END, VIDEO = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<video>"
SPECIAL_TOKENS = (PAD, TURN_START, TURN_END, IMAGE_START, IMAGE_END, IMAGE_CONTEXT, *TAGS, VIDEO)
NUM_BYTES = 256
MAX_VOCABULARY = 32768

# Source: transformers/models/qwen2/tokenization_qwen2.py (PRETOKENIZE_REGEX)
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def tokenizer_for_run(records: Iterable[ChatRecord], vocab_size: int, *, accept_test: bool) -> PreTrainedTokenizerFast:
    """The tokenizer that a preset trains on a run's records. Rows of test splits have no say in it without ``accept_test``."""
    usable = (record for record in records if accept_test or not (record.split or "").startswith("test"))
    return train_tokenizer((turn.value for record in usable for turn in record.turns), min(vocab_size, MAX_VOCABULARY))


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, *, template: Template | str = "internvl2_5"
) -> PreTrainedTokenizerFast:
    """A tokenizer of at most ``vocab_size`` tokens from ``texts``; the same texts in the same order give the same one.

    The template's system prompt is one token, its role names a few. Raises UsageError where ``vocab_size`` has no room
    for the control tokens and the bytes.
    """
    template = get_template(template) if isinstance(template, str) else template
    smallest = len(SPECIAL_TOKENS) + NUM_BYTES + 1
    if vocab_size < smallest:
        raise UsageError(f"a vocabulary of {vocab_size} tokens; expected at least {smallest} (control tokens and bytes)")
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_WORDS), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        min_frequency=2,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_with_headers(texts, template), trainer)
    # Every conversation opens with the system prompt: one row for it is cheaper than the merges it would take.
    backend.add_tokens([AddedToken(template.system_prompt, special=False, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=TURN_END,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={
            "start_image_token": IMAGE_START,
            "end_image_token": IMAGE_END,
            "context_image_token": IMAGE_CONTEXT,
            "video_token": VIDEO,
        },
    )


def _with_headers(texts: Iterable[str], template: Template) -> Iterator[str]:
    """The texts between control tokens, then each role's header as often as there are texts: that is how often it is seen."""
    controls = re.compile("|".join(re.escape(token) for token in (*SPECIAL_TOKENS, IMAGE_PLACEHOLDER)))
    count = 0
    for text in texts:
        count += 1
        yield from controls.split(text)
    for _ in range(max(count, 2)):
        yield from (template.system.text, template.user.text, template.assistant.text)
