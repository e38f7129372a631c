"""Curves and seconds put together: after how many iterations, and in what part of PyTorch's time, a loss is reached."""

import statistics
from pathlib import Path
from typing import Any

from .convergence import ITERATIONS, WITHIN, Method, goal_of

Rows = list[dict[str, Any]]
KEPT = 24  # points of a curve
PLOTTED = 5  # methods
TOLERANCES = (0.05, 0.02, 0.01, 0.005)
WINDOW = 20  # the driver's


class Clock:
    """Seconds of so many iterations, from a row of measured ones."""

    def __init__(self, row: dict[str, Any]) -> None:
        self._row = row

    def at(self, who: str, iterations: int) -> float:
        """What was measured; beyond, the median of the last ten each."""
        times: list[float] = self._row["seconds"][who]
        return sum(times[:iterations]) + max(iterations - len(times), 0) * statistics.median(times[-10:])

    def start(self, method: str, size: int) -> float | None:
        """Seconds until the last scale begins; None if it was not measured."""
        parsed, own = Method.parse(method), _without_coarse(method)
        total = 0.0
        for doublings, count in zip(range(len(parsed.coarse), 0, -1), parsed.coarse, strict=True):
            who = f"{own}@{size >> doublings}"
            if who not in self._row["seconds"]:
                return None
            total += self._row["making"][who] + self.at(who, count)
        return total

    def of(self, method: str, size: int) -> str | None:
        """The row's name for the last scale."""
        who = f"{_without_coarse(method)}@{size}"
        return who if who in self._row["seconds"] else None


def _without_coarse(method: str) -> str:
    parts = [part for part in method.split("+") if not part.startswith(("coarse", "warm"))]
    return "+".join(parts) or "plain"


def together(rows: Rows) -> dict[str, Any]:
    """The record: one entry for each network and size, the best method of each named."""
    settings = list(dict.fromkeys((row["network"], row["size"]) for row in rows))
    made = [_network([row for row in rows if (row["network"], row["size"]) == setting]) for setting in settings]
    return {"iterations": ITERATIONS, "networks": made}


def _network(rows: Rows) -> dict[str, Any]:
    runs = [row for row in rows if "method" in row]
    measured = next((row for row in reversed(rows) if "seconds" in row), None)
    clock = Clock(measured) if measured else None
    pairs = list(dict.fromkeys(row["pair"] for row in runs))
    methods = [name for name in dict.fromkeys(row["method"] for row in runs) if name != "pytorch"]
    found = {"network": runs[0]["network"], "size": runs[0]["size"], "methods": methods}
    found["pairs"] = [_pair([row for row in runs if row["pair"] == pair], clock) for pair in pairs]
    if measured:
        found["measured"] = {name: measured[name] for name in ("threads", "best_of_pytorch", "modes", "making")}
        found["measured"]["median_seconds"] = {who: statistics.median(t) for who, t in measured["seconds"].items()}
    return {**found, "best": _best(found["pairs"], methods)}


def _pair(runs: Rows, clock: Clock | None) -> dict[str, Any]:
    size = runs[0]["size"]
    goal = goal_of(runs, {name: runs[0][name] for name in ("network", "size", "pair")})
    whole = clock.at(f"pytorch@{size}", ITERATIONS) if clock else None
    found: dict[str, Any] = {"pair": runs[0]["pair"], "goal": goal, "pytorch_seconds": whole, "methods": {}}
    for run in runs:
        curve, method = run["losses"][-1], run["method"]
        needed = next((at for at, loss in enumerate(curve) if loss <= goal), None)
        made = {
            "iterations": needed,
            "equal_work": None if needed is None else _before(run["losses"]) + needed,
            "curve": _thinned([_before(run["losses"]) + at for at in range(len(curve))], curve),
            **_timed(method, size, curve, needed, clock, whole),
        }
        if method == "pytorch":
            found["pytorch"] = made
            found["stopped"] = {str(tolerance): _stopped(curve, tolerance) for tolerance in TOLERANCES}
        else:
            found["methods"][method] = made
    return found


