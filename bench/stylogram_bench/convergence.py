"""How soon the loss falls: ours against PyTorch's 300 iterations, for pairs of a photograph and a painting.

    python -m stylogram_bench.convergence curves STATE.jsonl --pictures DIR --network FILE --methods pytorch,plain
    python -m stylogram_bench.convergence seconds STATE.jsonl --pictures DIR --network FILE --methods pytorch,plain
    python -m stylogram_bench.convergence record STATE.jsonl ... -o FILE.json [--plot FILE.png]

The loss after so many iterations does not depend on the machine's load: `curves` computes it at leisure, one run after
the other, each kept when it is done; started again it goes on. `seconds` measures what an iteration costs, ours and
PyTorch's by turns, on a machine that does nothing else. Time to a loss is the product of the two.

A method is `pytorch`, `plain` (ours, one scale), or changes of it joined by `+`: history=20, precondition=1.4,
first=100 (the first step so many times as long), backtrack=0 (steps that raise the loss are kept, as PyTorch does),
coarse=60 (60 iterations at half the size before; coarse=40/60: at a quarter and a half), warm=60 (the same, and L-BFGS
goes on with its pairs enlarged).
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from stylogram.driver import Driver, Interrupted, Progress, Stage
from stylogram.options import checked
from stylogram.session import available_threads, kernel_threads
from stylogram.tasks.stylize import Options, Stylization

from . import compare, graph
from .baseline import MODES, Baseline
from .warm import Warm

PHOTOGRAPHS = ("tubingen", "golden_gate")
PAINTINGS = ("starry_night", "the_scream", "seated-nude")
ITERATIONS = 300  # PyTorch's
WITHIN = 1.01  # of the loss that those come to
HOW = (
    "losses by iteration were computed at leisure, the pair by itself; seconds of an iteration were measured on the "
    "first pair, by turns; time to a loss is the product, beyond what was measured by the median of the last ten"
)
PLAIN: dict[str, Any] = {"scales": 1, "margin": 0, "precondition": 1.0, "history": 100}


@dataclass(frozen=True)
class Case:
    """One pair on one network at one size."""

    content: Path
    style: Path
    network: str
    preprocess: str | None
    size: int
    threads: int

    def name(self) -> dict[str, Any]:
        """What identifies its curves."""
        pair = f"{self.content.stem} × {self.style.stem}"
        return {"network": Path(self.network).stem, "size": self.size, "pair": pair}

    def work(self, **options: Any) -> Stylization:
        given = {"network": self.network, "preprocess": self.preprocess, "size": self.size, "threads": self.threads}
        return Stylization(self.content, [self.style], checked(Options, {**given, **PLAIN, **options}))

    def theirs(self, mode: str = "channels_last") -> Baseline:
        """PyTorch on the same graph, pictures and weights of the losses."""
        work = self.work()
        recipe, subject = work.recipe, work.subjects[0]
        layers = ({tensor: weight for _, tensor, weight in kind} for kind in (work.taps.content, work.taps.style))
        style = subject.styles[0].batches[0][0].transpose(1, 2, 0)
        weights = (recipe.content_weight, recipe.style_weight, recipe.tv_weight)
        return Baseline(graph.work(work.model[0], *layers), subject.contents[0], style, mode, self.threads, weights)


@dataclass(frozen=True)
class Method:
    """A way of ours to go about it; see the module."""

    options: dict[str, Any]
    coarse: tuple[int, ...] = ()  # iterations of the scales before the last
    first: float = 1.0
    backtrack: bool = True
    warm: bool = False

    @classmethod
    def parse(cls, text: str) -> "Method":
        """Raises ValueError for what is not known."""
        found = cls({})
        for part in text.split("+") if text != "plain" else ():
            name, _, value = part.partition("=")
            match name:
                case "history":
                    found.options["history"] = int(value)
                case "precondition":
                    found.options["precondition"] = float(value)
                case "first":
                    found = replace(found, first=float(value))
                case "backtrack":
                    found = replace(found, backtrack=value != "0")
                case "coarse" | "warm":
                    found = replace(found, coarse=tuple(map(int, value.split("/"))), warm=name == "warm")
                case _:
                    raise ValueError(f"no method {part!r}")
        return found

    def stages(self, work: Stylization) -> Iterator[Callable[[Any], Stage]]:
        """Of the driver, one a scale."""
        warm = Warm()
        work.recipe = replace(work.recipe, optimiser=replace(work.recipe.optimiser, backtrack=self.backtrack))
        for index, count in enumerate((*self.coarse, ITERATIONS)):
            yield partial(self._stage, work, index, count, warm)

    def _stage(self, work: Stylization, index: int, count: int, warm: Warm, before: Any) -> Stage:
        stage = replace(work.stage(index, before), iterations=count)
        if self.warm:
            return replace(stage, optimiser=warm.at(stage.objective.picture.shape))
        return replace(stage, optimiser=_First(stage.optimiser, self.first)) if self.first != 1 else stage


class _First:
    """An L-BFGS whose first step is `times` as long as it would be."""

    def __init__(self, inner: Any, times: float) -> None:
        self._inner, self._times, self.recovers = inner, times, inner.recovers

    def step(self, picture: Any, gradient: Any, value: Any) -> None:
        self._inner._state.learning_rate, self._times = self._times, 1.0
        self._inner.step(picture, gradient, value)


def theirs(case: Case) -> list[list[float]]:
    """The loss at the content picture and after each of PyTorch's iterations."""
    runner = case.theirs()
    return [[runner.loss, *(loss for _, loss in runner.run(ITERATIONS))]]


