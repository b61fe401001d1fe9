"""The recipe: every knob of a run, its default, and the layers that set it.

Later layers win: these defaults < the domain's recipe < the model preset's recipe < ``--config`` < ``--set``. The
defaults are the published domain-adaptation recipe: github.com/OpenGVLab/InternVL (2410d1d)
``internvl_chat/shell/mini_internvl/domain_adaptation``.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from adapt.data.mixture import read_by_source
from adapt.errors import UsageError, unknown

PARTS = ("vision", "connector", "language")
LORA = "lora"
AUTO = "auto"
AUTO_NUMBERS = ("train.pack_tokens", "train.pack_tiles")  # numbers that may be the word auto, which is kept as 0
# The two-stage recipe is align, then tune; full tuning is one stage, all. Under lora only the language model's adapters train.
PARTS_OF_STAGE = {"all": PARTS, "align": ("connector",), "tune": PARTS, LORA: ()}
CHOICES = {
    "train.loss_reduction": ("token", "sample", "square"),
    "train.precision": ("auto", "float32", "bfloat16", "float16"),
    "train.stage": tuple(PARTS_OF_STAGE),
    "train.early_stop": ("none", "forgetting"),
    "train.reshard": ("auto", "yes", "no"),
    "train.compile": ("auto", "yes", "no"),
    "train.optimizer": ("adamw", "adamw8bit", "adamw-offload"),
    "train.checkpoint_activations": ("auto", "yes", "no"),
    "data.augment": ("none", "photometric", "overhead"),
    "data.overlong": ("stop", "drop"),
}


@dataclasses.dataclass(frozen=True)
class TrainRecipe:
    """How the weights move. ``samples_per_step`` counts questions; the loss is normalised over all of a step's."""

    learning_rate: float = 1e-5
    vision_learning_rate: float = 0.0  # 0: learning_rate; so are the next two
    connector_learning_rate: float = 0.0
    language_learning_rate: float = 0.0
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    warmup_ratio: float = 0.03
    clip_norm: float = 1.0
    drop_path: float = 0.1
    loss_reduction: str = "square"
    samples_per_step: int = 128
    max_branches: int = 0  # 0: an eighth of samples_per_step
    epochs: float = 1.0
    max_steps: int = 0  # 0: as many as the epochs need
    seed: int = 0
    stage: str = "all"
    freeze: str = ""  # parts that the stage would train and that stay as they are: vision, or vision,connector
    lora_rank: int = 16  # of stage=lora; the official second tuning's, and so is alpha
    lora_alpha: int = 32
    precision: str = "auto"
    pack_tokens: int = 0  # 0: auto, from the device's free memory (adapt/train/budget.py); so is the next
    pack_tiles: int = 0
    checkpoint_activations: str = "auto"
    optimizer: str = "adamw"
    save_every: int = 500
    keep: int = 2
    validate_every: int = 0  # 0: ten times a run
    early_stop: str = "none"  # forgetting: end where the held-out domain loss is flat and the general one rises
    patience: int = 3  # validations on end that must say so
    skip_nonfinite: int = 0  # steps whose loss or gradient is not finite that are left out before the run stops
    reshard: str = "auto"  # of several devices: give the whole weights of a layer back after each use
    compile: str = "auto"  # the vision blocks and decoder layers, by torch.compile; auto: on a GPU
    tensorboard: bool = True
    wandb: str = ""  # a project's name: log to Weights & Biases too


@dataclasses.dataclass(frozen=True)
class DataRecipe:
    """What is read and how. ``general_ratio`` is general samples per domain sample; ``max_tokens`` bounds a record."""

    general_ratio: float = 0.25
    weights: str = ""  # aerial=2,street=1: by source, how the samples of these are shared out; see adapt/data/mixture.py
    epochs: str = ""  # rare=3: by source, how often its rows are seen in one epoch of its side
    caps: str = ""  # huge=5000: by source, at most that many rows, drawn
    max_tiles: int = 12
    max_tokens: int = 8192
    overlong: str = "stop"
    augment: str = "none"
    jpeg_quality: int = 0  # 0 keeps the pixels; the official data_augment is 75: each tile through JPEG at 75 to 100
    validation_share: float = 0.02
    validation_rows: int = 500
    workers: int = 2
    prefetch: int = 4


