"""stylogram network: the networks there are, what is in one, their files, and their graphs for other programs."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from stylogram_export import network as networks
from stylogram_export.pairing import CONVOLUTIONS

from .. import zoo
from ..cli import NamingGroup, not_empty
from ..embedding import plan
from ..errors import Error, one_of
from ..taps import LARGE

_NETWORK_OPTIONS = (
    click.option("--preprocess", metavar="NAME", help="imagenet, caffe or unit; the network's own if not given"),
    click.option("--pooling", metavar="max|avg", help="the pooling of a network built from weights"),
)


def _with_network(function: Any) -> Any:
    for option in reversed(_NETWORK_OPTIONS):
        function = option(function)
    return click.argument("network")(function)


def _resolve(network: str, preprocess: str | None, pooling: str | None) -> networks.Network:
    if pooling not in (None, "max", "avg"):
        raise one_of("pooling", pooling, ("max", "avg"))
    return zoo.resolve(network, preprocess, pooling)


@click.group(name="network", cls=NamingGroup)
def command() -> None:
    """List, show, fetch and export feature networks."""


@command.command(name="list")
def list_() -> None:
    """The networks that have names, and whether their weights are here."""
    table = Table("name", "weights", "what", box=None, pad_edge=False)
    for name in zoo.names():
        entry = zoo.ENTRIES.get(name)
        if entry is None:
            table.add_row(name, "built in", zoo.BUILT_IN[name])
        else:
            table.add_row(name, str(zoo.cached(name) or "not fetched"), f"{entry.source}, {entry.mebibytes} MB")
    Console(soft_wrap=True).print(table)


@command.command()
@_with_network
@click.option("--size", type=click.IntRange(16), default=224, metavar="N", help="side of the picture for the shapes")
def show(network: str, preprocess: str | None, pooling: str | None, size: int) -> None:
    """The layers of NETWORK (a name or a file): shapes, strides, receptive fields; which are the defaults."""
    chosen = _resolve(network, preprocess, pooling)
    assumed = " (assumed: the file does not say)" if chosen.assumed_preprocess else ""
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{chosen.name}: preprocessing {chosen.preprocess.to_json()}{assumed}", markup=False)
    for key, value in chosen.provenance.items():
        console.print(f"{key}: {value}", markup=False)
    if chosen.loss_weights:
        weights = ", ".join(f"{name} {value:g}" for name, value in chosen.loss_weights.items())
        console.print(f"weights of the losses, if none are given: {weights}", markup=False)
    if chosen.precondition != 1:
        console.print(f"preconditioning of L-BFGS, if none is given: {chosen.precondition:g}", markup=False)
    console.width = max(console.width, 120)  # a table cut to 80 columns cannot be read
    table = Table("layer", "tensor", "op", "shape", "stride", "receptive field", "default", box=None, pad_edge=False)
    for row in networks.describe(chosen, (1, 3, size, size)):
        default = " ".join(kind for kind in ("style", "content") if row[kind])
        default += f"style from {LARGE} pixels" if row["coarse"] else ""
        sizes = (_sides(row[key]) for key in ("shape", "stride", "field"))
        table.add_row(row["layer"], row["tensor"], row["op"], *sizes, default)
    console.print(table)


def _sides(sides: tuple[float | None, ...] | None) -> str:
    return "whole picture" if sides is None else "x".join("?" if side is None else str(side) for side in sides)


@command.command()
@click.argument("name")
@click.option("--url", metavar="BASE", help="where the file lies, if not at its publisher's")
def fetch(name: str, url: str | None) -> None:
    """Download the official weights of NAME into the cache; an interrupted download goes on where it stopped."""
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        path = zoo.fetch(name, base_url=url, progress=lambda done, total: bar.update(task, completed=done, total=total))
    click.echo(path)


@command.command()
@_with_network
@click.option(
    "-o",
    "--output",
    callback=not_empty,
    required=True,
    metavar="DIR",
    help="forward.onnx and backward.onnx are written there",
)
@click.option("--content-layers", metavar="A=2,B=1", help="layers of the content loss; the network's own if not given")
@click.option("--style-layers", metavar="A=2,B=1", help="layers of the style loss; the network's own if not given")
@click.option("--layers", metavar="A,B", help="only these layers, for programs with losses of their own")
@click.option("--shape", default="?,3,?,?", metavar="N,3,H,W", help="? leaves a side open [?,3,?,?]")
@click.option("--relu", default="gradient", metavar="RULE", help="gradient, deconvnet or guided [gradient]")
@click.option("--convolution", default="direct", metavar="NAME", help=f"{' or '.join(CONVOLUTIONS)} [direct]")
def export(
    network: str,
    preprocess: str | None,
    pooling: str | None,
    output: str,
    content_layers: str | None,
    style_layers: str | None,
    layers: str | None,
    shape: str,
    relu: str,
    convolution: str,
) -> None:
    """Write NETWORK's forward and backward graphs as ONNX files, for libstylogram and other programs."""
    if layers is not None and (content_layers is not None or style_layers is not None):
        raise Error("--layers: accepted without --content-layers and --style-layers, got both")
    chosen, sides = _resolve(network, preprocess, pooling), _shape(shape)
    longer = max(side or 0 for side in sides[2:])
    taps, details = plan(chosen, content_layers, style_layers, longer) if layers is None else (_names(layers), None)
    options: dict[str, Any] = {"relu": relu, "convolution": convolution, "details": details}
    for path in networks.export(chosen, taps, sides, Path(output), **options):
        click.echo(path)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _shape(text: str) -> tuple[int | None, ...]:
    try:
        sides = tuple(None if side.strip() in ("?", "") else int(side) for side in text.split(","))
    except ValueError:
        sides = ()
    if len(sides) != 4 or any(side is not None and side < 1 for side in sides):
        raise Error(f"--shape: four numbers N,3,H,W are accepted, ? for an open one; got {text!r}")
    return sides
