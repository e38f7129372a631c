"""The reverse walk: order, accumulation, un-broadcasting, and counting what the rules return."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from .broadcast import unbroadcast
from .errors import Error, one_of
from .expand import expand
from .graph import (
    FLOATS,
    IR_VERSION,
    OPSET,
    cut,
    describe,
    dims,
    fresh,
    inferred,
    light,
    names,
    needed,
    pictures,
    rebuild,
)
from .prepare import prepare
from .rules import RELU_MODES, ZERO, known, rule_for
from .specialise import specialise
from .step import Gradients, Step, Tape
from .unpooling import mask_maxima


@dataclass(frozen=True)
class Derivative:
    """A network and its gradient as two ONNX models, in opset 18 standard ops.

    forward: the network's own input -> the taps, then the `saved` activations that are not taps.
    backward: `gy:<tap>` for each tap, in order, then `saved` -> `gx`, the gradient on the input. `gx` is the
    vector-Jacobian product: sum over taps of (d tap / d input)ᵀ gy.
    """

    forward: onnx.ModelProto
    backward: onnx.ModelProto
    taps: tuple[str, ...]
    saved: tuple[str, ...]


def differentiate(
    model: onnx.ModelProto, taps: Sequence[str], shape: Sequence[int | None], relu: str = "gradient"
) -> Derivative:
    """The gradient of the tensors `taps` with respect to the network's input, as a graph.

    `shape` is the picture's (N, C, H, W), `None` for a size that stays open. `relu` picks what a ReLU passes back:
    `gradient` where its input was positive, `deconvnet` where the gradient is (Zeiler and Fergus 2014, section 2),
    `guided` where both are (Springenberg et al. 2015, section 3.4). A tap may be any tensor but the input, also one on
    the way to another tap.

    Raises `Error` for unknown tensors and modes, sizes that do not fit, an op without a rule or without a derivative,
    and taps that do not depend on the picture.
    """
    if relu not in RELU_MODES:
        raise one_of("relu rule", relu, RELU_MODES)
    taps = tuple(dict.fromkeys(taps))
    if not taps:
        raise Error("no tap to differentiate, give at least one tensor")
    inputs = [v.name for v in pictures(model.graph)]
    for tap in taps:
        if tap in inputs:
            raise Error(f"{tap!r} is the network's input; a tap must be a tensor that the network computes")
    clean = prepare(cut(model, taps))
    plain = expand(clean, OPSET, lambda op: not known(op))
    forward = specialise(clean if plain is clean else prepare(plain), shape)
    return walk(forward, taps, relu)


def walk(forward: onnx.ModelProto, taps: Sequence[str], relu: str) -> Derivative:
    """`differentiate` on a model that is cut, prepared and specialised already. Changes nothing in it."""
    graph = forward.graph
    picture = graph.input[0].name
    tape = Tape(graph, inferred(forward), relu)
    _activate(tape, graph, picture)
    gradients = {tap: [fresh(f"gy:{tap}", tape.taken)] for tap in taps}
    for tap in taps:
        if tap not in tape.active:
            raise Error(f"tap {tap!r} does not depend on the picture through anything that has a gradient")
    made: dict[str, str] = {}  # gradient by the forward tensor that it belongs to
    for node in reversed(graph.node):
        found = [_accumulated(tape, gradients, made, name) for name in node.output]
        if not any(found) or not tape.active.intersection(node.input):
            continue
        for i, gradient in _ruled(Step(tape, node, found)).items():
            gradients.setdefault(node.input[i], []).append(gradient)
    _accumulated(tape, gradients, made, picture)
    saved = tuple(name for name in [picture, *(o for n in graph.node for o in n.output)] if name in tape.saved)
    first, renamed = _forward(forward, taps, saved)
    saved = tuple(renamed.get(name, name) for name in saved)
    return Derivative(first, _backward(forward, tape, taps, renamed, made), tuple(taps), saved)


def _activate(tape: Tape, graph: onnx.GraphProto, picture: str) -> None:
    """Marks the tensors through which a gradient can reach the picture."""
    tape.active.add(picture)
    for node in graph.node:
        if node.op_type not in ZERO and tape.active.intersection(node.input):
            kinds = {name: tape.types[name].type.tensor_type.elem_type for name in node.output if name in tape.types}
            tape.active.update(name for name in node.output if name and kinds.get(name, FLOATS[0]) in FLOATS)


def _accumulated(tape: Tape, gradients: dict[str, list[str]], made: dict[str, str], name: str) -> str | None:
    """The sum of the gradients that have arrived at a tensor; in reverse order, all that ever will."""
    arrived = gradients.pop(name, [])
    if not arrived:
        return None
    total = arrived[0]
    for other in arrived[1:]:
        joint = fresh(f"{name}:sum", tape.taken)
        tape.add("Add", [total, other], [joint], {})
        total = joint
    made[name] = total
    return total


def _ruled(step: Step) -> Gradients:
    """What the node's rule returns, counted and summed back to the inputs' shapes."""
    node = step.node
    rule = rule_for(node.op_type if not node.domain else f"{node.domain}.{node.op_type}", describe(node))
    returned = rule.vjp(step)
    found = {0: returned} if isinstance(returned, str) else returned
    wanted = [i for i in range(len(node.input)) if step.wants(i)]
    for i in wanted:
        if i not in found:
            raise Error(f"{describe(node)}: no rule for the gradient of its input {i}, which depends on the picture")
    return {i: unbroadcast(step, found[i], i) if rule.broadcasts else found[i] for i in wanted}


def _forward(
    model: onnx.ModelProto, taps: Sequence[str], saved: Sequence[str]
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The model with the saved activations as further outputs; how those are called that are inputs."""
    made = rebuild(model, model.graph)
    graph = made.graph
    types = inferred(made)
    taken, renamed = names(graph), {}
    for name in saved:
        if name == graph.input[0].name:  # an output cannot be an input: hand out a copy
            renamed[name] = fresh(f"saved:{name}", taken)
            graph.node.append(helper.make_node("Identity", [name], [renamed[name]], name=renamed[name]))
    del graph.output[:]
    for name in dict.fromkeys([*taps, *saved]):
        value = graph.output.add()
        value.CopyFrom(types[name])
        value.name = renamed.get(name, name)
    onnx.checker.check_model(light(made))
    return made, renamed


