"""The memory model against what torch saves and allocates; what auto chooses by it; what is said where memory runs out."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from live_memory import IMAGE, batch_of, saved_bytes, shape_of, small_config, step_peak
from tiny_runs import run_here, write_data

from adapt.data.packing import PackRule, Piece, RowSizes
from adapt.data.plan import Tree
from adapt.errors import DataError, UsageError
from adapt.model.config import PRESETS
from adapt.model.internvl import InternVL
from adapt.train import budget, memory
from adapt.train.distributed import World
from adapt.train.log import read_log
from adapt.train.parts import set_trained
from adapt.train.prepare import Request, prepare
from adapt.train.recipe import TrainRecipe, make_recipe, recipe_settings
from adapt.verbs import finetune
from benchmarks.memory import table

GB = 2**30
KEPT, AGAIN = (TrainRecipe(checkpoint_activations=word) for word in ("no", "yes"))


@pytest.mark.parametrize("kind", ["qwen2", "llama", "phi3"])
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize(
    "settings",
    [{}, {"train.freeze": "vision"}, {"train.freeze": "language"}, {"train.stage": "align"}, {"train.stage": "lora"}],
    ids=["all", "frozen vision", "frozen language", "align", "lora"],
)
def test_saved_activations_are_those_that_torch_saves(
    kind: str, precision: torch.dtype | None, settings: dict[str, str]
) -> None:
    """What one forward pass leaves for the backward pass is predicted within 10 %, whatever trains and however it computes."""
    config = small_config(kind)
    recipe = make_recipe(settings | {"train.checkpoint_activations": "no"}).train
    model, batch = InternVL(config).train(), batch_of(config, trees=3, tiles=4, text=80)
    set_trained(model, recipe)
    real = saved_bytes(model, batch, precision)
    assert memory.saved_bytes(config, recipe, shape_of(batch), precision, "cpu") == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("recipe", [KEPT, AGAIN], ids=["kept", "computed again"])
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize(("name", "trees", "tiles", "text"), [("1b", 2, 24, 100), ("1b", 4, 3, 2400), ("2b", 2, 3, 600)])
@pytest.mark.slow
def test_the_peak_of_a_step_is_what_torch_allocates(
    name: str, trees: int, tiles: int, text: int, precision: torch.dtype | None, recipe: TrainRecipe
) -> None:
    """At full size the most that two packs and their update hold is predicted within 5 %; what comes on top of weights,
    gradients and moments within 10 %."""
    config = dataclasses.replace(PRESETS[name], image_token_id=IMAGE)
    batch = batch_of(config, trees, tiles, text)
    number, real = step_peak(config, batch, precision, checkpointed=recipe is AGAIN)
    predicted = memory.predict(
        config, recipe, shape_of(batch), precision, num_trained=number, num_frozen=0, device_type="cpu"
    ).total
    assert predicted == pytest.approx(real, rel=0.05)
    assert predicted - 16 * number == pytest.approx(real - 16 * number, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [KEPT, AGAIN], ids=["kept", "computed again"])
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize(("name", "trees", "tiles", "text"), [("nano", 2, 3, 600), ("nano", 1, 40, 100)])
def test_the_peak_of_a_nano_step_is_what_torch_allocates(
    name: str, trees: int, tiles: int, text: int, precision: torch.dtype | None, recipe: TrainRecipe
) -> None:
    """The most that a step of the smallest model holds is predicted within 5 %."""
    config = dataclasses.replace(PRESETS[name], image_token_id=IMAGE)
    batch = batch_of(config, trees, tiles, text)
    number, real = step_peak(config, batch, precision, checkpointed=recipe is AGAIN)
    found = memory.predict(config, recipe, shape_of(batch), precision, num_trained=number, num_frozen=0, device_type="cpu")
    assert found.total == pytest.approx(real, rel=0.05)


def test_several_devices_share_what_one_holds() -> None:
    """Eight devices hold an eighth of weights, gradients and moments each, and the layer they are at."""
    pack = memory.Pack(4096, 4096, 12, 512)
    counts = {"num_trained": 4_000_000_000, "num_frozen": 0}
    alone = memory.predict(PRESETS["4b"], AGAIN, pack, torch.bfloat16, **counts)
    shared = memory.predict(PRESETS["4b"], AGAIN, pack, torch.bfloat16, **counts, world_size=8)
    assert alone.moments == 8 * shared.moments == 32_000_000_000
    assert alone.weights / 8 < shared.weights < alone.weights / 2


DEMAND = budget.Demand(
    sample_tokens=3072, record_tiles=12, tree_tokens=8000, step_tokens=60_000, step_tiles=200, step_predicted=2000
)


def one_billion(recipe: TrainRecipe, pack: memory.Pack) -> memory.Memory:
    return memory.predict(PRESETS["1b"], recipe, pack, torch.bfloat16, num_trained=938_158_976, num_frozen=0)


def chosen(gigabytes: float, *settings: tuple[str, Any], device: str = "cuda") -> TrainRecipe:
    recipe = make_recipe(dict(settings)).train
    return budget.choose(recipe, budget.Fitting(DEMAND, one_billion, device, int(gigabytes * GB)))


def test_auto_takes_the_largest_packs_that_fit() -> None:
    """Much memory keeps activations in the largest packs, less in smaller packs, little computes them again; never more than
    what is free nor less than the largest record needs."""
    found = {free: chosen(free) for free in (200, 60, 24, 19)}
    assert (found[200].checkpoint_activations, found[200].pack_tokens, found[200].pack_tiles) == ("no", 16384, 48)
    assert found[60].checkpoint_activations == "no" and 4096 <= found[60].pack_tokens < 16384
    assert found[24].checkpoint_activations == "yes"
    assert found[19].checkpoint_activations == "yes" and found[19].pack_tokens < found[24].pack_tokens
    for free, recipe in found.items():
        assert recipe.pack_tokens >= DEMAND.sample_tokens and recipe.pack_tiles >= DEMAND.record_tiles
        worst = DEMAND.worst(recipe.pack_tokens, recipe.pack_tiles, one_row=True)
        assert one_billion(recipe, worst).total <= free * GB


def test_what_is_set_is_kept_and_the_rest_chosen_around_it() -> None:
    """A number that the recipe gives is taken as it is; auto fills in the others."""
    found = chosen(24, ("train.pack_tokens", 5000), ("train.checkpoint_activations", "no"), device="cpu")
    assert (found.pack_tokens, found.checkpoint_activations) == (5000, "no")
    assert chosen(24, ("train.pack_tiles", 13)).pack_tiles == 13


def test_what_cannot_fit_is_said_before_a_run_starts(capsys: pytest.CaptureFixture[str]) -> None:
    """On a GPU too small for one record the error has what is needed, what is there and the settings that help, with what they
    would need; on a CPU the same is a warning."""
    message = (
        r"a step needs 1\d\.\d\d GiB and 12\.00 GiB can be used: weights, gradients and moments 13\.98 GiB, .*"
        r"train\.optimizer=adamw8bit \(\d+\.\d\d GiB\), train\.optimizer=adamw-offload .*data\.max_tiles, train\.stage=lora"
    )
    with pytest.raises(DataError, match=message):
        chosen(12)
    assert chosen(12, device="cpu").checkpoint_activations == "yes"
    assert "warning: a step needs" in capsys.readouterr().err


def test_auto_is_a_word_of_the_recipe() -> None:
    """auto is taken and written back as that word; yes, no and JSON's true are the activations' others; zero is none."""
    recipe = make_recipe({"train.pack_tokens": "auto", "train.pack_tiles": 7, "train.checkpoint_activations": True})
    assert (recipe.train.pack_tokens, recipe.train.pack_tiles, recipe.train.checkpoint_activations) == (0, 7, "yes")
    written = recipe_settings(recipe)
    assert (written["train.pack_tokens"], written["train.pack_tiles"]) == ("auto", 7)
    assert make_recipe(written) == recipe
    with pytest.raises(UsageError, match="train.pack_tokens=0: expected at least 1, or auto"):
        make_recipe({"train.pack_tokens": 0})
    with pytest.raises(UsageError, match="train.checkpoint_activations=perhaps: expected one of auto, yes, no"):
        make_recipe({"train.checkpoint_activations": "perhaps"})


@pytest.mark.slow
def test_a_run_says_and_keeps_what_auto_chose(
    data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The terminal has the packs and the free memory they come from; plan.json has them; config.json says auto; a resume takes
    what the start chose, whatever is free by then."""
    settings = ("train.max_steps=2", "train.pack_tokens=auto", "train.save_every=1")
    run_here(data, tmp_path / "run", *settings)
    assert "packs of at most 16,384 tokens and 48 tiles, activations kept (auto, from " in capsys.readouterr().err
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert plan["pack_budget"]["pack_tokens"] == 16384 and plan["pack_budget"]["free_bytes"] > 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]["train.pack_tokens"] == "auto"
    (tmp_path / "run" / "model" / "config.json").unlink()
    plan["pack_budget"] |= {"pack_tokens": 512, "pack_tiles": 3}
    (tmp_path / "run" / "plan.json").write_text(json.dumps(plan))
    run_here(data, tmp_path / "run", *settings, resume=True)
    assert "packs of at most 512 tokens and 3 tiles" in capsys.readouterr().err


