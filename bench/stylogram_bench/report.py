"""docs/benchmarks.md from the records: tables, and the goals with what was measured. Nothing on the page is typed.

stylogram bench --report docs/benchmarks.md -o bench/results
"""

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .goals import goals
from .records import Record, Records, percent, ratio, read, seconds

HEAD = """# Benchmarks

Made from the records in [bench/results]({results}) by `stylogram bench --report`; nothing on this page is typed.
"PyTorch" is PyTorch on the same network, pictures, losses and optimiser in the same run, the two by turns
(`bench/stylogram_bench/baseline.py`). A ratio is PyTorch's time over ours, unless a column says otherwise: the median
of the rounds and, in parentheses, the least and the most. `stylogram bench` measures anew; `--parts` and `--sizes`
choose.
"""


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; `note` says what they are."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""

    def markdown(self) -> str:
        lines = [self.header, ("---",) * len(self.header), *self.rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def iteration(record: Record) -> Table:
    """A row for each who ran."""
    best = record["best_of_pytorch"]
    rows = [
        (_who(name, best), seconds(median), ratio(record["ratio"]) if name == best else "")
        for name, median in record["median_seconds"].items()
    ]
    split = {**record["split_seconds"]}
    parts = ", ".join(f"{name} {seconds(value)}" for name, value in split.items())
    note = f"Of ours: {parts}; losses and optimiser are {percent(record['share_outside_network'])}."
    return Table((f"{record['size']} px", "an iteration, median", "ratio"), rows, note)


def memory(record: Record) -> Table:
    """A row for each who ran."""
    rows = [
        (name, f"{max(peaks):.0f} MiB", "" if name == "ours" else ratio(record["ratio"][name]))
        for name, peaks in record["peak_mebibytes"].items()
    ]
    note = "Of processes of their own that run three iterations."
    return Table((f"{record['size']} px", "peak memory", "ours over it"), rows, note)


def loss(record: Record) -> Table:
    """Ours and PyTorch's time to PyTorch's last loss, within 1%."""
    reached = record["seconds_to_goal"]
    rows = [(name, "not reached" if at is None else seconds(at)) for name, at in reached.items()]
    share = record["ratio_of_time"]
    whole = seconds(record["pytorch_seconds"])
    note = f"PyTorch ({record['mode']}) ran {record['iterations']} iterations in {whole}"
    note += f"; ours took {share:.2f} of that." if share else "."
    return Table((f"{record['size']} px", f"to a loss of {record['goal']:.4g}"), rows, note)


def batch(record: Record) -> Table:
    """A row for each number of pictures together."""
    names = {None: "one at a time", "pytorch": "PyTorch, one at a time"}
    counts = list(record["rows"][0]["seconds"])
    header = ("together", "an iteration of a picture", *(f"{count} iterations" for count in counts), "300, computed")
    rows = [
        (
            names.get(row["batch"], str(row["batch"])),
            seconds(row["seconds_an_iteration"]),
            *(ratio(row["ratio"][count]) for count in counts),
            f"{row['computed_ratio_at_300']:.2f}",
        )
        for row in record["rows"]
    ]
    note = (
        f"{record['pictures']} pictures of {record['size']} px from files to files on {record['network']}; ratios of "
        "pictures an hour against one at a time."
    )
    return Table(header, rows, note)


def tiled(record: Record) -> Table:
    """Tiles against the whole picture, or one large picture alone."""
    rows = []
    for row in record.get("rows", [record]):
        median = row.get("median_seconds") or statistics.median(row["seconds"])
        over = ratio(row["ratio"]) if "ratio" in row and row["tile"] is not None else ""
        size = "×".join(map(str, row["size"]))
        rows.append((size, str(row["tiles"]), seconds(median), over, f"{row['peak_mebibytes']:.0f} MiB"))
    note = "Seconds over those of the whole picture; peak memory of a process of its own."
    return Table(("pixels", "tiles", "an iteration, median", "over untiled", "peak memory"), rows, note)


def growth(record: Record) -> list[Table]:
    """By pixels, pictures and history."""
    made = []
    for kind, first, name in (
        ("pixels", "size", "side, px"),
        ("pictures", "pictures", f"pictures of {record['pictures_size']} px together"),
        ("history", "history", f"L-BFGS's history, {record['history_size']} px"),
    ):
        rows = [
            (
                str(row[first]),
                seconds(row["median_seconds"]["ours"]),
                seconds(row["median_seconds"]["pytorch"]),
                ratio(row["ratio"]),
            )
            for row in record[kind]
        ]
        unit = "a step of L-BFGS alone" if kind == "history" else "an iteration"
        made.append(Table((name, f"ours, {unit}", "PyTorch", "ratio"), rows))
    return made


def convergence(record: Record) -> list[Table]:
    """The pairs, and what was tried."""
    made = []
    for network in record["networks"]:
        pairs = network["pairs"]
        rows = [("PyTorch", *(_reached(pair["pytorch"]) for pair in pairs))]
        rows += [
            (f"ours, {name}", *(_reached(pair["methods"].get(name)) for pair in pairs)) for name in network["methods"]
        ]
        what = (
            "iterations at the last size, and time as a part of that of PyTorch's"
            if "measured" in network
            else "iterations, those at smaller sizes counted by their pixels, where PyTorch makes"
        )
        note = f"{network['network']}, {network['size']} px, to within 1 % of the loss of PyTorch's last: {what} "
        note += f"{record['iterations']}. Ours by method: `bench/stylogram_bench/convergence.py`."
        header = ("", *(pair["pair"] for pair in pairs))
        made.append(Table(header, rows, note))
        rows = [(of, *(_stop(pair["stopped"][of]) for pair in pairs)) for of in pairs[0]["stopped"]]
        why = "Where `--tolerance` would stop PyTorch's curve: the iteration, and the loss there over the last."
        made.append(Table(("tolerance", *header[1:]), rows, why))
    return made


def _stop(stopped: list[float] | None) -> str:
    return "" if stopped is None else f"{stopped[0]}, {stopped[1]:.3f}"


def _reached(method: dict[str, Any] | None) -> str:
    if method is None:
        return ""
    if method["iterations"] is None:
        return "not reached"
    return f"{method['iterations']}, {method['share']:.2f}" if "share" in method else f"{method['equal_work']:.0f}"


def cluster(record: Record) -> list[Table]:
    """Workers of a Ray cluster: measured, and on paper past them."""
    rows = [
        (
            str(row["workers"]),
            f"{row['pictures_an_hour']:.0f}",
            ratio(row["times_one_worker"]),
            ratio(row["times_without_ray"]),
            seconds(statistics.median(row["seconds_to_start"])),
            seconds(row["writer_seconds_a_picture"]),
            seconds(row["driver_seconds_a_picture"]),
        )
        for row in record["workers"]
    ]
    header = (
        "workers",
        "pictures an hour",
        "over one worker",
        "over as many threads without Ray",
        "until they are there",
    )
    note = (
        f"{record['pictures']} pictures of {record['size']} px, {record['iterations']} iterations, one processor each"
    )
    paper = [(str(row["workers"]), f"{row['pictures_an_hour']:.0f}") for row in record["on_paper"]]
    why = "Computed from that, not measured: W workers make W times what one of two does, until the driver is busy."
    measured = Table((*header, "driver's writer, a picture", "its processor, a picture"), rows, note)
    return [measured, Table(("workers", "pictures an hour, computed"), paper, why)]


def _who(name: str, best: str) -> str:
    return f"PyTorch, {name}" + (" (its best)" if name == best else "") if name != "ours" else name


SECTIONS: dict[str, tuple[str, Callable[[Record], Table | list[Table]]]] = {
    "iteration_": ("An iteration", iteration),
    "loss_": ("Time to a loss", loss),
    "convergence": ("Pairs of pictures", convergence),
    "batch": ("Batches", batch),
    "memory_": ("Memory", memory),
    "tile": ("Tiles", tiled),
    "growth": ("How the cost grows", growth),
    "cluster": ("A cluster", cluster),
}


def tables(name: str, record: Record) -> list[Table]:
    """Those of a record, by its name; none if it has no section."""
    for prefix, (_, make) in SECTIONS.items():
        if name.startswith(prefix):
            made = make(record)
            return made if isinstance(made, list) else [made]
    return []


def page(folder: Path, beside: Path) -> str:
    """The page, as it stands in the folder `beside`, from which its links lead to the records in `folder`."""
    records, results = read(folder), Path(os.path.relpath(folder, beside)).as_posix()
    machines = list(dict.fromkeys(map(_machine, records.values())))
    source = partial(_source, results, machines)
    parts = [HEAD.format(results=results), *_goals(records), *_machines(machines)]
    told: set[str] = set()
    for prefix, (title, _) in SECTIONS.items():
        own = {name: record for name, record in records.items() if name.startswith(prefix)}
        if own:
            told |= own.keys()
            parts.append(f"## {title}\n")
            parts += [_section(name, record, source(name, record)) for name, record in own.items()]
    parts += _others([source(name, record) for name, record in records.items() if name not in told])
    return "\n".join(parts)


def _section(name: str, record: Record, source: str) -> str:
    shown = [part for table in tables(name, record) for part in (table.note, table.markdown()) if part]
    plot = f"![The loss over time]({name}.png)" if name == "convergence" else ""
    return "\n\n".join([part for part in (plot, *shown, source) if part]) + "\n"


def _source(results: str, machines: Sequence[str], name: str, record: Record) -> str:
    others = f", beside other work on {record['others']:.2f} processors" if "others" in record else ""
    machine = f", machine {machines.index(_machine(record)) + 1}" if len(machines) > 1 else ""
    where = f"[{name}.json]({results}/{name}.json), {record.get('date', 'undated')}{machine}{others}"
    return f"{where}: `{record['command']}`" if "command" in record else where


def _machine(record: Record) -> str:
    machine = record.get("machine", {})
    versions = record.get("versions") or machine.get("versions", {})
    told = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "python")
    kinds = [machine.get("cpu"), f"{machine['cores']} cores" if "cores" in machine else None]
    kinds += [machine.get("simd") or record.get("simd"), f"({told})" if told else None]
    return " ".join(kind for kind in kinds if kind) or "machine not said"


def _goals(records: Records) -> list[str]:
    said = {True: "yes", False: "no", None: ""}
    rows = [(goal.what, goal.wanted, goal.measured, said[goal.met]) for goal in goals(records)]
    return ["## Goals\n", Table(("on this machine", "goal", "measured", "met"), rows).markdown() + "\n"]


def _machines(machines: Sequence[str]) -> list[str]:
    lines = [f"{number}. {machine}" for number, machine in enumerate(machines, 1)]
    return ["## Machines\n", "\n".join(lines) + "\n"] if machines else []


def _others(sources: list[str]) -> list[str]:
    lines = [f"- {source}" for source in sources]
    return ["## Other records\n", "Of what other pages tell.\n", "\n".join(lines) + "\n"] if lines else []
