"""The loop: for each step of the plan its packs, one update, a line in the log; measuring and saving on the way.

``step`` counts finished steps: the row of the first says 1, and ``step-000001`` is the checkpoint after it.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from adapt import progress
from adapt.data.loader import load_packs
from adapt.data.plan import Tree
from adapt.errors import DataError, Stopped
from adapt.train.budget import explain, is_exhausted
from adapt.train.speed import Speed
from adapt.train.state import Run
from adapt.train.update import update
from adapt.train.validation import forgets, validate


def train(run: Run) -> None:
    """Run the plan from ``run.step`` to its end, saving and measuring on the way.

    Raises Stopped after a clean stop. A signal in the last step is left in ``run.stop_signal``: the run is finished first.
    """
    recipe = run.recipe.train
    packs = [run.requests(run.plan.steps[number], number) for number in range(run.step, len(run.plan))]
    batches = load_packs(
        run.reader,
        [request for step in packs for request in step],
        workers=run.recipe.data.workers,
        prefetch=run.recipe.data.prefetch,
        pin=run.world.device.type == "cuda",
    )
    every = recipe.validate_every or max(1, len(run.plan) // 10)
    run.model.train()
    # Closed at once, whatever ends the loop: workers that are left to the end of the process are asked in vain, and waited for.
    with (
        contextlib.closing(batches),
        _clean_stop(run),
        progress.meter("step", len(run.plan), run.step) as shown,
    ):
        speed = Speed()
        for step in packs:
            if _should_end(run):
                reason = "the held-out domain loss is flat and the general one rises"
                progress.say(f"step {run.step:,}: {reason}; the run ends here")
                run.log.write({"step": run.step, "event": "early stop", "reason": reason})
                break
            with _memory(run, run.plan.steps[run.step]):
                row = update(run, batches, len(step))
            run.step += 1
            run.log.write({"step": run.step} | row)
            if "event" not in row:
                shown(run.step, speed.text(row))
            last = run.step == len(run.plan)
            if run.step % every == 0 or last:
                validate(run)
            stopping = max(run.world.gathered(run.stop_signal))
            if run.step % recipe.save_every == 0 or last or stopping or _should_end(run):
                run.save(run)
            if stopping and not last:
                raise Stopped(stopping, "the step is whole and saved; go on with --resume")
            run.stop_signal = run.stop_signal or stopping


def _should_end(run: Run) -> bool:
    """Whether the run was asked to end early, and it is time."""
    recipe = run.recipe.train
    return recipe.early_stop == "forgetting" and forgets(run.validations, recipe.patience)


@contextlib.contextmanager
def _memory(run: Run, trees: tuple[Tree, ...]) -> Iterator[None]:
    """Say what did not fit the device, and which knobs make it smaller."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_exhausted(error):
            raise
        packs = [request.pieces for request in run.requests(trees, run.step)]
        message = explain(run.step + 1, packs, run.sizes, run.rule, run.recipe.train, run.predicted, run.world)
        raise DataError(message) from error


@contextlib.contextmanager
def _clean_stop(run: Run) -> Iterator[None]:
    """The first SIGTERM or Ctrl-C finishes the step and saves; the second acts as if nobody listened."""

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        run.stop_signal = number
        progress.say("stopping after this step; once more to stop at once")
        for each in before:
            signal.signal(each, before[each])

    # Handlers can be set in the main thread only; elsewhere the caller's stay.
    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
