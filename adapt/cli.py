"""The ``adapt`` command: a thin skin over ``adapt.verbs``, one function per verb.

Nothing heavy is imported before a verb runs, so that ``adapt --help`` answers at once.
"""

from pathlib import Path
from typing import Any

import click

from adapt import __version__, command

PATH = click.Path(path_type=Path)
# What verbs.finetune answers besides numbers for people: plan.json and log.jsonl keep them.
_FOR_MACHINES = {"digest", "data_fingerprint", "notes"}
GIVEN = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

images_option = click.option(
    "--images", type=PATH, metavar="ROOT", help="Folder that picture paths start from, instead of the recorded one."
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Seed of every draw.")
set_option = click.option(
    "--set", "set", multiple=True, metavar="KEY=VALUE...", help="Settings of the recipe, e.g. train.max_steps=200."
)
option_option = click.option(
    "--option", multiple=True, metavar="KEY=VALUE...", help="Options of the task or benchmark; see 'adapt tasks'."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else on stdout.")
MODELS = "A folder, a hub id, a finished run, or a preset: nano, 1b, 2b, 4b."
model_option = click.option("--model", required=True, metavar="MODEL", help=MODELS)


@click.group(cls=command.Verbs, context_settings=GIVEN)
@click.version_option(__version__, "-V", "--version", prog_name="adapt", message="%(prog)s %(version)s")
def adapt() -> None:
    """Take a small vision-language model into a professional field without losing what it knew.

    'adapt demo --output runs/demo' shows all of it in a few minutes. Results go to stdout, progress and errors to stderr.
    Exit codes: 0 done, 1 data or training fault, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM.

    \b
    Completion of verbs and options: eval "$(_ADAPT_COMPLETE=bash_source adapt)" (or zsh_source, fish_source)
    """


@command.verb(
    adapt, paste={}, example="adapt tasks classify", short_help="every task and benchmark, and the layout each expects"
)
@click.argument("name", required=False, metavar="[NAME]")
def tasks(name: str | None) -> None:
    """List every task and benchmark, with the input layout each expects and what one sample is.

    With NAME: that task or benchmark alone, its options and an example.
    """
    from adapt import show, verbs

    rows = verbs.tasks(name)
    show.show_tasks(rows) if name is None else show.show_task(rows)


@command.verb(
    adapt,
    paste={"domain": "remote_sensing", "output": "data/{domain}"},
    example="adapt sample --domain remote_sensing --output data/remote_sensing",
    short_help="write a small generated dataset in native layouts",
)
@click.option("--domain", required=True, metavar="NAME", help="The field, e.g. remote_sensing or general.")
@click.option("--output", required=True, type=PATH, metavar="DIR", help="Folder to write.")
@seed_option
@click.option("--size", type=int, help="Number of pictures (default: the field's own, a few hundred at most).")
def sample(**given: Any) -> None:
    """Write a small generated dataset in the native layouts of a field's datasets."""
    from adapt import show, verbs

    show.show_samples(verbs.sample(**given))


@command.verb(
    adapt,
    paste={"task": "classify", "input": "pictures", "output": "train.jsonl"},
    example="adapt convert --task classify --input pictures --output train.jsonl",
    short_help="a dataset as it was published -> chat JSONL",
)
@click.option("--task", required=True, metavar="TASK", help="What to make of the dataset; 'adapt tasks' lists all.")
@click.option("--input", required=True, metavar="PATH", help="The dataset as it was published: a folder or a file.")
@click.option("--output", required=True, type=PATH, metavar="F.jsonl", help="Chat JSONL to write; its manifest lies beside it.")
@images_option
@click.option("--split", metavar="SPLIT", help="Only this split (default: all, each row saying its own in meta.split).")
@seed_option
@click.option("--limit", type=int, metavar="N", help="A seeded random N samples of the chosen split.")
@click.option("--workers", type=int, metavar="N", help="Processes that read pictures (default: one per core).")
@click.option(
    "--max-bad", type=int, default=0, show_default=True, metavar="N", help="Rejected samples to accept before failing."
)
@option_option
def convert(**given: Any) -> None:
    """Turn a dataset as it was published into chat JSONL.

    Nothing is dropped silently: rejected samples stand in F.rejected.jsonl with their place and reason.
    """
    from adapt import show, verbs

    manifest = verbs.convert(**given)
    show.show_values(manifest.get("counts", manifest), str(given["output"]))


@command.verb(
    adapt,
    paste={"files": "train.jsonl"},
    example="adapt check train.jsonl --against test.jsonl --model 1b",
    short_help="find faults, leaks and costs before a GPU is touched",
)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="F.jsonl...")
@images_option
@click.option(
    "--against",
    multiple=True,
    type=PATH,
    metavar="TEST.jsonl...",
    help="Test rows whose pictures must not be among the files' own.",
)
@click.option("--model", metavar="MODEL", help="Predict tiles, tokens and operations for this preset, folder or run.")
@click.option("--gpu", metavar="NAME", help="With --model: predict memory and hours on it, e.g. H100, A100, RTX4090.")
@click.option("--decode", is_flag=True, help="Decode every picture whole, instead of reading headers and ends.")
@click.option("--similar", is_flag=True, help="Find test pictures that were recompressed or resized, too; decodes all.")
@json_option
@click.pass_context
def check(ctx: click.Context, files: tuple[Path, ...], as_json: bool, **given: Any) -> None:
    """Find every fault in rows and pictures, leaked test pictures, mixed box scales and over-long rows.

    All bad rows are listed, not only the first. The exit code is 1 where there is a fault.
    """
    from adapt import verbs
    from adapt.check.show import show_findings
    from adapt.show import counted

    found = verbs.check(files, **given)
    show_findings(found, as_json=as_json)
    if found["faults"]:
        ctx.exit(command.fail(f"{counted(len(found['faults']), 'fault')} in {counted(found['rows'], 'row')}", command.FAULT))


@command.verb(
    adapt,
    paste={"files": "train.jsonl", "output": "gallery.html"},
    example="adapt gallery train.jsonl --output gallery.html",
    short_help="one HTML page to look at records with, boxes drawn",
)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="F.jsonl...")
@click.option("--output", required=True, type=PATH, metavar="G.html", help="The page to write.")
@images_option
@click.option(
    "--predictions", type=PATH, metavar="P.jsonl", help='Answers to show beside the truth: {"id": ..., "answer": ...}.'
)
@click.option("--limit", type=int, default=500, show_default=True, metavar="N", help="A seeded random N records of more.")
@seed_option
def gallery(files: tuple[Path, ...], **given: Any) -> None:
    """Write one HTML page to look at records with: pictures, boxes and outlines, questions, answers.

    Nothing is fetched when it is opened. Filter by task, source, split, answer and right or wrong; search in all text.
    """
    from adapt import show, verbs

    show.show_lines(str(verbs.gallery(files, **given)))


