"""Monitor: what the command line does around a task: checks the outputs first, shows progress, writes the results."""

import importlib.util
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from . import driver, pictures
from .errors import Error
from .files import atomic, check_output
from .result import Result


class InterruptedRun(Exception):  # noqa: N818 -- Ctrl-C is no error
    """Ctrl-C; says what was kept."""


class Monitor:
    """Runs a task with a progress bar on stderr, and writes its picture, trace, plot and pictures in between.

    Outputs are checked before anything is computed. When the run ends early (Ctrl-C, a loss that is no number), what
    there is is written all the same, and the message says where.
    """

    def __init__(self, output: str, trace: str | None, plot: str | None, save_every: int, quiet: bool) -> None:
        self._output = Path(output)
        self._trace = Path(trace) if trace else None
        self._plot = Path(plot) if plot else None
        self._every = save_every
        self._quiet = quiet
        self._console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._bar = _bar(self._console)
        self._task: TaskID | None = None
        self._started = self._pressed = False
        self._check()

    def _check(self) -> None:
        named = [path for path in (self._output, self._trace, self._plot) if path]
        if len({os.path.realpath(path) for path in named}) < len(named):
            raise Error(f"the output, --trace and --plot must be different files, got {', '.join(map(str, named))}")
        check_output(self._output, pictures.WRITERS)
        if self._trace:
            check_output(self._trace, (".jsonl", ".json"))
        if self._plot:
            check_output(self._plot, (".png", ".svg", ".pdf"))
            if importlib.util.find_spec("matplotlib") is None:
                raise Error("--plot needs matplotlib, which is not installed: pip install 'stylogram[plot]'")

    def run(self, task: Callable[[driver.Callback], Result]) -> None:
        """Call `task` with the callback that shows progress, and write what it returns."""
        with self._heeding():
            try:
                with self._bar:
                    result = task(self._look)
            except driver.Diverged as stopped:
                raise Error(f"{stopped}; {self._kept('the last good picture', stopped)}") from stopped
            except driver.Interrupted as stopped:
                raise InterruptedRun(f"interrupted: {self._kept('the best picture so far', stopped)}") from stopped
            for note in self._notes(result):
                self._console.print(f"note: {note}", markup=False)
            failures = self._write(result)
            if failures:
                raise Error("; ".join(failures))
        height, width = result.exact.shape[:2]
        seconds = result.trace[-1]["seconds"]
        self._console.print(f"{self._output}: {width}x{height}, loss {result.loss:.4g}, {seconds:.1f} s", markup=False)

    @contextmanager
    def _heeding(self) -> Iterator[None]:
        """Ctrl-C ends the run after the iteration that it falls into; one more must not lose what is being saved.

        Before the first iteration there is nothing to lose, and it ends at once.
        """
        if threading.current_thread() is not threading.main_thread():  # only the main thread gets, and may set, signals
            yield
            return

        def pressed(number: int, frame: object) -> None:  # noqa: ARG001
            if not self._started:
                raise KeyboardInterrupt
            self._pressed = True

        before = signal.signal(signal.SIGINT, pressed)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _notes(self, result: Result) -> list[str]:
        suffix = self._output.suffix.lower()
        if result.alpha is None or pictures.WRITERS[suffix].alpha:
            return list(result.notes)
        return [*result.notes, f"{suffix} has no alpha: the content's is left out"]

    def _kept(self, what: str, stopped: driver.Diverged | driver.Interrupted) -> str:
        """Write what a run that ended early has, and say where. Its initial picture is nothing that was made."""
        outcome = stopped.outcome
        if stopped.result is None or (outcome.scale, outcome.iteration) == (1, 0):
            return "no better picture than the initial one was made, and nothing is written"
        named = f"{what} (scale {outcome.scale}, iteration {outcome.iteration})"
        failures = self._write(stopped.result)
        return f"{named}: {'; '.join(failures)}" if failures else f"{named} is in {self._output}"

    def _write(self, result: Result) -> list[str]:
        """Picture, trace and plot, each whatever becomes of the others; what failed, and then what is there."""
        outputs: dict[Path, Callable[[Path], None]] = {self._output: result.save}
        if self._trace:
            outputs[self._trace] = partial(write_trace, trace=result.trace)
        if self._plot:
            outputs[self._plot] = partial(_plot, trace=result.trace)
        written, failures = [], []
        for path, write in outputs.items():
            try:
                write(path)
                written.append(str(path))
            except (Error, OSError, MemoryError) as error:
                failures.append(str(error) or f"{path} cannot be written: {type(error).__name__}")
        return [*failures, *(f"{path} is written" for path in written)] if failures else []

    def _look(self, progress: driver.Progress) -> None:
        self._started = True
        if not self._quiet:
            self._show(progress)
        if self._every and progress.iteration and progress.iteration % self._every == 0:
            self._save(progress)
        if self._pressed:
            raise KeyboardInterrupt

    def _save(self, progress: driver.Progress) -> None:
        """What the run would give if it stopped here. That it cannot be written is said, but does not end the run."""
        scale = f"-s{progress.scale}" if progress.scales > 1 else ""
        name = f"{self._output.stem}{scale}-{progress.iteration:05d}{self._output.suffix}"
        try:
            progress.result().save(self._output.with_name(name))
        except Error as error:
            self._console.print(f"note: {error}; no more pictures are written before the last", markup=False)
            self._every = 0

    def _show(self, progress: driver.Progress) -> None:
        label = f"scale {progress.scale}/{progress.scales}" if progress.scales > 1 else "optimising"
        if self._task is None or progress.iteration == 0:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(label, total=progress.iterations, loss="", speed="")
        speed = self._bar.tasks[-1].speed
        self._bar.update(
            self._task,
            completed=progress.iteration,
            loss=f"loss {progress.loss:.4g}",
            speed=f"{speed:.2f} it/s" if speed else "",
        )


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,  # in a file it would leave empty lines
    )


def _plot(path: Path, trace: list[dict[str, Any]]) -> None:
    from .plot import plot_trace

    plot_trace(trace, path)


def write_trace(path: Path, trace: list[dict[str, Any]]) -> None:
    """The trace as JSON lines: scale, iteration, seconds, loss, terms."""
    with atomic(path) as file:
        file.writelines(json.dumps(row).encode() + b"\n" for row in trace)
