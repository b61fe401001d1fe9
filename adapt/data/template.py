"""From a conversation to token ids and labels, for training and for asking.

Source: ``conversation.py`` and ``preprocess_internvl2_5`` in internvl_chat/internvl/train/dataset.py of
github.com/OpenGVLab/InternVL. Only answers and their end token are supervised. Control tokens are placed by id and text is
encoded with special tokens switched off, so text cannot forge a turn or a picture; balanced <ref>, <box> and <quad> pairs
are the exception. No torch here.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tokenizers

from adapt.boxes import TAGS
from adapt.errors import DataError, unknown
from adapt.records import IMAGE_PLACEHOLDER, Turn

IGNORED = -100
IMAGE_START, IMAGE_END, IMAGE_CONTEXT = "<img>", "</img>", "<IMG_CONTEXT>"
_TAG_PAIR = re.compile(r"<(quad|ref|box)>((?:(?!</?(?:quad|ref|box)>).)*)</\1>", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Header:
    """What opens a turn: a control token, then text."""

    control: str
    text: str


@dataclasses.dataclass(frozen=True)
class Template:
    """The fixed text around the turns. ``end`` closes each turn, ``separator`` follows it and is never supervised."""

    name: str
    system_prompt: str
    system: Header
    user: Header
    assistant: Header
    end: str
    separator: str
    add_bos: bool = False

    @property
    def controls(self) -> tuple[str, ...]:
        """Every control token that the template places."""
        headers = (self.system.control, self.user.control, self.assistant.control)
        return tuple(dict.fromkeys([*headers, self.end, IMAGE_START, IMAGE_END, IMAGE_CONTEXT, *TAGS]))


TEMPLATES: dict[str, Template] = {
    "internvl2_5": Template(
        name="internvl2_5",
        system_prompt=(
            "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
        ),
        system=Header("<|im_start|>", "system\n"),
        user=Header("<|im_start|>", "user\n"),
        assistant=Header("<|im_start|>", "assistant\n"),
        end="<|im_end|>",
        separator="\n",
    ),
}


def get_template(name: str) -> Template:
    """The template of this name. Raises UsageError naming the known ones."""
    if name not in TEMPLATES:
        raise unknown("template", name, TEMPLATES)
    return TEMPLATES[name]


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Token ids with one <IMG_CONTEXT> for each picture, labels in the same places (a token's own id, or -100).

    ``prefix_length`` is the place right after the last </img>, 0 without pictures.
    """

    input_ids: list[int]
    labels: list[int]
    prefix_length: int


