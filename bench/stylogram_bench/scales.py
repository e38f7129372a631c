"""Does coarse to fine pay? The same work (pixels times iterations) spent on one, two or three scales.

    python -m stylogram_bench.scales CONTENT STYLE --network FILE [--preprocess NAME] [-o FILE.json]

Each picture is judged twice by the default losses: at its own size and at half of it, where larger strokes count.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np
from stylogram.options import checked
from stylogram.result import Result
from stylogram.tasks.stylize import Options, Stylization, stylize

from .compare import write


def judged(content: str, style: str, made: Result, options: dict[str, Any]) -> dict[str, float]:
    """Style and content distance of a picture: the default losses without their weights."""
    given = checked(Options, {**options, "content_weight": 1, "style_weight": 1, "tv_weight": 0, "init": made.exact})
    objective = Stylization(content, [style], given).stage(0, None).objective
    objective.evaluate()
    terms = objective.terms()
    return {kind: sum(value for name, value in terms.items() if name.startswith(kind)) for kind in ("style", "content")}


def compared(content: str, style: str, size: int, work: int, options: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for 1, 2 and 3 scales; `work` is the iterations of the single scale."""
    rows = []
    for scales in (1, 2, 3):
        iterations = round(work / sum(0.25**k for k in range(scales)))
        for init in ("content", "random"):
            chosen = {**options, "size": size, "scales": scales, "iterations": iterations, "init": init}
            made = stylize(content, style, **chosen)
            row = {"scales": scales, "iterations": iterations, "init": init, "seconds": made.trace[-1]["seconds"]}
            own = judged(content, style, made, {**options, "size": size, "scales": 1})
            half = judged(content, style, made, {**options, "size": size // 2, "scales": 1})
            rows.append({**row, "loss": made.loss, "own_size": own, "half_size": half})
            print({key: np.round(value, 4) if isinstance(value, float) else value for key, value in rows[-1].items()})
    return rows


@click.command()
@click.argument("content")
@click.argument("style")
@click.option("--network", required=True)
@click.option("--preprocess")
@click.option("--size", default=512)
@click.option("--work", default=160)
@click.option("-o", "--output")
def main(
    content: str, style: str, network: str, preprocess: str | None, size: int, work: int, output: str | None
) -> None:
    """Compare one, two and three scales."""
    rows = compared(content, style, size, work, {"network": network, "preprocess": preprocess})
    if output:
        names = {"content": Path(content).name, "style": Path(style).name, "network": Path(network).name}
        write(Path(output), {**names, "size": size, "rows": rows})


if __name__ == "__main__":
    main()
