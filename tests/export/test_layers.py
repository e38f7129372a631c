"""Layers of networks that declare none: the rule gives the papers' names and sensible defaults."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from narrow_vgg import weights
from onnx import TensorProto, helper, numpy_helper
from stylogram_export.errors import Error
from stylogram_export.graph import cut
from stylogram_export.layers import Layers, canonical, discover
from stylogram_export.models import architectures, build, vgg
from stylogram_export.prepare import prepare

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
SQUEEZENET = Path(os.environ.get("STYLOGRAM_SHARED", "../shared")) / "data/models/squeezenet1_0.onnx"


class Drawing:
    """A graph drawn node by node; tensors are named by the caller."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, op: str, name: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        return name

    def conv(self, name: str, source: str, channels: tuple[int, int], k: int = 3, stride: int = 1) -> str:
        self.constants.append(
            numpy_helper.from_array(np.zeros((channels[1], channels[0], k, k), np.float32), f"{name}.w")
        )
        return self.node("Conv", name, source, f"{name}.w", strides=[stride, stride], pads=[k // 2] * 4)

    def relu(self, name: str, source: str) -> str:
        return self.node("Relu", name, source)

    def block(self, name: str, source: str, channels: tuple[int, int], k: int = 3, stride: int = 1) -> str:
        return self.relu(name, self.conv(f"{name}.z", source, channels, k, stride))

    def model(self, *outputs: str) -> onnx.ModelProto:
        source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        body = helper.make_graph(self.nodes, "g", [source], results, self.constants)
        return helper.make_model(body, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


def light(name: str, last: str | None = None) -> onnx.ModelProto:
    """One of the onnx package's architectures, prepared; cut after its last node of type `last` if that is given."""
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    if last:
        model = cut(model, [[node.output[0] for node in model.graph.node if node.op_type == last][-1]])
    return prepare(model)


def ops(layers: Layers, model: onnx.ModelProto) -> list[str]:
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    return [made[tensor] for tensor in layers.names.values()]


@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg19", "random"])
def test_our_vggs_are_found_as_they_declare_themselves(name):
    model = build(name) if name == "random" else build(name, weights(name))
    found, declared = discover(model), architectures()[name].layers
    assert found.names == declared.names
    assert found.also == declared.also
    assert found.style == declared.style == tuple(f"conv{stage}_1" for stage in range(1, 6))
    assert found.content == declared.content
    if name != "vgg11":
        assert found.content == ("conv4_2",)


def test_a_foreign_vgg_has_the_papers_names():
    model = light("vgg19", "MaxPool")
    layers = discover(model)
    relus = [node.output[0] for node in model.graph.node if node.op_type == "Relu"]
    assert layers.names == dict(zip(vgg.convolutions(vgg.STAGES["vgg19"]), relus, strict=True))
    assert layers.style == ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    assert layers.content == ("conv4_2",)
    pools = [node.output[0] for node in model.graph.node if node.op_type == "MaxPool"]
    assert [layers.tensor(f"pool{stage}") for stage in range(1, 6)] == pools
    convolutions = [node.output[0] for node in model.graph.node if node.op_type == "Conv"]
    assert layers.tensor("conv1_1:linear") == convolutions[0]


@pytest.mark.skipif(not SQUEEZENET.exists(), reason=f"no {SQUEEZENET}")
def test_squeezenet():
    layers = discover(prepare(onnx.load(SQUEEZENET)))
    assert list(layers.names.values()) == ["conv1", *(f"fire{k}" for k in range(2, 10)), "conv10"]
    assert [layers.names[name] for name in layers.style] == ["conv1", *(f"fire{k}" for k in range(2, 8)), "fire9"]
    assert [layers.names[name] for name in layers.content] == ["fire5"]
    assert layers.tensor("fire2_squeeze") == "fire2_squeeze"


def test_resnet_has_the_papers_stages():
    """conv1 and 3, 4, 6, 3 blocks: He et al. (2016), table 1."""
    model = light("resnet50")
    layers = discover(model)
    counts = [sum(name.startswith(f"conv{stage}_") for name in layers.names) for stage in range(1, 6)]
    assert counts == [1, 3, 4, 6, 3]
    assert set(ops(layers, model)) == {"Relu"}
    assert layers.style == ("conv1_1", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv4_1", "conv4_2")
    assert layers.content == ("conv3_1",)
    sums = {node.output[0] for node in model.graph.node if node.op_type in ("Sum", "Add")}
    makers = {node.output[0]: node for node in model.graph.node}
    assert all(makers[tensor].input[0] in sums for tensor in list(layers.names.values())[1:])


def test_inception_v1_has_its_stem_and_its_modules():
    model = light("inception_v1")
    layers = discover(model)
    assert ops(layers, model) == ["Relu"] * 3 + ["Concat"] * 9
    counts = [sum(name.startswith(f"conv{stage}_") for name in layers.names) for stage in range(1, 6)]
    assert counts == [1, 2, 2, 5, 2]
    assert len(layers.style) == 8
    assert layers.content == ("conv3_1",)


@pytest.mark.parametrize(
    ("name", "last", "counts", "style"),
    [
        ("bvlc_alexnet", "MaxPool", [1, 1, 3], 5),
        ("zfnet512", "MaxPool", [1, 1, 3], 5),
        ("densenet121", None, [1, 1, 1, 1, 1], 4),
        ("inception_v2", None, [1, 2, 2, 5, 3], 8),
        ("shufflenet", None, [1, 4, 8, 4], 7),
        ("squeezenet", None, [1, 2, 2, 5], 8),
    ],
)
def test_other_architectures(name, last, counts, style):
    model = light(name, last)
    layers = discover(model)
    assert [sum(key.startswith(f"conv{k}_") for key in layers.names) for k in range(1, len(counts) + 1)] == counts
    assert len(layers.names) == sum(counts)
    assert len(layers.style) == style
    assert set(ops(layers, model)) <= {"Relu", "Concat"}


@pytest.mark.parametrize(
    ("name", "last", "content"), [("bvlc_alexnet", "MaxPool", "conv2_1"), ("squeezenet", None, "conv3_1")]
)
def test_the_content_layer_where_stages_are_short_or_deep(name, last, content):
    """One convolution at stride 8: that one; two in one module: that module."""
    assert discover(light(name, last)).content == (content,)


def test_bottlenecks_and_the_layer_of_the_classes_are_no_defaults():
    draw = Drawing()
    at = draw.block("wide", "x", (3, 8))
    at = draw.block("squeeze", at, (8, 2), k=1)
    at = draw.block("expand", at, (2, 8))
    at = draw.block("mixed", at, (8, 8), k=1)  # 1×1, but no fewer channels
    at = draw.block("scores", at, (8, 10), k=1)
    layers = discover(draw.model(draw.node("GlobalAveragePool", "mean", at)))
    assert list(layers.names.values()) == ["wide", "expand", "mixed", "scores"]
    assert [layers.names[name] for name in layers.style] == ["wide", "expand", "mixed"]


def test_a_relu_after_a_concat_stands_for_both():
    draw = Drawing()
    at = draw.block("stem", "x", (3, 8))
    joined = draw.node("Concat", "joined", draw.block("a", at, (8, 4)), draw.block("b", at, (8, 4)), axis=1)
    at = draw.block("after", draw.relu("again", joined), (8, 8))
    assert list(discover(draw.model(at)).names.values()) == ["stem", "again", "after"]


def test_swish_is_an_activation():
    draw = Drawing()
    at = "x"
    for name, channels in (("a", (3, 4)), ("b", (4, 4)), ("c", (4, 4))):
        z = draw.conv(f"{name}.z", at, channels)
        at = draw.node("Mul", name, z, draw.node("Sigmoid", f"{name}.s", z))
    assert list(discover(draw.model(at)).names.values()) == ["a", "b", "c"]


def test_auxiliary_outputs_do_not_hide_the_deeper_network():
    draw = Drawing()
    tensors = [draw.block("a", "x", (3, 4))]
    for name in "bcd":
        tensors.append(draw.block(name, tensors[-1], (4, 4), stride=2))
    aux = draw.node("GlobalAveragePool", "aux", tensors[1])
    main = draw.node("GlobalAveragePool", "main", draw.block("e", tensors[-1], (4, 4)))
    assert list(discover(draw.model(aux, main)).names.values()) == [*tensors, "e"]


def test_a_network_with_skips_over_everything_uses_its_branches():
    draw = Drawing()
    a = draw.block("a", "x", (3, 4))
    b = draw.block("b", a, (4, 4), stride=2)
    c = draw.block("c", b, (4, 4), stride=2)
    up = [draw.node("Resize", f"up{k}", source, "", f"scale{k}") for k, source in ((2, b), (4, c))]
    for k in (2, 4):
        draw.constants.append(numpy_helper.from_array(np.float32([1, 1, k, k]), f"scale{k}"))
    out = draw.conv("out", draw.node("Concat", "all", a, *up, axis=1), (12, 3))
    layers = discover(draw.model(out))
    assert {"a", "b", "c"} <= set(layers.names.values())


def test_stages_of_a_decoder_give_no_style():
    draw = Drawing()
    at = "x"
    for index, stride in enumerate((1, 2, 2)):
        at = draw.block(f"down{index}", at, (3 if at == "x" else 4, 4), stride=stride)
    draw.constants.append(numpy_helper.from_array(np.float32([1, 1, 2, 2]), "twice"))
    at = draw.block("up", draw.node("Resize", "resized", at, "", "twice"), (4, 4))
    layers = discover(draw.model(at))
    assert [layers.names[name] for name in layers.style] == ["down0", "down1", "down2"]
    assert layers.names["conv4_1"] == "up"


def test_no_activation_is_an_error():
    draw = Drawing()
    with pytest.raises(Error, match="no activation with rows and columns"):
        discover(draw.model(draw.conv("y", "x", (3, 4))))


SMALL = Layers(
    {"conv1_1": "r1", "conv1_2": "r2"}, ("conv1_1",), ("conv1_2",), {"pool1": "p", "conv1_1:linear": "z"}, ("z", "odd")
)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("conv1_2", "r2"),
        ("relu1_2", "r2"),
        ("block1_conv2", "r2"),
        ("pool1", "p"),
        ("block1_pool", "p"),
        ("conv1_1:linear", "z"),
        ("relu1_1:linear", "z"),
        ("odd", "odd"),
    ],
)
def test_spellings(name, tensor):
    assert SMALL.tensor(name) == tensor


def test_unknown_layers_list_the_nearest_first():
    with pytest.raises(Error) as error:
        SMALL.tensor("conv1_3")
    assert str(error.value).startswith("unknown layer 'conv1_3'; accepted: conv1_")
    assert "odd" in str(error.value)


def test_a_layers_name_goes_before_a_tensor_called_the_same():
    layers = Layers({"conv1_1": "relu"}, ("conv1_1",), ("conv1_1",), {}, ("conv1_1", "relu"))
    assert layers.tensor("conv1_1") == "relu"


def test_canonical_leaves_other_names_alone():
    assert [canonical(name) for name in ("fire2", "relu", "res2a_relu", "block1_relu")] == [
        "fire2",
        "relu",
        "res2a_relu",
        "block1_relu",
    ]


def test_json_round_trip():
    again = Layers.from_json(SMALL.to_json())
    assert (again.names, again.style, again.content, again.also) == (
        SMALL.names,
        SMALL.style,
        SMALL.content,
        SMALL.also,
    )
    assert again.tensors == ()
    weighted = replace(SMALL, weights={"conv1_1": 2.0})
    assert Layers.from_json(weighted.to_json()).weights == {"conv1_1": 2.0}
    coarse = replace(SMALL, coarse={"conv1_1": 0.5})
    assert Layers.from_json(coarse.to_json()).coarse == {"conv1_1": 0.5}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "not JSON"),
        ("[]", "an object with also, coarse, content, names, style"),
        ('{"names": {}, "style": []}', "an object with"),
        ('{"names": {}, "style": [], "content": [], "more": 1}', "an object with"),
        ('{"names": {"a": 1}, "style": [], "content": []}', "names must be an object of strings"),
        ('{"names": {"a": "b"}, "style": "a", "content": []}', "style must be a list of names"),
        ('{"names": {"a": "b"}, "style": ["c"], "content": []}', "unknown layer 'c'; accepted: a"),
        ('{"names": {"a": "b"}, "style": ["a"], "content": [], "weights": 2}', "weights must be an object of numbers"),
        (
            '{"names": {"a": "b"}, "style": ["a"], "content": [], "weights": {"b": 2}}',
            "unknown weighted style layer 'b'",
        ),
        ('{"names": {"a": "b"}, "style": ["a"], "content": [], "weights": {"a": 0}}', "a must be a number above 0"),
        ('{"names": {"a": "b"}, "style": ["a"], "content": [], "coarse": {"a": 0}}', "a must be a number above 0"),
        (
            '{"names": {"a": "b"}, "style": ["a"], "content": [], "coarse": ["a"]}',
            "coarse must be an object of numbers",
        ),
        ('{"names": {"a": "b"}, "style": ["a"], "content": [], "coarse": {"c": 1}}', "layer 'c'"),
    ],
)
def test_bad_json(text, says):
    with pytest.raises(Error, match=says):
        Layers.from_json(text)


def test_declared_tensors_must_be_there():
    with pytest.raises(Error, match="layer 'conv9_1' is declared as tensor 'nowhere'"):
        Layers({"conv9_1": "nowhere"}, (), ()).of(build("random"))