def test_rounding_up_over_a_pack_on_a_gpu_is_said_with_its_place(data: dict[str, Path]) -> None:
    """A row that fits train.pack_tokens, but not in whole attention blocks, is refused with its file and line."""
    settings = {"train.pack_tokens": 100, "train.max_steps": 1}
    prepared = prepare(Request("nano", (data["field"],), (), None, None, make_recipe(settings), accept_test=False))
    with pytest.raises(DataError, match=r"field\.jsonl:\d+: its tokens in whole attention blocks are 128 places, more than"):
        budget.resolve(prepared, one_billion, World(0, 1, torch.device("cuda")))


@pytest.mark.slow
def test_packs_computed_again_have_the_same_losses(data: dict[str, Path], tmp_path: Path) -> None:
    """Activations computed again leave every loss as it was, to the last bit."""
    for word in ("no", "yes"):
        run_here(data, tmp_path / word, "train.max_steps=4", f"train.checkpoint_activations={word}")
    losses = [[row["loss"] for row in read_log(tmp_path / word) if "loss" in row] for word in ("no", "yes")]
    assert losses[0] == losses[1]


def test_free_memory_is_that_of_the_machine() -> None:
    """On a CPU no more than the machine says is available, and something."""
    available = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
    found = budget.free_bytes(torch.device("cpu"))
    assert found is not None and 0 < found < 1.2 * 1024 * int(available.split()[1])


