"""What the worker does with jobs: stylize jobs of one kind together, all others one at a time."""

import math
import threading
import time
from collections import defaultdict
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from .. import driver, memory, pictures, tasks
from ..batching.shared import Group, Shared
from ..errors import Error
from ..options import checked
from ..result import Result
from ..session import Array, available_threads, give_back
from ..subject import Subject
from ..tasks.stylize import Options
from .catalogue import MASKS, TOGETHER
from .worker import Orders, Say, Task, jpeg, said, text

EVERY = 0.5  # seconds from one preview to the next
CHECKPOINT_EVERY = 20.0


class _Stopped(Exception):  # noqa: N818 -- no error: all that was painted here has ended
    """Nobody wants what is being painted any more."""


class Run:
    """One job while it is painted: what the server hears of it, and how it ends: once, whoever ends it first."""

    def __init__(self, task: Task, say: Say, limits: tuple[float, int], orders: Orders) -> None:
        """`limits`: seconds and iterations, at which it ends with the picture that there is."""
        self.task, self.over = task, False
        self._say, self._limits, self._orders = say, limits, orders
        self._lock = threading.Lock()
        self._previewed = -math.inf
        self._done = task.checkpoint or {"scale": 0, "iteration": 0, "scales": 0, "iterations": 0}
        self.begin()

    def begin(self) -> bool:
        """Its time counts from here: it may have waited for others of its group. Whether it is still wanted."""
        self._started = self._kept = time.monotonic()
        self._iterations, self._seen = 0, False
        if self.task.id in self._orders.cancelled:
            self.cancel()
        elif self._orders.stop.is_set():
            self._leave(self.task.checkpoint)
        return not self.over

    def cancel(self) -> None:
        """In the thread that listens: at once, unless there is a picture already, with which look() ends it."""
        if not self._seen:
            self.end("cancelled")

    @property
    def directory(self) -> Path:
        """Where its files are."""
        self.task.directory.mkdir(parents=True, exist_ok=True)
        return self.task.directory

    def before(self, rgb: Array) -> None:
        """What the picture is made from, to compare with."""
        (self.directory / "before.jpg").write_bytes(jpeg(rgb, 1024))
        self._say("before", job=self.task.id)

    def look(self, progress: driver.Progress, loss: float, made: Any) -> None:
        """After an iteration; `made` gives the Result so far."""
        self._seen = True
        if self.over:
            return
        self._iterations += progress.iteration > 0
        now, (seconds, iterations) = time.monotonic(), self._limits
        at = self._place(progress)
        self._say("progress", job=self.task.id, seconds=round(now - self._started, 3), loss=loss, **at)
        if now - self._previewed >= EVERY:
            self._previewed = now
            self._say("preview", job=self.task.id, jpeg=text(jpeg(made().exact)))
        if self.task.id in self._orders.cancelled:
            self.end("cancelled", made())
        elif self._orders.stop.is_set():
            self._leave(self._checkpoint(made, at) if self._resumes else None)
        elif now - self._started > seconds or self._iterations > iterations:
            limit = f"{seconds:g} s" if now - self._started > seconds else f"{iterations} iterations in all"
            note = f"stopped after {limit}, this server's limit, at iteration {at['iteration']}"
            self.end("done", made(), (f"{note} of {at['iterations']}, scale {at['scale']} of {at['scales']}",))
        elif self._resumes and now - self._kept >= CHECKPOINT_EVERY:
            self._kept = now
            self._say("checkpoint", job=self.task.id, checkpoint=self._checkpoint(made, at))

    @property
    def _resumes(self) -> bool:
        return self.task.task == TOGETHER

    def _place(self, progress: driver.Progress) -> dict[str, int]:
        """Scale and iteration, counted from the beginning and not from the checkpoint."""
        done = self._done
        skipped = done["iteration"] if progress.scales == 1 else 0
        passed = max(done["scales"] - progress.scales, 0)
        return {
            "scale": progress.scale + passed,
            "scales": progress.scales + passed,
            "iteration": progress.iteration + skipped,
            "iterations": progress.iterations + skipped,
        }

    def _leave(self, checkpoint: dict[str, Any] | None) -> None:
        """The server stops: the next one goes on from a checkpoint, or from the beginning."""
        if self._close():
            self._say("ended", job=self.task.id, state="stopped", checkpoint=checkpoint)

    def _close(self) -> bool:
        """Whether it was still open."""
        with self._lock:
            was_over, self.over = self.over, True
        return not was_over

    def _checkpoint(self, made: Any, at: dict[str, int]) -> dict[str, Any] | None:
        """The picture so far, and where it is from. One that cannot be written is none."""
        try:
            pictures.write(self.directory / "checkpoint.png", made().exact, depth=16)
        except Exception as problem:
            said(problem)
            return None
        return dict(at)

    def end(
        self, state: str, result: Result | None = None, notes: Sequence[str] = (), error: str | None = None
    ) -> None:
        """It has ended, with a picture or without; one that cannot be written, for whatever reason, is a failure."""
        if not self._close():
            return
        size = None
        try:
            if result is not None:
                result.save(self.directory / f"picture.{self.task.format}")
                preview = jpeg(result.exact)
                (self.directory / "preview.jpg").write_bytes(preview)
                self._say("preview", job=self.task.id, jpeg=text(preview))
                size, notes = result.exact.shape[:2], (*result.notes, *notes)
        except Exception as problem:
            state, error, size = "failed", said(problem), None
        self._say("ended", job=self.task.id, state=state, notes=list(notes), error=error, size=size)

    def fail(self, problem: BaseException) -> None:
        """It could not be painted."""
        if not self.over:
            self.end("failed", error=said(problem))


