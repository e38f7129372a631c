"""What the command line does around a task that writes a report: progress on stderr, notes, Ctrl-C."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..monitor import InterruptedRun
from . import Report, Step


class ReportMonitor:
    """Runs a task with a progress bar on stderr and says what was written, or that it was interrupted."""

    def __init__(self, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,  # in a file it would leave empty lines
        )
        self._task: TaskID | None = None
        self._last: Step | None = None

    def run(self, task: Callable[[Callable[[Step], None]], Report]) -> None:
        """Call `task` with the callback that shows progress. Raises InterruptedRun on Ctrl-C."""
        try:
            with self._bar:
                report = task(self._look)
        except KeyboardInterrupt:
            raise InterruptedRun(f"interrupted: {self._said()}") from None
        for note in report.notes:
            self._console.print(f"note: {note}", markup=False)
        self._console.print(f"{report.page}: {report.summary}", markup=False)

    def _said(self) -> str:
        if self._last is None:
            return "nothing was made yet"
        return f"{self._last.phase} {self._last.done} of {self._last.total}; the same command goes on with the report"

    def _look(self, step: Step) -> None:
        if self._task is None or self._last is None or self._last.phase != step.phase:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(step.phase, total=step.total)
        self._last = step
        self._bar.update(self._task, completed=step.done, total=step.total)