@command.verb(
    adapt,
    paste={
        "file": "train.jsonl",
        "to": "zh",
        "output": "train.zh.jsonl",
        "endpoint": "http://127.0.0.1:8000/v1",
        "model": "NAME",
    },
    example="adapt translate train.jsonl --to zh --output train.zh.jsonl --endpoint http://127.0.0.1:8000/v1 --model NAME",
    short_help="chat JSONL in another language, through a language model's endpoint",
)
@click.argument("file", required=True, type=PATH, metavar="F.jsonl")
@click.option("--to", required=True, metavar="LANGUAGE", help="The language to translate into: zh, en, de, fr, es, ja, ...")
@click.option(
    "--output", required=True, type=PATH, metavar="G.jsonl", help="Chat JSONL to write; pictures stay where they are."
)
@click.option(
    "--endpoint", required=True, metavar="URL", help="An OpenAI-compatible address; its key is taken from $ADAPT_API_KEY."
)
@click.option("--model", required=True, metavar="NAME", help="The model's name at the endpoint.")
@click.option("--workers", type=int, default=8, show_default=True, metavar="N", help="Requests at a time.")
@click.option("--max-bad", type=int, default=0, show_default=True, metavar="N", help="Failed rows to accept before failing.")
@click.option("--resume", is_flag=True, help="Go on with a translation that was stopped, or ask again for rows that failed.")
def translate(file: Path, **given: Any) -> None:
    """Translate the messages of chat JSONL through any OpenAI-compatible endpoint.

    Pictures, boxes, coordinates and special tokens cannot change. Rows that fail stand in G.rejected.jsonl with their reason.
    """
    from adapt import show, verbs

    manifest = verbs.translate(file, **given)
    show.show_values(manifest["counts"], str(given["output"]))


