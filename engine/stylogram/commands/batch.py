"""stylogram batch: many pictures, those of one shape and network together; what is done is not done again."""

from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from .. import batching
from ..cli import not_empty, option
from ..monitor import InterruptedRun
from ..tasks.stylize import Options

FAILED = 1  # the exit status when a job failed and the others are done
SHOWN = 20  # failures that are printed; the file has them all


def _call(quiet: bool, output: str, **given: Any) -> int:
    chosen = {name: value for name, value in given.items() if value not in (None, ())}
    screen = _Screen(quiet)
    try:
        with screen.bar:
            made = batching.batch(output=output, callback=screen.look, **chosen)
    except KeyboardInterrupt:
        raise InterruptedRun(f"interrupted: {screen.said()}; the same command goes on") from None
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    for place, error in made.failures[:SHOWN]:
        errors.print(f"failed: {place}: {error}", markup=False)
    if len(made.failures) > SHOWN:
        errors.print(f"failed: {len(made.failures) - SHOWN} more, all in {made.results}", markup=False)
    kept = f", {made.kept} were there" if made.kept else ""
    failed = f", {len(made.failures)} failed" if made.failures else ""
    pace = f", {3600 * made.done / made.seconds:.0f} an hour" if made.done else ""
    for note in made.notes:
        screen.console.print(note, markup=False)
    screen.console.print(f"{output}: {made.done} pictures made{kept}{failed}{pace}", markup=False)
    return FAILED if made.failures else 0


class _Screen:
    """The bar on stderr: pictures, pictures an hour, time left."""

    def __init__(self, quiet: bool) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self.bar = Progress(
            BarColumn(),
            TextColumn("{task.fields[said]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,  # in a file it would leave empty lines
        )
        self._task = self.bar.add_task("batch", total=None, said="reading")
        self._last: batching.Progress | None = None

    def look(self, progress: batching.Progress) -> None:
        if progress.waiting and not (self._last and self._last.waiting):
            self.console.print(f"waiting: {progress.waiting}", markup=False)
        self._last = progress
        ended = progress.kept + progress.done + progress.failed
        left = f", {_time(progress.left)} left" if progress.left is not None else ""
        said = f"{ended} of {progress.total} pictures, {progress.an_hour:.0f} an hour{left}"
        self.bar.update(self._task, total=progress.total, completed=ended + progress.running, said=said)

    def said(self) -> str:
        if self._last is None:
            return "nothing was made yet"
        return f"{self._last.kept + self._last.done} of {self._last.total} pictures are done"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


command = click.Command(
    "batch",
    params=[
        click.Argument(["jobs"], required=False),
        click.Option(
            ["-o", "--output"],
            callback=not_empty,
            required=True,
            metavar="DIR|URL",
            help="where the pictures and results.jsonl go",
        ),
        click.Option(["--content"], metavar="DIR", help="without JOBS: every picture below it ..."),
        click.Option(["--style"], metavar="DIR", help="... in the style of every picture below this"),
        click.Option(["--batch"], default="auto", metavar="auto|N", help="pictures optimised together [auto]"),
        click.Option(["--ray"], metavar="auto|ADDRESS", help="on the Ray cluster that runs here, or at HOST:PORT"),
        click.Option(["--workers"], metavar="N", help="with --ray: so many [as there is room for]"),
        click.Option(["--quiet"], is_flag=True, help="print nothing but errors"),
        *(option(name, field) for name, field in Options.model_fields.items()),
    ],
    callback=_call,
    help="Stylise many pictures: JOBS is a CSV or JSON-lines file with content, style, output and any option below.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