def _backward(
    model: onnx.ModelProto, tape: Tape, taps: Sequence[str], renamed: dict[str, str], made: dict[str, str]
) -> onnx.ModelProto:
    """The backward graph of a finished tape, checked: every gradient has the shape of what it belongs to."""
    picture = model.graph.input[0]
    _finish(tape, made[picture.name], renamed)
    nodes, used = needed(mask_maxima(tape.nodes, tape.taken), ["gx"])
    nodes = _independent_first(nodes, [f"gy:{tap}" for tap in taps])
    graph = helper.make_graph(nodes, f"gradient of {model.graph.name}", [], [])
    for tap in taps:
        _declare(graph.input, tape, tap, f"gy:{tap}")
    order = [picture.name, *(name for node in model.graph.node for name in node.output)]
    for name in order:
        if name in tape.saved:
            _declare(graph.input, tape, name, renamed.get(name, name))
    _declare(graph.output, tape, picture.name, "gx")
    graph.initializer.extend(t for t in tape.initializers.values() if t.name in used)
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    found.producer_name = "stylogram"
    onnx.checker.check_model(light(found))
    _check_shapes(found, tape, made)
    return found


def _independent_first(nodes: Sequence[onnx.NodeProto], gradients: Sequence[str]) -> list[onnx.NodeProto]:
    """Masks and the like before everything that reads a gradient; both in their order.

    ONNX Runtime walks from the output back, the later of a node's inputs first. A mask that stood after the gradients
    would be made at the very start and be held until its layer comes: all of them together, 200 MB at 512 px.
    """
    reached = set(gradients)
    rest = []
    for node in nodes:
        if reached.intersection(node.input):
            reached.update(node.output)
            rest.append(node)
    return [node for node in nodes if not reached.intersection(node.output)] + rest


def _finish(tape: Tape, gradient: str, renamed: dict[str, str]) -> None:
    """Calls the picture's gradient `gx`, and saved inputs by the names under which forward hands them out."""
    for node in tape.nodes:
        for i, name in enumerate(node.input):
            node.input[i] = "gx" if name == gradient else renamed.get(name, name)
        for i, name in enumerate(node.output):
            if name == gradient:
                node.output[i] = "gx"
    if not any("gx" in node.output for node in tape.nodes):
        tape.add("Identity", [gradient], ["gx"], {})


def _declare(field: "list[onnx.ValueInfoProto]", tape: Tape, like: str, name: str) -> None:
    value = field.add()  # type: ignore[attr-defined]  # a repeated field, which is more than a list
    value.CopyFrom(tape.types[like])
    value.name = name


def _check_shapes(backward: onnx.ModelProto, tape: Tape, made: dict[str, str]) -> None:
    types = inferred(backward, strict=True)
    for name, gradient in made.items():
        got, expected = dims(types[gradient]) if gradient in types else None, tape.shapes.get(name)
        if got is None or expected is None:
            continue
        if len(got) != len(expected) or any(None not in (a, b) and a != b for a, b in zip(got, expected, strict=True)):
            raise Error(f"the gradient of {name!r} has shape {got}, not {expected}: a rule on the way is wrong")