class Painter:
    """Paints groups of jobs; networks, sessions and styles are kept from one to the next as long as they fit."""

    def __init__(self, told: dict[str, Any], orders: Orders, say: Say) -> None:
        self._orders, self._say, self._most, self._device = orders, say, told["batch"], told["device"]
        self._limits = told["seconds"], told["iterations"]
        self._threads = min(told["threads"] or available_threads(), available_threads())
        self._memory = told["memory"] or math.inf
        self._shared = Shared(memory.SHARE / 2 * self._free())
        self._pool = ThreadPoolExecutor(self._threads, "stylogram-paint")
        self._runs: dict[str, Run] = {}
        orders.cancel = self._cancel

    def _cancel(self, name: str) -> None:
        run = self._runs.get(name)
        if run is not None:
            run.cancel()

    def run(self, group: Sequence[Task]) -> None:
        """Until all of it has ended."""
        runs = [Run(task, self._say, self._limits, self._orders) for task in group]
        self._runs = {run.task.id: run for run in runs}
        for run in runs:
            run.begin()  # who was cancelled until now; of others _cancel() hears
        if group[0].task == TOGETHER:
            self._all(runs)
        else:
            for run in runs:
                self._one(run)

    def _all(self, runs: Sequence[Run]) -> None:
        """Stylize jobs, those of one kind together."""
        kinds: dict[Hashable, list[tuple[Run, Subject]]] = defaultdict(list)
        for run in runs:
            if not run.begin():
                continue
            try:
                subject = self._subject(run.task)
                run.before(subject.contents[-1])
                network = self._shared.network_key(subject.options, subject.recipe.pooling)
                kinds[network, subject.kind()].append((run, subject))
            except Exception as problem:
                run.fail(problem)
        for alike in kinds.values():
            self._together(alike)

    def _subject(self, task: Task) -> Subject:
        options = checked(Options, _given(task))
        if options.tile is None:  # what a GPU has
            options = options.model_copy(update={"device": self._device})
        return self._shared.subject(task.pictures["content"][0], task.pictures["style"], options)

    def _together(self, runs: list[tuple[Run, Subject]]) -> None:
        """Jobs of one kind: as many at a time as fit, in as many parts as there are processors; on a GPU in one."""
        try:
            limit, each = self._limit(runs[0][1])
        except Exception as problem:
            for run, _ in runs:
                run.fail(problem)
            return
        while runs:
            now, runs = runs[:limit], runs[limit:]
            for one in self._painted(now, each):  # one of them is at fault, or it was too much at once: one at a time
                self._painted([one], each, last=True)

    def _painted(self, runs: list[tuple[Run, Subject]], each: int, last: bool = False) -> list[tuple[Run, Subject]]:
        """Paint some at once; gives those that are to be tried alone."""
        paint = partial(self._part, each=each, last=last)
        parts = self._shared.in_parts(runs, runs[0][1].options, self._threads, self._pool, paint)
        return [one for _, future in parts for one in future.result()]

    def _free(self) -> float:
        return min(memory.available(), self._memory)

    def _limit(self, subject: Subject) -> tuple[int, int]:
        """How many jobs of a kind fit, and the bytes of each. A picture in tiles has no others beside it."""
        each = self._shared.bytes_each(subject)
        free = self._shared.room(subject.options, self._free())
        if subject.options.tile is not None:
            return 1, each
        if each > free:
            needed, there = each / 2**30, free / 2**30
            raise Error(f"about {needed:.1f} GiB would be needed, {there:.1f} are free; a smaller size takes less")
        return min(self._most, memory.fitting(each, free)), each

    def _part(
        self, part: list[tuple[Run, Subject]], slot: int, threads: int, each: int, last: bool
    ) -> list[tuple[Run, Subject]]:
        """Paint some together; gives those that are to be tried alone, unless this is the `last` time."""
        part = [(run, subject) for run, subject in part if run.begin()]
        if not part:
            return []
        subjects = [subject for _, subject in part]
        try:
            made = Group(subjects, self._shared, slot, threads, each).paint(partial(_look, part))
        except _Stopped:
            return []
        except Exception as problem:
            held = memory.ran_out(problem) and self._shared.forget_passes()
            if (held or len(part) > 1) and not last:
                return [(run, subject) for run, subject in part if run.begin()]
            part[0][0].fail(problem)
            return []
        for at, (run, subject) in enumerate(part):
            if run.over:
                continue
            if at in made.failed:
                run.end("failed", error=made.failed[at])
            else:
                run.end("done", subject.result(made.pictures[at], [], self._shared.said(subject.options)))
        return []

    def _one(self, run: Run) -> None:
        """A job of any other task, which is for the CPU."""
        task = run.task
        if not run.begin():
            return

        def look(progress: driver.Progress) -> None:
            run.look(progress, progress.loss, progress.result)
            if run.over:
                raise _Stopped

        try:
            module = tasks.load(task.task)
            inputs: list[Any] = [
                task.pictures[name] if many else task.pictures[name][0] for name, many in module.ARGUMENTS.items()
            ]
            options = {**_given(task), "threads": self._threads}
            if inputs:
                run.before(pictures.read(inputs[0]).rgb)
            result: Result = getattr(module, task.task)(*inputs, callback=look, **options)
        except _Stopped:
            return
        except Exception as problem:
            run.fail(problem)
            return
        finally:
            give_back()
        run.end("done", result)