class _Codec:
    """A tokenizer and a template, with the ids of the fixed parts worked out."""

    def __init__(self, tokenizer: Any, template: Template) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise DataError(f"the tokenizer {type(tokenizer).__name__} has no tokenizer.json form, which is needed here")
        state = json.loads(backend.to_str())
        for token in state["added_tokens"]:
            token["special"] = token["special"] or token["content"] in template.controls
        # A copy: the caller's tokenizer keeps parsing special tokens.
        self._plain = tokenizers.Tokenizer.from_str(json.dumps(state))
        self._plain.encode_special_tokens = True
        self._plain.no_truncation()
        self._plain.no_padding()
        self.template = template
        self.ids: dict[str, int] = {}
        for control in template.controls:
            token_id = backend.token_to_id(control)
            if token_id is None:
                raise DataError(f"the tokenizer has no '{control}' token, which the template '{template.name}' needs")
            self.ids[control] = token_id
        self._forbidden = frozenset(self.ids.values())
        self.start = [tokenizer.bos_token_id] if template.add_bos else []
        self.assistant = [self.ids[template.assistant.control], *self.plain(template.assistant.text)]
        self.separator = self.plain(template.separator)

    def plain(self, text: str) -> list[int]:
        """Text as text, whatever it spells."""
        if not text:
            return []
        ids = self._plain.encode(text, add_special_tokens=False).ids
        assert self._forbidden.isdisjoint(ids), f"text became a control token: {text!r}"
        return ids

    def marked(self, text: str) -> list[int]:
        """Text whose balanced <ref>, <box> and <quad> pairs become control tokens."""
        ids, start = [], 0
        for match in _TAG_PAIR.finditer(text):
            tag = match[1]
            ids += [
                *self.plain(text[start : match.start()]),
                self.ids[f"<{tag}>"],
                *self.plain(match[2]),
                self.ids[f"</{tag}>"],
            ]
            start = match.end()
        return ids + self.plain(text[start:])

    def pictured(self, text: str) -> list[int]:
        """Text with one picture token between <img> and </img> for each <image>."""
        picture = [self.ids[IMAGE_START], self.ids[IMAGE_CONTEXT], self.ids[IMAGE_END]]
        first, *others = text.split(IMAGE_PLACEHOLDER)
        ids = self.marked(first)
        for piece in others:
            ids += picture + self.marked(piece)
        return ids

    def pieces(self, turns: Sequence[Turn]) -> Iterator[tuple[list[int], bool]]:
        """(ids, supervised) of a conversation in order. The text of a header and of its message is encoded as one."""
        template, end = self.template, self.ids[self.template.end]
        yield self.start, False
        if turns and turns[0].role == "system":
            system, turns = turns[0].value, turns[1:]
        else:
            system = template.system_prompt
        yield [self.ids[template.system.control], *self.marked(template.system.text + system), end, *self.separator], False
        for turn in turns:
            if turn.role == "human":
                question = self.pictured(template.user.text + turn.value)
                yield [self.ids[template.user.control], *question, end, *self.separator], False
            elif turn.role == "gpt":
                # The header apart from the answer, because a model that is asked has only the header.
                yield self.assistant, False
                yield [*self.marked(turn.value), end], True
                yield self.separator, False
            else:
                raise DataError(f"a message from '{turn.role}' inside a conversation; expected human or gpt")


@functools.lru_cache(maxsize=8)
def _codec(tokenizer: Any, template: Template) -> _Codec:
    return _Codec(tokenizer, template)


def _joined(codec: _Codec, turns: Sequence[Turn]) -> Encoded:
    input_ids: list[int] = []
    labels: list[int] = []
    for ids, supervised in codec.pieces(turns):
        input_ids += ids
        labels += ids if supervised else [IGNORED] * len(ids)
    image_end = codec.ids[IMAGE_END]
    last = next((place for place in range(len(input_ids) - 1, -1, -1) if input_ids[place] == image_end), -1)
    return Encoded(input_ids, labels, last + 1)


def encode_turns(turns: Sequence[Turn], template: Template, tokenizer: Any) -> Encoded:
    """A whole conversation, for training. A leading system turn replaces the template's system prompt."""
    return _joined(_codec(tokenizer, template), turns)


def encode_prompt(turns: Sequence[Turn], template: Template, tokenizer: Any) -> Encoded:
    """A conversation that ends with a question, for asking: ends right after the assistant header, nothing is supervised."""
    if not turns or turns[-1].role != "human":
        raise DataError("a prompt ends with a question (a human message)")
    codec = _codec(tokenizer, template)
    asked = _joined(codec, turns)
    input_ids = asked.input_ids + codec.assistant
    return Encoded(input_ids, [IGNORED] * len(input_ids), asked.prefix_length)


