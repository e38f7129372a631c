"""The command line: a subcommand for every task (made from its Options) and for every file in commands/.

Whatever goes wrong with the input is one line on stderr, `error: ...`, and exit status 2; Ctrl-C is 130.
"""

import errno
import importlib
import inspect
import os
import pkgutil
import re
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from pydantic.fields import FieldInfo

from . import __version__, commands, tasks
from .errors import Error, one_of
from .monitor import InterruptedRun, Monitor
from .options import choices
from .report.monitor import ReportMonitor

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


class NamingGroup(click.Group):
    """A group that answers an unknown command with those there are."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and args[0] not in (names := self.list_commands(ctx)):
            raise one_of("command", args[0], names)
        return super().resolve_command(ctx, args)


class _Group(NamingGroup):
    """Finds subcommands by scanning tasks/ and commands/; imports only the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        own = [found.name for found in pkgutil.iter_modules(commands.__path__)]
        return sorted([*tasks.names(), *own])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        if cmd_name in tasks.names():
            return task_command(tasks.load(cmd_name))
        command: click.Command = importlib.import_module(f"{commands.__name__}.{cmd_name}").command
        return command


@click.command(cls=_Group, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="stylogram")
def stylogram() -> None:
    """Pictures made by optimising them against a convolutional network's features."""


def task_command(module: types.ModuleType) -> click.Command:
    """The subcommand of a task: its ARGUMENTS, its Options' fields, and where the results go.

    A task with `REPORT = True` writes a directory by itself and returns a Report; others return a picture's Result.
    """
    report = getattr(module, "REPORT", False)
    arguments = [
        click.Argument([name], nargs=-1 if many else 1, required=True) for name, many in module.ARGUMENTS.items()
    ]
    fields = [option(name, field) for name, field in module.Options.model_fields.items()]

    def call(
        output: str, quiet: bool, trace: str | None = None, plot: str | None = None, save_every: int = 0, **given: Any
    ) -> None:
        inputs = [list(value) if isinstance(value, tuple) else value for value in map(given.pop, module.ARGUMENTS)]
        chosen = {name: value for name, value in given.items() if value not in (None, ())}
        function = getattr(module, module.__name__.rpartition(".")[2])
        if "output" in inspect.signature(function).parameters:  # what it writes beside the picture is named after it
            chosen["output"] = output
        _check_apart([path for path in (output, trace, plot) if path], [*inputs, *given.values()])
        _check_series(output, save_every, given.get("zoom_frames"), [*inputs, *given.values()])
        if report:
            ReportMonitor(quiet).run(lambda callback: function(*inputs, callback=callback, **chosen))
            return
        monitor = Monitor(output, trace, plot, save_every, quiet)
        monitor.run(lambda callback: function(*inputs, callback=callback, **chosen))

    summary = (module.__doc__ or "").partition("\n\n")[0].partition(": ")[2]
    return click.Command(
        module.__name__.rpartition(".")[2],
        params=[*arguments, *(_report_outputs() if report else _outputs()), *fields],
        callback=call,
        help=summary[:1].upper() + summary[1:],
        context_settings=_CONTEXT,
    )


def _check_apart(outputs: Iterable[str], inputs: Iterable[Any]) -> None:
    """An output over one of the inputs would lose it."""
    written = {os.path.realpath(path): path for path in outputs}
    for path in _texts(inputs):
        if os.path.realpath(path) in written:
            name = written[os.path.realpath(path)]
            raise Error(f"the output {name} is one of the inputs; another file is accepted")


def _check_series(output: str, save_every: int, frames: Any, inputs: Iterable[Any]) -> None:
    """So would pictures that are numbered: those of --save-every, and a zoom's frames."""
    out = Path(os.path.realpath(output))
    saved = rf"(-s\d+)?-\d{{5,}}{re.escape(out.suffix)}" if save_every else None
    zoom = r"-frame\d{4,}\.png" if frames not in (None, "0") else None
    for form in filter(None, (saved, zoom)):
        for path in _texts(inputs):
            there = Path(os.path.realpath(path))
            if there.parent == out.parent and re.fullmatch(re.escape(out.stem) + form, there.name):
                raise Error(
                    f"{path} is one of the inputs, and one of the pictures beside {output}; accepted: another -o"
                )


def _texts(values: Iterable[Any]) -> Iterator[str]:
    """Every text among the values of arguments and options: a file that is read is one of them."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | tuple):
            yield from _texts(value)


def not_empty(ctx: click.Context, parameter: click.Parameter, value: str) -> str:  # noqa: ARG001 -- click's
    """An empty output, as of a shell's variable that is not set, is not the present directory."""
    if not value:
        raise Error("output: a name is accepted, got an empty one")
    return value


def _outputs() -> list[click.Option]:
    return [
        click.Option(["-o", "--output"], required=True, metavar="OUT", help="the picture to write", callback=not_empty),
        click.Option(["--trace"], metavar="FILE.jsonl", help="write the losses of every iteration, JSON lines"),
        click.Option(["--plot"], metavar="FILE.png", help="write a plot of the losses (needs stylogram[plot])"),
        click.Option(
            ["--save-every"], type=click.IntRange(min=0), default=0, metavar="K", help="also write OUT-K, OUT-2K, ..."
        ),
        click.Option(["--quiet"], is_flag=True, help="print nothing but errors"),
    ]


def _report_outputs() -> list[click.Option]:
    return [
        click.Option(
            ["-o", "--output"], required=True, metavar="REPORT", help="the directory to write", callback=not_empty
        ),
        click.Option(["--quiet"], is_flag=True, help="print nothing but errors"),
    ]


def option(name: str, field: FieldInfo) -> click.Option:
    """An option that hands its text on: pydantic reads it, so that Python and the command line accept the same."""
    if field.annotation is bool:
        return click.Option([f"--{name.replace('_', '-')}", name], is_flag=True, help=field.description)
    pair = "mask" in name
    return click.Option(
        [f"--{name.rstrip('_').replace('_', '-')}", name],  # class_ is --class
        help=field.description + _default(field) if field.description else None,
        metavar=_metavar(field),
        required=field.is_required(),
        nargs=2 if pair else 1,
        multiple=pair,
    )


def _default(field: FieldInfo) -> str:
    return f" [{field.default}]" if field.default not in (None, ()) and not field.is_required() else ""


def _metavar(field: FieldInfo) -> str | None:
    """The accepted words of a choice, else the field's title."""
    return "|".join(choices(field)) or field.title


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        status = stylogram.main(argv, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return 0
    except click.exceptions.NoSuchOption as error:
        return _fail(_unknown_option(error))
    except click.ClickException as error:
        return _fail(error.format_message())
    except Error as error:
        return _fail(str(error))
    except MemoryError:
        return _fail("out of memory; a smaller --size, --scales or --history takes less")
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever read our output has gone: nobody is left to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        return _fail(str(error))
    except InterruptedRun as interruption:
        print(interruption, file=sys.stderr)
        return 130
    except click.Abort:
        print("interrupted: nothing was made yet", file=sys.stderr)
        return 130
    return status if isinstance(status, int) else 0


def _unknown_option(error: click.exceptions.NoSuchOption) -> str:
    options = (
        [] if error.ctx is None else [name for part in error.ctx.command.get_params(error.ctx) for name in part.opts]
    )
    hint = "" if error.option_name.startswith("--") else "; a file whose name begins with - is given as ./-NAME"
    return f"{one_of('option', error.option_name, options)}{hint}"


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2