# A preset starts from random weights: its rate is that of training from scratch, and small pictures stay whole.
PRESET_RECIPES: dict[str, dict[str, Any]] = {
    "nano": {
        "train.learning_rate": 1e-3,
        "train.weight_decay": 0.05,
        "train.drop_path": 0.0,
        "train.samples_per_step": 128,
        "train.pack_tokens": 2048,
        "data.max_tokens": 2048,
        "data.max_tiles": 6,
        "data.augment": "photometric",
    },
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The whole recipe; ``--set train.learning_rate=2e-5`` sets ``train.learning_rate``."""

    train: TrainRecipe = TrainRecipe()
    data: DataRecipe = DataRecipe()

    @property
    def max_branches(self) -> int:
        """The bound on the branches of a tree: a step is never two pictures unless asked for.

        An eighth of a step learnt no worse than single questions on RSVQA-like data (benchmarks/RESULTS.md), at a fifteenth of
        their tiles.
        """
        return self.train.max_branches or max(1, self.train.samples_per_step // 8)


def known_keys() -> dict[str, type]:
    """Every ``section.field`` with its type."""
    sections = {"train": TrainRecipe, "data": DataRecipe}
    return {
        f"{name}.{field.name}": type(field.default)
        for name, section in sections.items()
        for field in dataclasses.fields(section)
    }


def parse_settings(items: Sequence[str]) -> dict[str, Any]:
    """``["train.max_steps=20"]`` -> ``{"train.max_steps": 20}``. Raises UsageError for an unknown key or a wrong value."""
    settings = {}
    for item in items:
        name, sign, text = item.partition("=")
        if not sign:
            raise UsageError(f"--set {item}: expected key=value, such as train.max_steps=20")
        settings[name.strip()] = text.strip()
    return check_settings(settings)


def check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings with values of the right type. Raises UsageError for an unknown key or a wrong value."""
    types = known_keys()
    checked = {}
    for name, value in settings.items():
        if name not in types:
            raise unknown("setting", name, types)
        checked[name] = _convert(name, value, types[name])
    return checked


def _convert(name: str, value: Any, kind: type) -> Any:
    if name in AUTO_NUMBERS and str(value) == AUTO:
        return AUTO
    if name == "train.checkpoint_activations":
        value = {"true": "yes", "1": "yes", "false": "no", "0": "no"}.get(str(value).lower(), value)
    if name in CHOICES and value not in CHOICES[name]:
        raise UsageError(f"{name}={value}: expected one of {', '.join(CHOICES[name])}")
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() not in words:
            raise UsageError(f"{name}={value}: expected yes or no")
        return words[str(value).lower()]
    wanted = {int: "a whole number", float: "a number", str: "a word"}[kind]
    cut = kind is int and isinstance(value, float) and not value.is_integer()
    if isinstance(value, bool) or cut:
        raise UsageError(f"{name}={value}: expected {wanted}")
    try:
        number = kind(value)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{name}={value}: expected {wanted}") from error
    if kind in (int, float) and name != "train.seed" and not 0 <= number < float("inf"):
        raise UsageError(f"{name}={value}: expected zero or more")
    if name in AUTO_NUMBERS and number < 1:
        raise UsageError(f"{name}={value}: expected at least 1, or auto")
    return number


POSITIVE = (
    "train.samples_per_step",
    "train.save_every",
    "train.keep",
    "train.patience",
    "train.lora_rank",
    "train.lora_alpha",
    "data.max_tiles",
    "data.max_tokens",
    "data.prefetch",
)
BELOW_ONE = ("train.drop_path", "train.warmup_ratio", "train.beta1", "train.beta2", "data.validation_share")


def make_recipe(*layers: Mapping[str, Any]) -> Recipe:
    """The recipe with each layer over the one before. Raises UsageError for unknown keys, wrong values, impossible mixes."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= check_settings(layer)
    for name in POSITIVE:
        if merged.get(name, 1) < 1:
            raise UsageError(f"{name}={merged[name]}: expected at least 1")
    if merged.get("train.epochs", 1) == 0:
        raise UsageError("train.epochs=0: expected more than 0; train.max_steps sets a length in steps")
    own_rates = [name for name in merged if name.endswith("_learning_rate") and merged[name]]
    if own_rates and merged.get("train.learning_rate", 1) == 0:
        raise UsageError(f"{own_rates[0]} with train.learning_rate=0; set that one above 0, it gives the schedule")
    if merged.get("data.jpeg_quality", 0) > 100:
        raise UsageError(f"data.jpeg_quality={merged['data.jpeg_quality']}: expected 0 (off) to 100")
    for name in BELOW_ONE:
        if merged.get(name, 0) >= 1:
            raise UsageError(f"{name}={merged[name]}: expected less than 1")
    sections: dict[str, dict[str, Any]] = {"train": {}, "data": {}}
    for name, value in merged.items():
        section, field = name.split(".")
        sections[section][field] = 0 if name in AUTO_NUMBERS and value == AUTO else value
    recipe = Recipe(TrainRecipe(**sections["train"]), DataRecipe(**sections["data"]))
    trained_parts(recipe.train)
    read_by_source(recipe.data.weights, recipe.data.epochs, recipe.data.caps)
    return recipe


def trained_parts(recipe: TrainRecipe) -> tuple[str, ...]:
    """The parts whose own weights train; none under stage=lora. Raises UsageError where nothing would train."""
    frozen = [name.strip() for name in recipe.freeze.split(",") if name.strip()]
    for name in frozen:
        if name not in PARTS:
            raise unknown("part", name, PARTS)
    stage = PARTS_OF_STAGE[recipe.stage]
    idle = [name for name in frozen if name not in stage]
    if idle:
        raise UsageError(f"train.stage={recipe.stage} does not train {' or '.join(idle)}; take it out of train.freeze")
    trained = tuple(name for name in stage if name not in frozen)
    if stage and not trained:
        raise UsageError(f"train.stage={recipe.stage} with train.freeze={recipe.freeze} trains nothing; freeze fewer parts")
    moving = trained or ("language",)  # its adapters
    for name in PARTS:
        if getattr(recipe, f"{name}_learning_rate") and name not in moving:
            raise UsageError(f"train.{name}_learning_rate is set, but {name} does not train; leave it out")
    if recipe.stage != LORA and (recipe.lora_rank, recipe.lora_alpha) != (TrainRecipe.lora_rank, TrainRecipe.lora_alpha):
        raise UsageError(f"train.lora_rank and train.lora_alpha are of train.stage=lora; the stage is {recipe.stage}")
    return trained


def recipe_settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe as ``section.field`` settings: what config.json keeps and ``--config`` takes."""
    settings = {
        f"{section}.{name}": value for section, fields in dataclasses.asdict(recipe).items() for name, value in fields.items()
    }
    return settings | {name: AUTO for name in AUTO_NUMBERS if not settings[name]}
