"""stylogram bench: ours against PyTorch on the same work in one run."""

import importlib.util
from pathlib import Path

import click
from rich.console import Console

from ..cli import not_empty
from ..errors import Error, one_of
from ..files import atomic, check_output


@click.command(name="bench")
@click.option("--parts", default="", metavar="A,B", help="of: iteration, loss, batch, memory, tiled, growth [all]")
@click.option("--sizes", default="256,512,1024", metavar="A,B", help="sides of the pictures [256,512,1024]")
@click.option("--rounds", type=click.IntRange(1), default=12, metavar="N", help="measurements of each, by turns [12]")
@click.option("--threads", type=click.IntRange(0), default=0, metavar="N", help="processors to use; 0: all [0]")
@click.option(
    "-o",
    "--output",
    callback=not_empty,
    default="bench_results",
    metavar="DIR",
    help="a record of each part goes there [bench_results]",
)
@click.option("--report", metavar="FILE.md", help="measure nothing: write the page of the records in the directory")
def command(parts: str, sizes: str, rounds: int, threads: int, output: str, report: str | None) -> None:
    """Compare iteration, time to a loss, batches and memory with PyTorch's (needs stylogram[torch])."""
    from stylogram_bench.parts import PARTS, Setting

    from ..session import available_threads

    if report is not None:
        return _write_page(Path(output), Path(report))
    chosen = _parts(parts, tuple(PARTS))
    setting = Setting(_sizes(sizes), rounds, threads or available_threads())
    _check(chosen, Path(output))
    for part in chosen:
        for name, record in PARTS[part](setting):
            _keep(Path(output) / f"{name}.json", record)
    return None


def _parts(given: str, known: tuple[str, ...]) -> tuple[str, ...]:
    chosen = tuple(part.strip() for part in given.split(",")) if given else known
    for part in chosen:
        if part not in known:
            raise one_of("part", part, known)
    return chosen


def _sizes(given: str) -> tuple[int, ...]:
    try:
        sides = tuple(int(side) for side in given.split(","))
    except ValueError:
        raise Error(f"--sizes: whole numbers joined by commas are accepted, got {given!r}") from None
    if min(sides) < 64:
        raise Error(f"--sizes: at least 64 is accepted, got {min(sides)}")
    return sides


def _check(chosen: tuple[str, ...], output: Path) -> None:
    from stylogram_bench.parts import WITHOUT_PYTORCH

    needing = [part for part in chosen if part not in WITHOUT_PYTORCH]
    if needing and importlib.util.find_spec("torch") is None:
        raise Error(
            f"{', '.join(needing)}: bench compares with PyTorch, which is not installed: pip install 'stylogram[torch]'"
            f"; without it: --parts {','.join(WITHOUT_PYTORCH)}"
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Error(f"{output}: not a directory that can be made: {error.strerror}") from error
    check_output(output / "iteration.json")


def _keep(path: Path, record: dict[str, object]) -> None:
    """Print a record's tables and write it."""
    from rich.table import Table
    from stylogram_bench import compare, report

    console = Console(soft_wrap=True, highlight=False)
    for told in report.tables(path.stem, record):
        table = Table(*told.header, box=None, pad_edge=False)
        for row in told.rows:
            table.add_row(*row)
        console.print(table)
        console.print(told.note)
    compare.write(path, record)
    console.print(f"{path}\n")


def _write_page(folder: Path, path: Path) -> None:
    from stylogram_bench import report

    if not folder.is_dir():
        raise Error(f"{folder}: a directory of records is needed (-o), there is none")
    check_output(path, (".md",))
    with atomic(path, "w") as file:
        file.write(report.page(folder, path.parent))