def _given(task: Task) -> dict[str, Any]:
    """The options of a job with the pictures that are options, and with what is left to do after a checkpoint."""
    arguments = tasks.load(task.task).ARGUMENTS
    more = {name: paths[0] for name, paths in task.pictures.items() if name not in (*arguments, *MASKS)}
    masks = list(zip(*(task.pictures.get(name, []) for name in MASKS), strict=True))
    given = {**task.options, **more, **({"mask": masks} if masks else {})}
    if task.checkpoint is None:
        return given
    return _resumed(checked(Options, given), task.checkpoint, task.directory / "checkpoint.png")


def _look(part: Sequence[tuple[Run, Subject]], progress: driver.Progress) -> None:
    """After an iteration of a part: each of its jobs is told."""
    taken: list[Array] = []

    def made(at: int, subject: Subject) -> Result:
        if not taken:
            taken.append(progress.picture())
        return subject.result(taken[0][at], [])

    for at, (run, subject) in enumerate(part):
        if not run.over:
            run.look(progress, progress.losses[at], partial(made, at, subject))
    if all(run.over for run, _ in part):
        raise _Stopped


def _resumed(options: Options, checkpoint: dict[str, Any], picture: Path) -> dict[str, Any]:
    """The options with which a job goes on from a checkpoint: the scales and iterations left, from its picture."""
    if not picture.exists():
        return dict(options)
    recipe = options.recipe()
    left = checkpoint["scales"] - checkpoint["scale"] + 1
    over: dict[str, Any] = {"init": str(picture), "init_noise": 0.0, "scales": left, "margin": recipe.margin}
    if left == 1:
        over["iterations"] = max(checkpoint["iterations"] - checkpoint["iteration"], 1)
    return {**dict(options), **over}
