"""A backward graph in stages, so that the gradients at the taps need not all be there at once.

A stage runs when the gradients of its taps have been written: those of the deepest taps first, as backward reaches
them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from . import winograd
from .backward import Derivative
from .graph import constants, inferred, needed, reads, rebuild
from .split import pieces, split

LEAST = 2 * 2**20  # elements, 8 MiB: of a tensor between two layers that is worth a cut there


@dataclass(frozen=True)
class Stage:
    """A model, and the taps whose gradients have to be there before it runs; none for a later part of a stage."""

    model: onnx.ModelProto
    taps: tuple[str, ...]


@dataclass(frozen=True)
class Staged:
    """A network and its gradient as several ONNX models, in order.

    forward: the `Derivative`'s in parts. stages: each reads `saved` activations, `gy:<tap>` for its taps, and what
    models before it hand out; one of them hands out `gx`.
    """

    forward: tuple[onnx.ModelProto, ...]
    stages: tuple[Stage, ...]


def staged(derivative: Derivative, winograds: bool = False) -> Staged:
    """`derivative` in stages, one for each tap where there is something to do between two; all sizes must be closed.

    `winograds`: with `winograd.rewrite`'s op wherever it fits, and cut at large tensors as well.
    """
    graph = derivative.backward.graph
    order = {name: at for at, name in enumerate(o for node in derivative.forward.graph.node for o in node.output)}
    taps = sorted(derivative.taps, key=lambda tap: -order[tap])
    stage_of = {f"gy:{tap}": at for at, tap in enumerate(taps)}
    runs: list[list[onnx.NodeProto]] = [[] for _ in taps]
    free = []  # what no gradient goes into, masks for instance: made again in each stage that reads it
    for node in graph.node:
        stages = [stage_of[name] for name in node.input if name in stage_of]
        if not stages:
            free.append(node)
            continue
        runs[max(stages)].append(node)
        stage_of.update((name, max(stages)) for name in node.output if name)
    models, waiting, made = _models(derivative.backward, runs, free), [], []
    for tap, model in zip(taps, models, strict=True):
        waiting.append(tap)
        if model is not None:
            made.append(Stage(model, tuple(waiting)))
            waiting = []
    if winograds:
        whole, rewritten = winograd.rewrite_stages(derivative, [stage.model for stage in made])
        forward = pieces(whole, LEAST)
        made = [
            Stage(piece, () if number else stage.taps)
            for stage, model in zip(made, rewritten, strict=True)
            for number, piece in enumerate(pieces(model, LEAST))
        ]
    else:
        forward = split(derivative.forward)
    return Staged(tuple(forward), tuple(made))


def _models(
    backward: onnx.ModelProto, runs: Sequence[Sequence[onnx.NodeProto]], free: Sequence[onnx.NodeProto]
) -> list[onnx.ModelProto | None]:
    """A model for each run of nodes; None for none. Each hands out what later ones read, and `gx`."""
    known, fixed = inferred(backward), constants(backward.graph)
    read_after = {"gx"}
    models: list[onnx.ModelProto | None] = []
    for run in reversed(runs):
        outputs = [name for node in run for name in node.output if name in read_after]
        nodes, used = needed([*free, *run], outputs)
        made = {name for node in nodes for name in node.output}
        inputs = [name for name in dict.fromkeys(n for node in nodes for n in reads(node)) if name not in made]
        read_after.update(inputs)
        if not outputs:
            models.append(None)
            continue
        part = onnx.GraphProto(name=backward.graph.name)
        part.node.extend(nodes)
        part.input.extend(known[name] for name in inputs if name not in fixed)
        part.output.extend(known[name] for name in outputs)
        part.value_info.extend(known[name] for name in made if name in known and name not in outputs)
        part.initializer.extend(tensor for tensor in backward.graph.initializer if tensor.name in used)
        models.append(rebuild(backward, part))
    return models[::-1]