@command.verb(
    adapt,
    paste={"model": "1b", "data": "{domain}.jsonl", "output": "runs/{domain}"},
    example="adapt finetune --domain driving --model 1b --data driving.jsonl --general general.jsonl --output runs/driving",
    short_help="tune a model on chat JSONL, general data mixed in",
    unless={"model": ("config", "resume"), "data": ("config", "resume")},
)
@click.option("--domain", metavar="NAME", help="Whose recipe to use (default: the general one).")
@click.option("--model", metavar="MODEL", help=f"{MODELS}  [required, or --config, or --resume]")
@click.option(
    "--data",
    multiple=True,
    type=PATH,
    metavar="F.jsonl...",
    help="Chat JSONL of the field.  [required, or --config, or --resume]",
)
@click.option(
    "--general", multiple=True, type=PATH, metavar="G.jsonl...", help="General chat JSONL that keeps old abilities alive."
)
@click.option("--general-ratio", type=float, metavar="R", help="General samples per domain sample (default: the recipe's).")
@click.option("--output", required=True, type=PATH, metavar="RUN", help="Folder of the run: log, checkpoints, model, report.")
@images_option
@click.option("--resume", is_flag=True, help="Go on from the last whole checkpoint in RUN.")
@click.option("--dry-run", is_flag=True, help="Print the plan (steps, tokens, tiles, memory, time) and stop.")
@click.option("--config", type=PATH, metavar="C", help="Start the same run again from its config.json.")
@click.option("--accept-test", is_flag=True, help="Train on a test split all the same.")
@click.option("--accept-new-data", is_flag=True, help="Resume although the data changed since the run began.")
@set_option
def finetune(**given: Any) -> None:
    """Tune a model on chat JSONL, all of it or some parts, mixed with general data in a fixed ratio.

    Trains on rows whose split is train or not given, measures on val, never touches test. RUN/model loads in transformers.
    Length is one epoch unless --set train.max_steps=N.
    """
    from adapt import show, verbs

    done = verbs.finetune(**given)
    if done:  # of several processes the first has something to show
        show.show_values({name: value for name, value in done.items() if name not in _FOR_MACHINES}, str(given["output"]))


@command.verb(
    adapt,
    paste={"benchmark": "vqa", "model": "runs/my-field", "data": "test.jsonl", "output": "scores"},
    example="adapt evaluate --benchmark vqa --model runs/driving --data driving.jsonl --output scores/driving",
    short_help="answer a benchmark's questions and score the answers",
)
@click.option("--benchmark", required=True, metavar="NAME", help="The protocol; 'adapt tasks' lists all.")
@click.option("--model", required=True, metavar="MODEL", help=f"{MODELS} With --engine URL: the server's name for it.")
@click.option("--data", required=True, type=PATH, metavar="F.jsonl", help="Chat JSONL with the ground truth.")
@click.option("--output", required=True, type=PATH, metavar="DIR", help="Folder for predictions.jsonl and scores.json.")
@images_option
@click.option("--split", metavar="SPLIT", help="Which split to score (default: test*, else val, else all rows).")
@click.option(
    "--engine",
    default="native",
    show_default=True,
    metavar="native|URL",
    help="Who answers: the model loaded here, or an OpenAI-compatible server; its key is taken from $ADAPT_API_KEY.",
)
@set_option
@option_option
def evaluate(**given: Any) -> None:
    """Let a model answer a benchmark's questions and score the answers by the benchmark's own rule.

    A command that was killed goes on where it stopped when it is started again as it was.
    """
    from adapt import show, verbs

    show.show_scores(verbs.evaluate(**given))


