"""How the command behaves, whatever the verb: options of several values, nearest matches, lines to paste, exit codes.

Exit codes: 0 done, 1 data or training fault, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM. The last line on stderr is the error.
"""

import logging
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import click

from adapt import progress
from adapt.errors import DataError, SharedError, Stopped, UsageError, unknown

DONE, FAULT, WRONG_USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


class Verb(click.Command):
    """A command whose repeatable options also take several values at once: ``--data a.jsonl b.jsonl``.

    ``paste`` gives each needed parameter an example value, in which ``{domain}`` stands for the domain that was given; a
    missing parameter is answered with what was typed, completed by these. ``unless`` names the options that make up for
    one: a run that is resumed knows its model.
    """

    def __init__(
        self, *args: Any, paste: Mapping[str, str], example: str, unless: Mapping[str, Sequence[str]], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.paste = paste
        self.unless = unless
        self.epilog = f"\b\nExample:\n  {example}"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spread ``--data a b`` to ``--data a --data b``, and name everything that is missing at once."""
        args = self._spread(args)
        if not ctx.resilient_parsing and not set(args) & set(self.get_help_option_names(ctx)):
            given = self._given(ctx, args)
            missing = [param for param in self.params if self._needs(param, given) and not given.get(param.name or "")]
            if missing:
                raise UsageError(self._missing(missing, given))
        return super().parse_args(ctx, args)

    def _needs(self, param: click.Parameter, given: Mapping[str, Any]) -> bool:
        return param.name in self.paste and not any(given.get(other) for other in self.unless.get(param.name, ()))

    def _given(self, ctx: click.Context, args: Sequence[str]) -> dict[str, Any]:
        parsed, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        return {name: value for name, value in parsed.items() if isinstance(value, str | tuple | list | bool)}

    def _spread(self, args: Sequence[str]) -> list[str]:
        repeatable = {
            name for param in self.params if isinstance(param, click.Option) and param.multiple for name in param.opts
        }
        spread: list[str] = []
        current, has_value = "", False
        for position, argument in enumerate(args):
            if argument == "--":
                return spread + list(args[position:])
            if argument.startswith("-") and len(argument) > 1:
                name, equals, _ = argument.partition("=")
                current, has_value = (name if name in repeatable else ""), bool(equals)
            elif current and has_value:
                spread.append(current)
            else:
                has_value = True
            spread.append(argument)
        return spread

    def _missing(self, missing: Sequence[click.Parameter], given: Mapping[str, Any]) -> str:
        names = [param.opts[0] if isinstance(param, click.Option) else param.human_readable_name for param in missing]
        listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        return f"'adapt {self.name}' needs {listed}; for example: {self._line_to_paste(given)}"

    def _line_to_paste(self, given: Mapping[str, Any]) -> str:
        words = ["adapt", self.name or ""]
        fill = {"domain": given.get("domain") or self.paste.get("domain", "my-field")}
        for param in self.params:
            value = given.get(param.name or "")
            if not value and self._needs(param, given):
                value = self.paste[param.name or ""].format_map(fill).split(" ")
            if not value:
                continue
            if isinstance(param, click.Option):
                words.append(param.opts[0])
            if value is not True:
                words += [shlex.quote(str(each)) for each in (value if isinstance(value, tuple | list) else [value])]
        return " ".join(words)


class Verbs(click.Group):
    """The group of all verbs: in the order in which the work goes, with the nearest match for one that does not exist."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of definition."""
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb. Raises UsageError with the nearest match."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise unknown("verb", args[0], self.commands)
        return super().resolve_command(ctx, args)


class _Interrupted(KeyboardInterrupt):
    """Ctrl-C. Where Python's own exception leaves a text that is executed (dataclasses are made so), ``python -m adapt`` ends
    by SIGINT, whatever its exit code (CPython, ``run_eval_code_obj``)."""


def _terminate(signum: int, frame: Any) -> NoReturn:
    raise SystemExit(TERMINATED)


def _interrupt(signum: int, frame: Any) -> NoReturn:
    raise _Interrupted


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def fail(message: str, code: int) -> int:
    """Say the error as the last line on stderr, and return the exit code. Of several processes each says which it is."""
    process = f"process {os.environ['RANK']}: " if progress.is_quiet() else ""
    print(f"{process}error: {message}", file=sys.stderr, flush=True)
    return code


def _fail_once(message: str, code: int) -> int:
    """The same for what all processes raise: the first says it."""
    return code if progress.is_quiet() else fail(message, code)


def _usage_message(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption) and error.ctx:
        options = [name for param in error.ctx.command.get_params(error.ctx) for name in param.opts if name.startswith("--")]
        return str(unknown(f"option of '{error.ctx.command_path}'", error.option_name, options))
    message = error.format_message().rstrip(".")
    verb = error.ctx.command_path if error.ctx else "adapt"
    return f"{message[:1].lower()}{message[1:]}; see '{verb} --help'"


def run(group: click.Group, args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every fault becomes one line."""
    try:
        signal.signal(signal.SIGTERM, _terminate)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background a shell has it ignored
            signal.signal(signal.SIGINT, _interrupt)
        # transformers imports torchao where it is installed, and torch says something about that to its developers
        logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
        code = group.main(args=None if args is None else list(args), prog_name="adapt", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else DONE
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help() if error.ctx else "", file=sys.stderr)
        return fail("no verb given; 'adapt demo --output runs/demo' is a good first one", WRONG_USAGE)
    except click.UsageError as error:
        return fail(_usage_message(error), WRONG_USAGE)
    except UsageError as error:
        return fail(_one_line(error), WRONG_USAGE)
    except SharedError as error:
        return _fail_once(_one_line(error), FAULT)
    except DataError as error:
        return fail(_one_line(error), FAULT)
    except Stopped as stop:
        return _fail_once(_one_line(stop), 128 + stop.number)
    except (KeyboardInterrupt, click.Abort):
        return fail("interrupted", INTERRUPTED)
    except SystemExit as stop:
        return _stopped(stop)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what reads our output has enough; stay quiet
        return FAULT
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}" if error.filename else _one_line(error), FAULT)
    except Exception as error:  # noqa: BLE001  the last line must be an error whatever happened; the traceback is a bug report
        traceback.print_exc()
        return fail(f"unexpected {type(error).__name__}: {_one_line(error)}; this is a fault of adapt, please report it", FAULT)


def _stopped(stop: SystemExit) -> int:
    code = stop.code if isinstance(stop.code, int) else DONE if stop.code is None else FAULT
    if code == TERMINATED:
        return fail("stopped by SIGTERM", TERMINATED)
    return fail(str(stop.code), code) if isinstance(stop.code, str) else code


def verb(
    group: Verbs, *, example: str, paste: Mapping[str, str], short_help: str, unless: Mapping[str, Sequence[str]] | None = None
) -> Callable[..., Any]:
    """Add a verb to the group; see Verb."""
    return group.command(cls=Verb, example=example, paste=paste, short_help=short_help, unless=unless or {})
