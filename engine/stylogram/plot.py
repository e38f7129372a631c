"""The plot of a trace: every term and the sum over the iterations of all scales, logarithmic if losses are above 0."""

from pathlib import Path
from typing import Any

from .files import atomic


def plot_trace(trace: list[dict[str, Any]], path: Path) -> None:
    """Write the curves of `trace` to a .png, .svg or .pdf. Needs matplotlib (`stylogram[plot]`)."""
    from matplotlib.figure import Figure  # the object interface: no global state, so any thread may draw

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    steps = range(len(trace))
    for name in trace[0]["terms"] if trace else ():
        axes.plot(steps, [row["terms"].get(name, 0.0) for row in trace], linewidth=1, label=name)
    axes.plot(steps, [row["loss"] for row in trace], color="black", linewidth=2, label="loss")
    for step in steps[1:]:
        if trace[step]["scale"] != trace[step - 1]["scale"]:
            axes.axvline(step, color="grey", linestyle=":")
    scale = "log" if all(row["loss"] > 0 for row in trace) else "linear"  # what is maximised counts below 0
    axes.set(yscale=scale, xlabel="iteration", ylabel="weighted loss")
    axes.legend(fontsize="small", ncols=2)
    with atomic(path) as file:
        figure.savefig(file, format=path.suffix.lstrip("."), dpi=120)
