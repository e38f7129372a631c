"""stylogram bench: ours against PyTorch on the same work in one run."""

import importlib.util
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ..errors import Error
from ..files import check_output


@click.command(name="bench")
@click.option("--sizes", default="256,512", metavar="A,B", help="sides of the pictures [256,512]")
@click.option("--rounds", type=click.IntRange(1), default=12, metavar="N", help="iterations of each, by turns [12]")
@click.option(
    "--to-loss", type=click.IntRange(0), default=0, metavar="N", help="also: time to the loss of N iterations"
)
@click.option("--threads", type=click.IntRange(0), default=0, metavar="N", help="processors to use; 0: all [0]")
@click.option("-o", "--output", metavar="FILE.json", help="write the figures there")
def command(sizes: str, rounds: int, to_loss: int, threads: int, output: str | None) -> None:
    """Compare an iteration, its parts, the time to a loss and the memory with PyTorch's (needs stylogram[torch])."""
    if importlib.util.find_spec("torch") is None:
        raise Error("bench compares with PyTorch, which is not installed: pip install 'stylogram[torch]'")
    if output:
        check_output(output, (".json",))
    try:
        sides = [int(side) for side in sizes.split(",")]
    except ValueError:
        raise Error(f"--sizes: whole numbers joined by commas are accepted, got {sizes!r}") from None
    if min(sides) < 64:
        raise Error(f"--sizes: at least 64 is accepted, got {min(sides)}")
    record = _measure(sides, rounds, to_loss, threads)
    if output:
        from stylogram_bench import compare

        compare.write(Path(output), record)


def _measure(sides: list[int], rounds: int, to_loss: int, threads: int) -> dict[str, object]:
    from stylogram_bench import compare

    from ..session import available_threads

    console = Console(soft_wrap=True, highlight=False)
    cases = [compare.Case(side, rounds, threads or available_threads()) for side in sides]
    results = []
    for case in cases:
        result = compare.iteration(case)
        best = result["best_of_pytorch"]
        result["peak_mebibytes"] = {who: compare.peak_memory(who, case) for who in ("ours", best)}
        results.append(result)
        console.print(_table(result))
    record: dict[str, object] = {"network": "VGG-19 to conv5_1, Gatys layers", "iteration": results}
    if to_loss:
        reached = compare.time_to_loss(cases[-1], to_loss, str(results[-1]["best_of_pytorch"]))
        record["time_to_loss"] = reached
        ratio = reached["ratio_of_time"]
        console.print(
            f"within 1% of PyTorch's loss after {to_loss} iterations at {sides[-1]}: "
            + (f"{ratio:.2f} of its time" if ratio else "not reached")
        )
    return record


def _table(result: dict[str, object]) -> Table:
    table = Table(f"{result['size']} px", "seconds an iteration", "peak MiB", box=None, pad_edge=False)
    medians, memory = result["median_seconds"], result["peak_mebibytes"]
    assert isinstance(medians, dict)
    assert isinstance(memory, dict)
    for name, seconds in medians.items():
        table.add_row(name, f"{seconds:.3f}", f"{memory[name]:.0f}" if name in memory else "")
    ratio, split = result["ratio"], result["split_seconds"]
    assert isinstance(ratio, dict)
    assert isinstance(split, dict)
    table.add_row("ratio", f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})")
    for name, seconds in split.items():
        table.add_row(f"  of ours: {name}", f"{seconds:.4f}")
    return table