def _stopped(curve: list[float], tolerance: float) -> list[float] | None:
    """Where `--tolerance` would have stopped this curve: the iteration, and the least loss until then over the last."""
    for at in range(WINDOW, len(curve)):
        before, now = min(curve[: at + 1 - WINDOW]), min(curve[at + 1 - WINDOW : at + 1])
        if before - now < tolerance * abs(now):
            return [at, min(before, now) / min(curve)]
    return None


def _before(losses: list[list[float]]) -> float:
    """The iterations of the coarser scales, by their share of the last one's pixels."""
    coarser = [(len(scale) - 1) / 4**doublings for doublings, scale in enumerate(reversed(losses))]
    return float(sum(coarser[1:]))


def _timed(
    method: str, size: int, curve: list[float], needed: int | None, clock: Clock | None, whole: float | None
) -> dict[str, Any]:
    """Seconds to the goal, their part of PyTorch's, and the curve over seconds; nothing if they were not measured."""
    if clock is None or whole is None:
        return {}
    theirs = method == "pytorch"
    who, start = (f"pytorch@{size}", 0.0) if theirs else (clock.of(method, size), clock.start(method, size))
    if who is None or start is None:
        return {}
    times = [start + clock.at(who, at) for at in range(len(curve))]
    reached = None if needed is None else times[needed]
    share = None if reached is None else reached / whole
    return {"seconds": reached, "share": share, "curve": _thinned(times, curve)}


def _thinned(xs: list[float], curve: list[float]) -> list[list[float]]:
    """The first points, and then some of the others."""
    kept = sorted({*range(min(8, len(curve))), *range(0, len(curve), max(len(curve) // KEPT, 1)), len(curve) - 1})
    return [[round(xs[at], 3), curve[at]] for at in kept]


def _best(pairs: Rows, methods: list[str]) -> str | None:
    """Of the methods that were run on every pair: the one that reaches most goals, then the soonest."""
    whole = [name for name in methods if all(name in pair["methods"] for pair in pairs)]

    def rank(method: str) -> tuple[int, float]:
        costs = [pair["methods"][method].get("share") or pair["methods"][method]["equal_work"] for pair in pairs]
        reached = [cost for cost in costs if cost is not None]
        return -len(reached), statistics.median(reached) if reached else 0.0

    return min(whole, key=rank, default=None)


def plotted(whole: dict[str, Any], path: Path) -> None:
    """The curves of one network, if there is one of a timed one, a small plot for each pair. Needs matplotlib."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from stylogram.files import atomic

    network = max(whole["networks"], key=lambda network: ("measured" in network, network["best"] is not None))
    over = "seconds" if "measured" in network else "iterations, by pixels"
    first = network["pairs"][0]["methods"]
    shown = [name for name, made in first.items() if ("share" in made) == ("measured" in network)][:PLOTTED]
    labels = {"pytorch": "PyTorch", **{name: f"ours, {name}" for name in shown}}
    colours = {name: f"C{number}" for number, name in enumerate(labels)}
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    columns = -(-len(network["pairs"]) // 2)
    for number, pair in enumerate(network["pairs"], 1):
        axes = figure.add_subplot(2, columns, number)
        for name, made in {"pytorch": pair["pytorch"], **pair["methods"]}.items():
            if name in labels:
                xs, losses = zip(*made["curve"], strict=True)
                axes.plot(xs, [WITHIN * loss / pair["goal"] for loss in losses], color=colours[name], linewidth=1.2)
        axes.axhline(WITHIN, color="grey", linestyle=":", linewidth=0.8)
        axes.set(title=pair["pair"], yscale="log", ylim=(0.97, 4), xlabel=over, ylabel="loss over PyTorch's last")
        axes.set_yticks([1, 1.25, 1.5, 2, 3, 4], ["1", "1.25", "1.5", "2", "3", "4"])
        axes.minorticks_off()
        axes.title.set_fontsize("small")
    handles = [Line2D([], [], color=colours[name], label=label) for name, label in labels.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize="small")
    figure.suptitle(
        f"{network['network']}, {network['size']} px; dotted: within 1% of PyTorch's last loss", fontsize="medium"
    )
    with atomic(path) as file:
        figure.savefig(file, format="png", dpi=90)