def encode(
    conversations: Sequence[Mapping[str, str] | Turn],
    template: Template | str,
    tokenizer: Any,
    image_tokens: Sequence[int] = (),
) -> tuple[list[int], list[int]]:
    """(input_ids, labels) of the ``conversations`` of a chat JSONL row, each picture as ``image_tokens[i]`` <IMG_CONTEXT>.

    ``image_tokens`` are token counts, in order of the pictures: 256 for each tile of a 448 px model. Labels are -100 where
    nothing is learnt. Raises DataError where the number of <image> differs from the number of counts.
    """
    template = get_template(template) if isinstance(template, str) else template
    turns = [turn if isinstance(turn, Turn) else Turn(turn["from"], turn["value"]) for turn in conversations]
    encoded = encode_turns(turns, template, tokenizer)
    context = _codec(tokenizer, template).ids[IMAGE_CONTEXT]
    found = encoded.input_ids.count(context)
    if found != len(image_tokens):
        raise DataError(f"{found} {IMAGE_PLACEHOLDER} placeholder(s) for {len(image_tokens)} picture(s); expected as many")
    counts = iter(image_tokens)
    input_ids: list[int] = []
    labels: list[int] = []
    for token_id, label in zip(encoded.input_ids, encoded.labels, strict=True):
        times = next(counts) if token_id == context else 1
        input_ids += [token_id] * times
        labels += [label] * times
    return input_ids, labels


def decode_answer(ids: Sequence[int], template: Template, tokenizer: Any) -> str:
    """The text of generated ids, cut at the first end token; <ref>, <box> and <quad> stay, other control tokens go."""
    codec = _codec(tokenizer, template)
    ids = [int(token_id) for token_id in ids]
    ends = {codec.ids[template.end], tokenizer.eos_token_id, tokenizer.pad_token_id}
    length = next((place for place, token_id in enumerate(ids) if token_id in ends), len(ids))
    dropped = {codec.ids[control] for control in template.controls if control not in TAGS}
    kept = [token_id for token_id in ids[:length] if token_id not in dropped]
    return tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def chat_template(template: Template) -> str:
    """The same conversation in transformers' jinja form, for ``processor.apply_chat_template``.

    A message's content is a string with <image> where a picture stands, or a list of {"type": "image"} and
    {"type": "text", "text": ...}; after a picture that text follows, a newline is put unless the text starts with a blank
    (so both ["image", "Which?"] and ["image", "\\nWhich?"] give the form of the training data). The processor puts
    <img> and </img> around a picture token and repeats it.
    """
    system, user, assistant = (
        json.dumps(header.control + header.text) for header in (template.system, template.user, template.assistant)
    )
    end, prompt = json.dumps(template.end + template.separator), json.dumps(template.system_prompt, ensure_ascii=False)
    image, placeholder = json.dumps(IMAGE_CONTEXT), json.dumps(IMAGE_PLACEHOLDER)
    parts = [
        "{%- macro show(content, pictures) -%}",
        "{%- if content is string -%}",
        f"{{{{- content | replace({placeholder}, {image}) if pictures else content -}}}}",
        "{%- else -%}",
        "{%- for part in content -%}",
        "{%- if part['type'] == 'text' -%}{{- part['text'] -}}{%- else -%}",
        f"{{{{- {image} -}}}}",
        "{%- set next = content[loop.index] if not loop.last else {'type': 'text', 'text': ''} -%}",
        "{%- if next['type'] != 'text' or next['text'][:1].strip() -%}{{- '\\n' -}}{%- endif -%}",
        "{%- endif -%}{%- endfor -%}{%- endif -%}{%- endmacro -%}",
        "{{- bos_token -}}" if template.add_bos else "",
        f"{{%- if messages[0]['role'] != 'system' -%}}{{{{- {system} + {prompt} + {end} -}}}}{{%- endif -%}}",
        "{%- for message in messages -%}",
        f"{{%- if message['role'] == 'system' -%}}{{{{- {system} + show(message['content'], false) + {end} -}}}}",
        f"{{%- elif message['role'] == 'user' -%}}{{{{- {user} + show(message['content'], true) + {end} -}}}}",
        f"{{%- else -%}}{{{{- {assistant} + show(message['content'], false) + {end} -}}}}{{%- endif -%}}",
        "{%- endfor -%}",
        f"{{%- if add_generation_prompt -%}}{{{{- {assistant} -}}}}{{%- endif -%}}",
    ]
    return "\n".join(part for part in parts if part)
