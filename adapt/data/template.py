"""From a conversation to token ids and labels, for training and for asking.

Source: ``conversation.py`` and the ``preprocess_*`` functions in internvl_chat/internvl/train/dataset.py of
github.com/OpenGVLab/InternVL. Only answers and their end token are supervised. Control tokens are placed by id and text is
encoded with special tokens switched off, so text cannot forge a turn or a picture; balanced <ref>, <box> and <quad> pairs
are the exception. No torch here.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import tokenizers

from adapt.boxes import TAGS
from adapt.errors import DataError, unknown
from adapt.records import IMAGE_PLACEHOLDER, Turn

IGNORED = -100
IMAGE_START, IMAGE_END, IMAGE_CONTEXT = "<img>", "</img>", "<IMG_CONTEXT>"
# The order in which InternVL adds them. Source: internvl_chat/internvl/train/constants.py of github.com/OpenGVLab/InternVL
PICTURE_TOKENS = (IMAGE_START, IMAGE_END, IMAGE_CONTEXT, *TAGS)
_TAG_PAIR = re.compile(r"<(quad|ref|box)>((?:(?!</?(?:quad|ref|box)>).)*)</\1>", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Header:
    """What opens a turn: a control token, then text."""

    control: str
    text: str


@dataclasses.dataclass(frozen=True)
class Template:
    """The fixed text around the turns. ``end`` closes each turn, ``separator`` follows it and is never supervised.

    ``bos`` says whether a conversation opens with the tokenizer's <s>: "always", or where the "tokenizer" opens texts so.
    ``strips`` takes the blanks around every message, as the official preprocessing of that style does.
    """

    name: str
    system_prompt: str
    system: Header
    user: Header
    assistant: Header
    end: str
    separator: str
    bos: Literal["always", "tokenizer"] = "tokenizer"
    strips: bool = False

    @property
    def controls(self) -> tuple[str, ...]:
        """Every control token that the template places."""
        headers = (self.system.control, self.user.control, self.assistant.control)
        return tuple(dict.fromkeys([*headers, self.end, IMAGE_START, IMAGE_END, IMAGE_CONTEXT, *TAGS]))


_SYSTEM_2_0 = "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, 是一个有用无害的人工智能助手。"
_SYSTEM_2_5 = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
_HERMES_2 = Template(
    name="Hermes-2",
    system_prompt=_SYSTEM_2_0,
    system=Header("<|im_start|>", "system\n"),
    user=Header("<|im_start|>", "user\n"),
    assistant=Header("<|im_start|>", "assistant\n"),
    end="<|im_end|>",
    separator="",
)

TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        _HERMES_2,
        dataclasses.replace(_HERMES_2, name="internlm2-chat", bos="always", strips=True),
        Template(
            "phi3-chat",
            _SYSTEM_2_0,
            system=Header("<|system|>", "\n"),
            user=Header("<|user|>", "\n"),
            assistant=Header("<|assistant|>", "\n"),
            end="<|end|>",
            separator="",
            bos="always",
        ),
        dataclasses.replace(_HERMES_2, name="internvl2_5", system_prompt=_SYSTEM_2_5, separator="\n"),
    )
}


def get_template(name: str) -> Template:
    """The template of this name. Raises UsageError naming the known ones."""
    if name not in TEMPLATES:
        raise unknown("template", name, TEMPLATES)
    return TEMPLATES[name]


def opens_with_bos(template: Template, tokenizer: Any) -> bool:
    """Whether a conversation in this template opens with the tokenizer's <s>. Raises DataError where it has none to give."""
    bos = tokenizer.bos_token_id
    if template.bos == "tokenizer":
        return bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    if bos is None:
        raise DataError(f"the tokenizer has no <s> (bos_token), which the template '{template.name}' opens with")
    return True


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Token ids with one <IMG_CONTEXT> for each picture, labels in the same places (a token's own id, or -100).

    ``prefix_length`` is the place right after the last </img>, 0 without pictures.
    """

    input_ids: list[int]
    labels: list[int]
    prefix_length: int


# A control token by its id, or a text; and whether it is supervised.
Part = tuple[int | str, bool]


class _Codec:
    """A tokenizer and a template, with the ids of the fixed parts worked out."""

    def __init__(self, tokenizer: Any, template: Template) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise DataError(f"the tokenizer {type(tokenizer).__name__} has no tokenizer.json form, which is needed here")
        state = json.loads(backend.to_str())
        controls = {*template.controls, *tokenizer.all_special_tokens}
        for token in state["added_tokens"]:
            token["special"] = token["special"] or token["content"] in controls
        # Copies: the caller's tokenizer keeps parsing special tokens.
        self._opening = _plain_tokenizer(state | {"pre_tokenizer": _every_text_alike(state["pre_tokenizer"])})
        self._going_on = _plain_tokenizer(_without_prefix(state))
        self.template = template
        self.ids: dict[str, int] = {}
        for control in template.controls:
            token_id = backend.token_to_id(control)
            if token_id is None:
                raise DataError(f"the tokenizer has no '{control}' token, which the template '{template.name}' needs")
            self.ids[control] = token_id
        # <unk> is no control token: without byte fallback it stands for characters that no piece has.
        self._forbidden = frozenset(self.ids.values()) | {
            token["id"] for token in state["added_tokens"] if token["special"] and token["id"] != _unknown_only(tokenizer)
        }
        self._takes_right = {token["id"] for token in state["added_tokens"] if token["rstrip"]}
        self._takes_left = {token["id"] for token in state["added_tokens"] if token["lstrip"]}
        self._bos = [tokenizer.bos_token_id] if opens_with_bos(template, tokenizer) else []

    def _marked(self, text: str) -> Iterator[int | str]:
        """Text whose balanced <ref>, <box> and <quad> pairs become control tokens."""
        start = 0
        for match in _TAG_PAIR.finditer(text):
            tag = match[1]
            yield text[start : match.start()]
            yield self.ids[f"<{tag}>"]
            yield match[2]
            yield self.ids[f"</{tag}>"]
            start = match.end()
        yield text[start:]

    def _pictured(self, text: str) -> Iterator[int | str]:
        """Text with one picture token between <img> and </img> for each <image>."""
        first, *others = text.split(IMAGE_PLACEHOLDER)
        yield from self._marked(first)
        for piece in others:
            yield from (self.ids[IMAGE_START], self.ids[IMAGE_CONTEXT], self.ids[IMAGE_END])
            yield from self._marked(piece)

    def parts(self, turns: Sequence[Turn]) -> Iterator[Part]:
        """A conversation in order. A header's text and its question are one text."""
        template, end = self.template, self.ids[self.template.end]
        for token_id in self._bos:
            yield token_id, False
        if turns and turns[0].role == "system":
            system, turns = self._value(turns[0]), turns[1:]
        else:
            system = template.system_prompt
        yield self.ids[template.system.control], False
        for part in (*self._marked(template.system.text + system), end, template.separator):
            yield part, False
        for turn in turns:
            if turn.role == "human":
                yield self.ids[template.user.control], False
                for part in (*self._pictured(template.user.text + self._value(turn)), end, template.separator):
                    yield part, False
            elif turn.role == "gpt":
                yield from self.assistant()
                for part in (*self._marked(self._value(turn)), end):
                    yield part, True
                yield template.separator, False
            else:
                raise DataError(f"a message from '{turn.role}' inside a conversation; expected human or gpt")

    def assistant(self) -> Iterator[Part]:
        """The header of an answer; a text apart from the answer, because a model that is asked has only the header."""
        yield self.ids[self.template.assistant.control], False
        yield self.template.assistant.text, False

    def _value(self, turn: Turn) -> str:
        return turn.value.strip() if self.template.strips else turn.value

    def join(self, parts: Iterable[Part]) -> Encoded:
        """The parts as tokens. Added tokens take the blanks beside them as the tokenizer's own parsing lets them."""
        parts = self._stripped([part for part in parts if part[0] != ""])
        input_ids: list[int] = []
        labels: list[int] = []
        before = ""
        for part, supervised in parts:
            ids = [part] if isinstance(part, int) else self._text(part, before)
            before = "" if isinstance(part, int) else part
            input_ids += ids
            labels += ids if supervised else [IGNORED] * len(ids)
        image_end = self.ids[IMAGE_END]
        last = next((place for place in range(len(input_ids) - 1, -1, -1) if input_ids[place] == image_end), -1)
        return Encoded(input_ids, labels, last + 1)

    def _text(self, text: str, before: str) -> list[int]:
        """Text as text, whatever it spells. ``before`` is the text it goes on from: a header, whose tokens stay."""
        ids = self._opening.encode(before + text, add_special_tokens=False).ids
        if before:
            header = self._opening.encode(before, add_special_tokens=False).ids
            joined = ids[: len(header)] == header
            # Where both would share a token the answer is encoded for itself: a model that is asked sees the header.
            ids = ids[len(header) :] if joined else self._going_on.encode(text, add_special_tokens=False).ids
        if not self._forbidden.isdisjoint(ids):
            raise DataError(f"this tokenizer cannot spell {text!r} without a control token; reword the text")
        return ids

    def _stripped(self, parts: list[Part]) -> list[Part]:
        if self._takes_right:
            parts = _blanks_taken(parts, self._takes_right, str.lstrip)
        if self._takes_left:
            parts = _blanks_taken(parts[::-1], self._takes_left, str.rstrip)[::-1]
        return parts


def _unknown_only(tokenizer: Any) -> int | None:
    """The id of <unk> where it has no other office (Qwen2's files may name <|endoftext|>)."""
    others = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return None if tokenizer.unk_token_id in others else tokenizer.unk_token_id


def _blanks_taken(parts: list[Part], takers: set[int], strip: Callable[[str], str]) -> list[Part]:
    """The parts without the blanks that come right after a taker; texts that were nothing else are gone."""
    kept: list[Part] = []
    taking = False
    for part, supervised in parts:
        if isinstance(part, int):
            taking = part in takers
        elif taking:
            part = strip(part)
            if not part:
                continue
            taking = False
        kept.append((part, supervised))
    return kept


def _plain_tokenizer(state: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """A tokenizer that reads every text as text, special tokens too."""
    plain = tokenizers.Tokenizer.from_str(json.dumps(state))
    plain.encode_special_tokens = True
    plain.no_truncation()
    plain.no_padding()
    return plain


def _every_text_alike(pre_tokenizer: dict[str, Any] | None) -> dict[str, Any] | None:
    """The blank that only the very first text gets goes to none: each text here comes after a control token."""
    if pre_tokenizer and pre_tokenizer.get("prepend_scheme") == "first":
        return pre_tokenizer | {"prepend_scheme": "never"}
    return pre_tokenizer


def _without_prefix(state: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizer without the blank that it puts before a text, for a text that goes on from another."""

    def steps(step: dict[str, Any] | None, list_name: str) -> dict[str, Any] | None:
        if step is None or step["type"] == "Prepend":
            return None
        if step["type"] == "Sequence":
            inner = [steps(each, list_name) for each in step[list_name]]
            return step | {list_name: [each for each in inner if each is not None]}
        step = step | {"prepend_scheme": "never"} if "prepend_scheme" in step else step
        return step | {"add_prefix_space": False} if "add_prefix_space" in step else step

    return dict(state) | {
        "normalizer": steps(state["normalizer"], "normalizers"),
        "pre_tokenizer": steps(state["pre_tokenizer"], "pretokenizers"),
    }


@functools.lru_cache(maxsize=8)
def _codec(tokenizer: Any, template: Template) -> _Codec:
    return _Codec(tokenizer, template)


def check_template(template: Template, tokenizer: Any) -> None:
    """Raise DataError where the tokenizer lacks a token that the template places."""
    _codec(tokenizer, template)


def encode_turns(turns: Sequence[Turn], template: Template, tokenizer: Any) -> Encoded:
    """A whole conversation, for training. A leading system turn replaces the template's system prompt."""
    codec = _codec(tokenizer, template)
    return codec.join(codec.parts(turns))


def encode_prompt(turns: Sequence[Turn], template: Template, tokenizer: Any) -> Encoded:
    """A conversation that ends with a question, for asking: ends right after the assistant header, nothing is supervised."""
    if not turns or turns[-1].role != "human":
        raise DataError("a prompt ends with a question (a human message)")
    codec = _codec(tokenizer, template)
    return codec.join((part, False) for part, _ in (*codec.parts(turns), *codec.assistant()))


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


def chat_template(template: Template, *, bos: bool) -> str:
    """The same conversation in transformers' jinja form, for ``processor.apply_chat_template``.

    A message's content is a string with <image> where a picture stands, or a list of {"type": "image"} and
    {"type": "text", "text": ...}; after a picture that text follows, a newline is put unless the text starts with a blank
    (so both ["image", "Which?"] and ["image", "\\nWhich?"] give the form of the training data). The processor puts
    <img> and </img> around a picture token and repeats it. ``bos`` is what ``opens_with_bos`` says.
    """
    system, user, assistant = (
        json.dumps(header.control + header.text) for header in (template.system, template.user, template.assistant)
    )
    shown = "(show(message['content'], {}) | trim)" if template.strips else "show(message['content'], {})"
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
        "{{- bos_token -}}" if bos else "",
        f"{{%- if messages[0]['role'] != 'system' -%}}{{{{- {system} + {prompt} + {end} -}}}}{{%- endif -%}}",
        "{%- for message in messages -%}",
        f"{{%- if message['role'] == 'system' -%}}{{{{- {system} + {shown.format('false')} + {end} -}}}}",
        f"{{%- elif message['role'] == 'user' -%}}{{{{- {user} + {shown.format('true')} + {end} -}}}}",
        f"{{%- else -%}}{{{{- {assistant} + {shown.format('false')} + {end} -}}}}{{%- endif -%}}",
        "{%- endfor -%}",
        f"{{%- if add_generation_prompt -%}}{{{{- {assistant} -}}}}{{%- endif -%}}",
    ]
    return "\n".join(part for part in parts if part)
