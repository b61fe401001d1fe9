"""README.md of a model folder: what it is, and how to ask it in transformers with exactly the pixels of training."""

from collections.abc import Mapping
from typing import Any

from adapt.data.template import get_template
from adapt.model.config import ModelConfig

_CARD = """---
library_name: transformers
pipeline_tag: image-text-to-text
---

# {title}

{origin}

```python
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor

folder = "."  # this folder
model = AutoModelForImageTextToText.from_pretrained(folder)
processor = AutoProcessor.from_pretrained(folder)
processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend="pil")  # exactly the pixels of training


def ask(pictures, question, max_new_tokens=64):
    parts = [{{"type": "image", "image": picture}} for picture in pictures]
    messages = [{{"role": "user", "content": [*parts, {{"type": "text", "text": question}}]}}]
    inputs = processor.apply_chat_template(
        messages,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        max_patches=max(1, {max_tiles} // max(1, len(pictures))),
    )
    made = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    answer = processor.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=False)  # <ref> and <box> stay
    return answer.split("{end}")[0].strip()


print(ask(["picture.jpg"], "What is in the picture?"))
```

- Without `backend="pil"` transformers may resize through torchvision, whose bicubic filter differs by up to two grey levels.
- A picture has at most {max_tiles} tiles and a thumbnail. Several pictures of one question share them: `max_patches` says how
  many each may have, for a whole call; so ask questions with another number of pictures in another call. Frames of a video
  have one tile each (`max_patches=1`) and stand in the text as `Frame-1: <image>`, a line each.
- The chat template opens with the system prompt of training (template `{template}`); answers end with its end token.
"""


def model_card(config: ModelConfig, provenance: Mapping[str, Any]) -> str:
    """The text of README.md, with a function to paste. ``provenance`` is what adapt.json keeps."""
    base, field = provenance.get("base"), provenance.get("domain")
    if isinstance(base, Mapping):
        start = base.get("hub") or base.get("preset") or base.get("folder") or "a model"
        title = f"{start}, tuned" + (f" for {field}" if field else "")
        data = " mixed with ".join(", ".join(provenance.get(kind, ())) for kind in ("data", "general") if provenance.get(kind))
        origin = f"Tuned with adapt from `{start}` on {data}, {provenance.get('step')} steps."
    else:
        title = str(provenance.get("hub") or "An InternVL model")
        origin = "Written by adapt: the weights are those of the source, bit for bit."
    end = get_template(config.template).end
    return _CARD.format(title=title, origin=origin, max_tiles=config.max_tiles, template=config.template, end=end)