def ours(case: Case, method: Method, goal: float) -> list[list[float]]:
    """The losses at each scale; the run stops at the last one when it has come to `goal`."""
    scales = 1 + len(method.coarse)
    work = case.work(**method.options, scales=scales)

    def look(progress: Progress) -> None:
        if progress.scale == scales and progress.loss <= goal:
            raise KeyboardInterrupt

    with kernel_threads(case.threads):
        try:
            trace = Driver(look).run(list(method.stages(work)), scales).trace
        except Interrupted as reached:
            trace = reached.outcome.trace
    return [[row["loss"] for row in trace if row["scale"] == scale] for scale in range(1, scales + 1)]


def timed(case: Case, methods: list[str], count: int) -> dict[str, Any]:
    """Seconds of each iteration by turns, PyTorch in its best mode; `modes`: what that was chosen by."""
    modes = {mode: _quick(case, mode) for mode in MODES}
    best = min(modes, key=modes.__getitem__)
    runners: dict[str, Callable[[], object]] = {f"pytorch@{case.size}": case.theirs(best).iteration}
    making = {}
    for method in methods:
        for size in (case.size, case.size // 2):
            started = time.perf_counter()
            runners[f"{method}@{size}"] = _stepping(replace(case, size=size), Method.parse(method))
            making[f"{method}@{size}"] = time.perf_counter() - started
    times: dict[str, list[float]] = {name: [] for name in runners}
    with kernel_threads(case.threads):
        for _ in range(count):
            for name, run in runners.items():
                times[name].append(compare.seconds_of(run))
    rounded = {name: [float(f"{value:.4g}") for value in values] for name, values in times.items()}
    return {"seconds": rounded, "making": making, "modes": modes, "best_of_pytorch": best}


def _quick(case: Case, mode: str) -> float:
    runner = case.theirs(mode)
    runner.iteration()
    return statistics.median(compare.seconds_of(runner.iteration) for _ in range(4))


def _stepping(case: Case, method: Method) -> Callable[[], object]:
    """An iteration as the driver makes it."""
    work = case.work(**method.options)
    stage = next(method.stages(work))(None)
    objective = stage.objective
    objective.evaluate()

    def step() -> None:
        stage.optimiser.step(objective.picture, objective.gradient, objective.total)
        objective.evaluate()
        float(objective.total[0])

    return step


def cases(pictures: Path, network: str, preprocess: str | None, size: int, threads: int) -> list[Case]:
    """The six pairs."""
    return [
        Case(pictures / f"{photograph}.jpg", pictures / f"{painting}.jpg", network, preprocess, size, threads)
        for painting in PAINTINGS
        for photograph in PHOTOGRAPHS
    ]


def read(state: Path) -> list[dict[str, Any]]:
    """The runs that are done."""
    return [json.loads(line) for line in state.read_text().splitlines()] if state.exists() else []


def _find(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any] | None:
    return next((row for row in rows if all(row.get(name) == value for name, value in wanted.items())), None)


def goal_of(rows: list[dict[str, Any]], case: dict[str, Any]) -> float:
    """Within 1% of where PyTorch's run came to."""
    row = _find(rows, **case, method="pytorch")
    if row is None:
        raise click.ClickException(f"{case}: pytorch's curve is needed first")
    return WITHIN * float(min(row["losses"][0]))


def run_one(case: Case, method: str, state: Path, whole: bool) -> None:
    """Compute and keep one curve, if it is not there."""
    rows, name = read(state), case.name()
    if _find(rows, **name, method=method) is not None:
        return
    if method == "pytorch":
        losses = theirs(case)
    else:
        losses = ours(case, Method.parse(method), -np.inf if whole else goal_of(rows, name))
    row = {**name, "method": method, "losses": [[float(f"{loss:.6g}") for loss in scale] for scale in losses]}
    with state.open("a") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(name["pair"], method, [len(scale) - 1 for scale in losses], losses[-1][-1], flush=True)


given = [
    click.argument("state", type=click.Path(path_type=Path)),
    click.option("--pictures", type=click.Path(path_type=Path, exists=True), required=True),
    click.option("--network", default="seednet"),
    click.option("--preprocess"),
    click.option("--size", default=512),
    click.option("--threads", default=1),
    click.option("--methods", default="pytorch,plain", metavar="A,B"),
]


def _with(command: Callable[..., None]) -> Callable[..., None]:
    for one in reversed(given):
        command = one(command)
    return command


@click.group()
def main() -> None:
    """Curves of the loss, seconds of an iteration, and the record of both."""


@main.command()
@_with
@click.option("--pairs", default=6)
@click.option("--whole", is_flag=True, help="do not stop at the goal")
def curves(state: Path, methods: str, pairs: int, whole: bool, **setting: Any) -> None:
    """Compute what is missing in STATE."""
    for case in cases(**setting)[:pairs]:
        for method in methods.split(","):
            run_one(case, method, state, whole)


@main.command()
@_with
@click.option("--count", default=105, help="iterations that are timed: the history is full after 100")
def seconds(state: Path, methods: str, count: int, **setting: Any) -> None:
    """Measure iterations of the first pair by turns, and add them to STATE. METHODS: without coarse scales."""
    case = cases(**{**setting, "threads": setting["threads"] or available_threads()})[0]
    name = case.name()
    del name["pair"]
    mine = [method for method in methods.split(",") if method != "pytorch"]  # which is timed in any case
    row = {**name, "threads": case.threads, **timed(case, mine, count)}
    with state.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print({who: statistics.median(times) for who, times in row["seconds"].items()}, row["modes"], flush=True)


@main.command()
@click.argument("states", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
@click.option("--plot", type=click.Path(path_type=Path))
def record(states: tuple[Path, ...], output: Path, plot: Path | None) -> None:
    """Put curves and seconds of the STATES together."""
    from .reached import plotted, together

    whole = together([row for state in states for row in read(state)])
    compare.write(output, {"what": (__doc__ or "").splitlines()[0], "how": HOW, **whole})
    if plot:
        plotted(whole, plot)


if __name__ == "__main__":
    main()