@command.verb(
    adapt,
    paste={"benchmark": "vqa", "predictions": "predictions.jsonl", "references": "test.jsonl"},
    example="adapt score --benchmark vqa --predictions predictions.jsonl --references test.jsonl --json",
    short_help="score answers that were made anywhere",
)
@click.option("--benchmark", required=True, metavar="NAME", help="The protocol; 'adapt tasks' lists all.")
@click.option(
    "--predictions",
    required=True,
    type=PATH,
    metavar="P.jsonl",
    help='JSONL of {"id": ..., "answer": ...}, or the official file.',
)
@click.option(
    "--references",
    required=True,
    type=PATH,
    metavar="R.jsonl",
    help="Chat JSONL with the truth, or the official file of a benchmark that has one ('adapt tasks NAME').",
)
@click.option("--against", type=PATH, metavar="Q.jsonl", help="Another run's answers: adds a paired test of the headline.")
@click.option("--split", metavar="SPLIT", help="Which split of the references (default: as evaluate chooses).")
@option_option
@json_option
def score(as_json: bool, **given: Any) -> None:
    """Score answers that were made anywhere, without a model and without a network."""
    from adapt import show, verbs

    scores = verbs.score(**given)
    if as_json:
        show.show_json(scores)
    else:
        show.show_scores(scores)


@command.verb(
    adapt,
    paste={
        "model": "runs/base",
        "data": "{domain}.jsonl",
        "general": "general.jsonl",
        "benchmark": "vqa",
        "output": "sweeps/{domain}",
    },
    example="adapt sweep --domain driving --model 1b-general --data driving.jsonl --general general.jsonl --benchmark vqa "
    "--seeds 0,1,2 --output sweeps/driving",
    short_help="short runs that recommend a general ratio, or show how much data is needed",
)
@click.option("--domain", metavar="NAME", help="Whose recipe to use (default: the general one).")
@click.option(
    "--model", required=True, metavar="MODEL", help="The warm start of every run: a folder, a hub id or a finished run."
)
@click.option("--data", required=True, multiple=True, type=PATH, metavar="F.jsonl...", help="Chat JSONL of the field.")
@click.option("--general", required=True, multiple=True, type=PATH, metavar="G.jsonl...", help="General chat JSONL.")
@click.option("--benchmark", required=True, metavar="NAME", help="What the field is measured by; 'adapt tasks' lists all.")
@click.option("--output", required=True, type=PATH, metavar="SWEEP", help="Folder of the page, sweep.json and the runs.")
@click.option("--ratios", metavar="R,R...", help="General samples per domain sample of each run (default: 0,0.1,0.25,0.5,1).")
@click.option("--fractions", metavar="F,F...", help="Instead: parts of the domain data to train on, at one ratio.")
@click.option("--general-ratio", type=float, metavar="R", help="The ratio of --fractions (default: the recipe's).")
@click.option(
    "--general-benchmark", default="vqa", show_default=True, metavar="NAME", help="What general ability is measured by."
)
@click.option("--seeds", default="0", show_default=True, metavar="N,N...", help="Seeds of each run; results are pooled.")
@click.option(
    "--keep",
    type=float,
    default=0.98,
    show_default=True,
    metavar="SHARE",
    help="What must be left of the base's general score.",
)
@click.option(
    "--general-floor",
    type=float,
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Score without any ability: kept is then of the lead over it.",
)
@click.option(
    "--alphas",
    default="0.25,0.5,0.75",
    show_default=True,
    metavar="A,A...",
    help="Mixes of base and tuned weights to measure too; '' for none.",
)
@click.option("--test", type=PATH, metavar="T.jsonl", help="The field's test questions (default: those in --data).")
@click.option("--general-test", type=PATH, metavar="T.jsonl", help="General test questions (default: those in --general).")
@click.option("--split", metavar="SPLIT", help="Which split of the field to measure (default: as evaluate chooses).")
@click.option("--general-split", metavar="SPLIT", help="Which split of the general questions to measure.")
@images_option
@click.option("--keep-models", is_flag=True, help="Keep checkpoints, best weights and interpolated models as well.")
@set_option
@option_option
@click.option("--general-option", multiple=True, metavar="KEY=VALUE...", help="Options of the general benchmark.")
def sweep(**given: Any) -> None:
    """Tune one model several times, a little, to see what each ratio of general data gains and keeps.

    All runs see the same domain samples. Recommends the smallest ratio that keeps --keep of the base's general score with 95 %
    confidence. The same command goes on where it was stopped.
    """
    from adapt import show, verbs

    show.show_sweep(verbs.sweep(**given), str(given["output"] / "sweep.html"))


