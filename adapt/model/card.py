"""README.md of a model folder: what it is, and how to ask it in transformers with exactly the pixels of training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def ask(pictures, question, frames=False, max_new_tokens=64):
    # frames=True: the pictures are those of a video, in order
    parts = []
    for number, picture in enumerate(pictures, start=1):
        if frames:
            parts.append({{"type": "text", "text": f"\\nFrame-{{number}}: " if number > 1 else "Frame-1: "}})
        parts.append({{"type": "image", "image": picture}})
    parts.append({{"type": "text", "text": question}})
    inputs = processor.apply_chat_template(
        [{{"role": "user", "content": parts}}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        max_patches=1 if frames else max(1, {max_tiles} // max(1, len(pictures))),
    )
    made = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    answer = made[0, inputs["input_ids"].shape[1] :].tolist()
    ends = [place for place, token in enumerate(answer) if token in model.generation_config.eos_token_id]
    return processor.decode(answer[: ends[0]] if ends else answer).strip()  # <ref> and <box> stay


print(ask(["picture.jpg"], "What is in the picture?"))
```

- Without `backend="pil"` transformers resizes through torchvision where that is installed, whose bicubic filter is not
  Pillow's: pixels differ by up to 2 of 255 grey levels on photographs, and more on noise.
- A picture has at most {max_tiles} tiles and a thumbnail. Several pictures of one question share them: `max_patches` says how
  many each may have, for a whole call; so ask questions with another number of pictures in another call. Frames of a video
  have one tile each and stand in the text as `Frame-1: ` and so on, a line each.
- The chat template opens with the system prompt of training (template `{template}`).
"""


def model_card(config: ModelConfig, provenance: Mapping[str, Any]) -> str:
    """The text of README.md, with a function to paste. ``provenance`` is what adapt.json keeps."""
    base, field, source = (provenance.get(name) for name in ("base", "domain", "exported_from"))
    if isinstance(base, Mapping):
        start = _name(base)
        title = f"{start}, tuned" + (f" for {field}" if field else "")
        data = " mixed with ".join(", ".join(provenance.get(kind, ())) for kind in ("data", "general") if provenance.get(kind))
        origin = f"Tuned with adapt from `{start}` on {data}, {provenance.get('step')} steps."
    else:
        title = _name(source) if isinstance(source, Mapping) else "An InternVL model"
        origin = "Written by adapt; the weights keep the source's values and type."
    return _CARD.format(title=title, origin=origin, max_tiles=config.max_tiles, template=config.template)


def _name(model: Mapping[str, Any]) -> str:
    """A hub id, a preset or the name of a folder: no path of the machine that wrote it."""
    return str(model.get("hub") or model.get("preset") or Path(str(model.get("folder", "a model"))).name)
