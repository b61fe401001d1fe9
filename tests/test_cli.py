"""The ``adapt`` command as a shell sees it: exit codes, the last line on stderr, lines to paste, one JSON document."""

import json
import os
import resource
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from adapt.cli import adapt
from adapt.command import Verb

VERBS = list(adapt.commands)


def run(*args: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    command = [sys.executable, "-m", "adapt", *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, check=False
    )


def processor_s() -> float:
    """What ended child processes have taken of the processor so far, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def last_line(answer: subprocess.CompletedProcess[str]) -> str:
    """The last line on stderr, which is the error; no traceback may stand above it."""
    assert "Traceback" not in answer.stderr
    return answer.stderr.strip().splitlines()[-1]


def test_help_lists_every_verb_and_is_fast() -> None:
    """`adapt --help` takes less than 0.3 s of processor time (the fastest of three, as the machine may be busy)."""
    times = []
    for _ in range(3):
        started = processor_s()
        answer = run("--help")
        times.append(processor_s() - started)
    assert answer.returncode == 0
    assert 0 < min(times) < 0.3
    lines = answer.stdout.splitlines()
    assert all(any(line.split()[:1] == [verb] for line in lines) for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb_shows_an_example_that_parses(verb: str) -> None:
    """Every verb's help has one example, and the command itself accepts that line."""
    answer = run(verb, "--help")
    assert answer.returncode == 0
    example = answer.stdout.partition("Example:\n")[2].strip()
    words = shlex.split(example)
    assert words[:2] == ["adapt", verb]
    command = adapt.commands[verb]
    command.make_context(verb, words[2:], resilient_parsing=False)


@pytest.mark.slow
def test_the_example_and_the_line_to_paste_of_sample_run(tmp_path: Path) -> None:
    """`adapt sample` can be pasted from its help and from its error as it stands: the field has a generated sample."""
    example = run("sample", "--help").stdout.partition("Example:\n")[2].strip()
    pasted = last_line(run("sample")).partition("for example: ")[2]
    assert example == pasted
    answer = run(*shlex.split(example)[1:], "--size", "16", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert any((tmp_path / "data" / "remote_sensing").iterdir())


@pytest.mark.parametrize("verb", [verb for verb in VERBS if adapt.commands[verb].paste])
def test_a_missing_option_is_answered_with_a_line_to_paste(verb: str) -> None:
    """A verb without its options exits 2, names all that is missing, and prints a whole line that parses."""
    answer = run(verb)
    error = last_line(answer)
    assert answer.returncode == 2
    assert error.startswith(f"error: 'adapt {verb}' needs ")
    pasted = shlex.split(error.partition("for example: ")[2])
    assert pasted[:2] == ["adapt", verb]
    command = adapt.commands[verb]
    assert isinstance(command, Verb)
    command.make_context(verb, pasted[2:])
    for name in command.paste:
        param = next(param for param in command.params if param.name == name)
        shown = param.opts[0] if isinstance(param, click.Option) else str(param.metavar)
        assert shown in error.partition("; for example")[0]


def test_the_line_to_paste_keeps_what_was_typed() -> None:
    """`adapt finetune --domain driving` is completed to a line about driving."""
    error = last_line(run("finetune", "--domain", "driving", "--set", "train.seed=1"))
    line = "adapt finetune --domain driving --model 1b --data driving.jsonl --output runs/driving --set train.seed=1"
    assert error == f"error: 'adapt finetune' needs --model, --data and --output; for example: {line}"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["finetun"], 2, "unknown verb 'finetun': did you mean 'finetune'?"),
        (["check", "--deocde", "x"], 2, "did you mean '--decode'?"),
        (["finetune", "--model"], 2, "'--model' requires an argument"),
        (["convert", "--task", "a", "--input", "b", "--output", "c.jsonl", "--seed", "x"], 2, "not a valid integer"),
        (["convert", "--task", "clasify", "--input", ".", "--output", "c.jsonl"], 2, "did you mean 'classify'?"),
        (["check", "nowhere.jsonl"], 2, "error: nowhere.jsonl: no such file"),
        (["check", "nowhere/a.jsonl"], 2, "error: nowhere/a.jsonl: no such file; the folder 'nowhere' does not exist"),
        (["tasks", "drivelmm"], 2, "did you mean 'drivelm'?"),
        ([], 2, "no verb given"),
    ],
)
def test_exit_codes_and_the_last_line(args: list[str], code: int, message: str, tmp_path: Path) -> None:
    """Wrong usage is 2, bad data 1; the last line on stderr says what is wrong, with the nearest match."""
    answer = run(*args, cwd=tmp_path)
    assert answer.returncode == code
    assert last_line(answer).startswith("error: ")
    assert message in last_line(answer)
    assert answer.stdout == ""