@command.verb(
    adapt,
    paste={"model": "runs/my-field", "output": "exported"},
    example="adapt export --model OpenGVLab/InternVL2-1B --format transformers --output internvl2-1b --verify",
    short_help="any model in any layout: transformers or official internvl_chat",
)
@model_option
@click.option(
    "--format", default="transformers", show_default=True, metavar="LAYOUT", help="transformers, or internvl (internvl_chat)."
)
@click.option("--output", required=True, type=PATH, metavar="DIR", help="Folder to write; must not hold anything yet.")
@click.option("--image-token-id", type=int, metavar="N", help="Id of <IMG_CONTEXT> for a folder without tokenizer files.")
@click.option("--verify", is_flag=True, help="Load what was written and compare logits, text and pixels with the source.")
@click.option("--data", type=PATH, metavar="F.jsonl", help="Records to verify with (default: made pictures).")
@images_option
def export(**given: Any) -> None:
    """Write any model in any layout: a run or an official checkpoint for transformers, or back into the official layout.

    Weights keep their stored type, bit for bit. No code of a model folder is ever run.
    """
    from adapt import show, verbs

    show.show_values(verbs.export(**given), str(given["output"]))


@command.verb(
    adapt,
    paste={"model": "runs/my-field"},
    example="adapt chat --model runs/driving --image front.jpg",
    short_help="ask a model from the terminal",
)
@model_option
@click.option("--image", multiple=True, type=PATH, metavar="P...", help="Pictures to ask about.")
@click.option("--video", type=PATH, metavar="V", help="A video file or a folder of frames to ask about, instead of pictures.")
@click.option("--frames", type=int, metavar="N", help="Frames of the video to show, 1 to 40 (default: 16).")
@click.option("--question", help="Ask this one and stop (default: ask from the terminal, until Ctrl-D).")
@click.option("--temperature", type=float, default=0.0, metavar="T", help="Draw answers at this temperature (default: greedy).")
@click.option(
    "--top-p", type=float, default=1.0, metavar="P", help="Draw from the likeliest tokens that share P (default: all)."
)
@click.option("--seed", type=int, default=0, metavar="N", help="Seed of the draws (default: 0).")
def chat(**given: Any) -> None:
    """Ask a model from the terminal: the quickest look at what a run learnt."""
    from adapt import show, verbs

    answer = verbs.chat(**given)
    if isinstance(answer, str):
        show.show_lines(answer or "(nothing)")


@command.verb(
    adapt,
    paste={"runs": "runs/my-field", "output": "report.html"},
    example="adapt report runs/driving --output report.html",
    short_help="one HTML page over one or more runs",
)
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")
@click.option("--output", required=True, type=PATH, metavar="R.html", help="The page to write.")
def report(runs: tuple[Path, ...], output: Path) -> None:
    """Write one HTML page over one or more runs: curves, scores beside published results, wrong answers with their pictures.

    A RUN may also be a folder of scores that no run wrote: 'adapt evaluate' of the model as it was before. The cards of the
    runs' models are brought up to date.
    """
    from adapt import show, verbs

    show.show_lines(str(verbs.report(runs, output=output)))


@command.verb(
    adapt,
    paste={"output": "runs/demo"},
    example="adapt demo --output runs/demo",
    short_help="the whole way on generated data, on a laptop CPU",
)
@click.option("--domain", default="remote_sensing", show_default=True, metavar="NAME", help="Whose generated data to use.")
@click.option(
    "--output", required=True, type=PATH, metavar="RUN", help="Folder for report.html, summary.json and the single runs."
)
def demo(**given: Any) -> None:
    """Walk the whole way on generated data, on a laptop CPU: convert, check, tune with and without general data, score."""
    from adapt import show, verbs

    show.show_demo(verbs.demo(**given), str(given["output"] / "report.html"))


def main() -> int:
    """Run the command line and return the exit code."""
    return command.run(adapt)