def test_out_of_memory_names_step_peaks_and_knobs() -> None:
    """What did not fit is told by its tokens and tiles, its predicted and its real peak, and settings with concrete values that
    fit better; one record computed again has none of them left."""
    sizes, rule = RowSizes(*(np.full(4, count) for count in (1000, 500, 12, 20))), PackRule(16384, 48)
    packs = [[Piece(number, Tree(number, 0, (number,))) for number in range(4)]]
    recipe = dataclasses.replace(KEPT, pack_tokens=16384, pack_tiles=48)
    said = budget.explain(5, packs, sizes, rule, recipe, one_billion, World(0, 1, torch.device("cpu")))
    found = one_billion(recipe, memory.pack_shape(packs[0], sizes, rule)).total / GB
    assert said.startswith(
        "step 5 (6,000 tokens, 48 tiles; its largest pack 6,000 places, 48 tiles) does not fit the memory of"
    )
    assert f"predicted peak {found:.2f} GiB" in said and " GiB held when it failed" in said
    assert "set train.checkpoint_activations=yes (predicted " in said
    assert " or train.pack_tokens=3000 train.pack_tiles=24 (predicted " in said
    assert "go on with --resume: the run's numbers stay as they are" in said
    last = budget.explain(
        5, [packs[0][:1]], sizes, rule, dataclasses.replace(AGAIN), one_billion, World(0, 1, torch.device("cpu"))
    )
    assert "start a run with a smaller data.max_tiles, train.optimizer=adamw8bit or train.stage=lora" in last


def test_only_exhausted_memory_is_explained() -> None:
    """The allocators' errors are told from other faults of a step."""
    fault = (
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: {}: you tried to allocate 8 bytes. Error code 12"
    )
    on_cpu = [RuntimeError(fault.format(reason)) for reason in ("can't allocate memory", "not enough memory")]
    of_onednn = RuntimeError("could not create a primitive")
    unsupported = RuntimeError("could not create a primitive descriptor for the matmul primitive. Run workload with ...")
    out_of_gpu = torch.OutOfMemoryError("CUDA out of memory")
    assert all(map(budget.is_exhausted, (*on_cpu, of_onednn, MemoryError(), out_of_gpu)))
    assert not any(map(budget.is_exhausted, (unsupported, RuntimeError("shapes differ"), ValueError("not enough memory"))))


LIMITED = """
import resource, sys
import torch, transformers, timm, datasets, albumentations
from adapt.train import run
from adapt.cli import main
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize"))
limit = used * 1024 + 450 * 2**20  # above what compiling the kernels takes: LLVM, out of memory, ends the process itself
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main())
"""


@pytest.mark.slow
def test_a_step_that_does_not_fit_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real run in a process with too little address space: exit code 1, the step and the knobs in the last line of stderr."""
    monkeypatch.setenv("ADAPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = write_data(tmp_path, "field", 64, 0)
    settings = ["train.samples_per_step=168", "train.max_branches=1", "train.pack_tokens=16384", "train.pack_tiles=200"]
    settings += ["data.workers=0", "train.tensorboard=no", "train.checkpoint_activations=no"]
    command = [sys.executable, "-c", LIMITED, "finetune", "--model", "nano", "--data", str(data)]
    command += ["--output", str(tmp_path / "run"), *(part for setting in settings for part in ("--set", setting))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1, done.stderr
    assert "step 1 (" in last and "does not fit the memory of cpu: predicted peak" in last
    assert "set train.checkpoint_activations=yes (predicted " in last
    assert "Traceback" not in done.stderr


def test_a_run_of_one_record_a_pack_trains(data: dict[str, Path], tmp_path: Path) -> None:
    """auto makes room for the largest record; a budget that is set and too small names the row."""
    done = finetune(model="nano", data=[data["field"]], output=tmp_path / "a", dry_run=True, set=("train.pack_tokens=auto",))
    assert done["pack_budget"]["pack_tokens"] >= done["largest_pack"]["places"]
    with pytest.raises(DataError, match=r"field\.jsonl:1: .* more than train\.pack_tokens=20"):
        finetune(model="nano", data=[data["field"]], output=tmp_path / "a", dry_run=True, set=("train.pack_tokens=20",))


def test_the_table_of_the_docs_is_what_the_script_prints() -> None:
    """docs/memory.md holds the table of benchmarks/memory.py; 1b is tuned in full on a card of 24 GB."""
    printed = table()
    assert printed in (Path(__file__).parents[2] / "docs" / "memory.md").read_text()
    assert "| 1b | 24 GB | adamw | computed again | " in printed