def test_options_of_several_values_may_be_listed_or_repeated() -> None:
    """`--data a b`, `--data a --data b` and `--data=a b` are the same."""
    command = adapt.commands["finetune"]
    rest = ["--model", "m", "--output", "o", "--set", "a=1", "b=2"]
    for given in (["--data", "a", "b"], ["--data", "a", "--data", "b"], ["--data=a", "b"]):
        params = command.make_context("finetune", [*given, *rest]).params
        assert (params["data"], params["set"]) == ((Path("a"), Path("b")), ("a=1", "b=2"))


def test_check_prints_one_json_document_and_exits_1(tmp_path: Path) -> None:
    """With --json stdout is one document whatever was found, and the error stays on stderr."""
    (tmp_path / "bad.jsonl").write_text('{"id": 1}\n{nope\n')
    answer = run("check", "bad.jsonl", "--json", cwd=tmp_path)
    assert answer.returncode == 1
    assert [fault["where"] for fault in json.loads(answer.stdout)["faults"]] == ["bad.jsonl:1", "bad.jsonl:2"]
    assert last_line(answer) == "error: 2 faults in 2 rows"


def test_tasks_is_plain_text_where_no_terminal_is() -> None:
    """`adapt tasks` names each task with its layout, without box drawing or colours."""
    answer = run("tasks")
    assert answer.returncode == 0
    assert "classify" in answer.stdout
    assert not set(answer.stdout) & set("│┃━╭\x1b")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals(number: signal.Signals, code: int) -> None:
    """SIGTERM ends with 143 and Ctrl-C with 130, with one line and no traceback."""
    script = (
        "import time, click; from adapt import command\n"
        "group = command.Verbs('adapt')\n"
        "@command.verb(group, paste={}, example='adapt wait', short_help='wait')\n"
        "def wait():\n    print('ready', flush=True); time.sleep(60)\n"
        "raise SystemExit(command.run(group, ['wait']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == code
    assert errors.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in errors


def test_ctrl_c_in_an_executed_text_is_130_too(tmp_path: Path) -> None:
    """Python's own KeyboardInterrupt there, as while a dataclass is made, ends a module's process by the signal."""
    script = (
        "from adapt import command\n"
        "group = command.Verbs('adapt')\n"
        "@command.verb(group, paste={}, example='adapt wait', short_help='wait')\n"
        "def wait():\n    exec('import signal; signal.raise_signal(signal.SIGINT); print()')\n"
        "raise SystemExit(command.run(group, ['wait']))\n"
    )
    (tmp_path / "interrupted.py").write_text(script)
    command = [sys.executable, "-m", "interrupted"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])}
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (answer.returncode, answer.stderr.strip()) == (130, "error: interrupted")


@pytest.mark.parametrize(("number", "code", "said"), [(15, 143, "stopped by SIGTERM"), (2, 130, "interrupted")])
def test_a_signal_before_the_verb_is_one_line_too(number: int, code: int, said: str) -> None:
    """What comes when SIGTERM has just got its handler ends as what comes later does."""
    script = (
        "import signal; from adapt import cli, command\n"
        "put = signal.signal\n"
        f"signal.signal = lambda *given: (put(*given), signal.raise_signal({number}))\n"
        "raise SystemExit(command.run(cli.adapt, ['tasks']))\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr.strip()) == (code, f"error: {said}")


def test_a_reader_that_has_enough_is_no_fault_of_ours() -> None:
    """`adapt tasks | true` ends without a traceback."""
    command = f"{shlex.quote(sys.executable)} -m adapt tasks | true"
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in answer.stderr
    assert "Exception" not in answer.stderr


def test_completion() -> None:
    """The shell's completion knows the verbs and their options."""
    environment = {**os.environ, "_ADAPT_COMPLETE": "bash_complete", "COMP_WORDS": "adapt fine", "COMP_CWORD": "1"}
    answer = subprocess.run([sys.executable, "-m", "adapt"], capture_output=True, text=True, env=environment, check=False)
    assert answer.stdout.strip() == "plain,finetune"
