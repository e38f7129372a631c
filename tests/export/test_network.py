"""Loading, saving, showing and exporting networks; and files that cannot be one."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from narrow_vgg import features, picture, relative, weights
from onnx import TensorProto, helper, numpy_helper
from stylogram_export import models
from stylogram_export.errors import Error
from stylogram_export.network import adapted, describe, export, folded, load, save, with_pooling
from stylogram_export.preprocess import PREPROCESS

SQUEEZENET = Path(os.environ.get("STYLOGRAM_SHARED", "../shared")) / "data/models/squeezenet1_0.onnx"
SINGLE = 1e-5  # float32, the same graph


def one_line(error: pytest.ExceptionInfo[Error]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def network(pooling: str = "max"):
    return models.network("vgg11", weights("vgg11"), pooling, preprocess=PREPROCESS["caffe"])


def toy(shape: list, kind: int = TensorProto.FLOAT, extra: bool = False) -> onnx.ModelProto:
    """conv -> ReLU three times on an input of `shape`."""
    nodes, at = [], "x"
    for index in range(3):
        nodes.append(helper.make_node("Conv", [at, "w"], [f"z{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"z{index}"], [f"r{index}"]))
        at = f"r{index}"
    if extra:
        nodes.append(helper.make_node("Add", [at, "noise"], ["sum"]))
        at = "sum"
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    inputs += [helper.make_tensor_value_info("noise", TensorProto.FLOAT, [1])] if extra else []
    w = numpy_helper.from_array(np.random.default_rng(0).standard_normal((3, 3, 3, 3)).astype(np.float32), "w")
    body = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info(at, TensorProto.FLOAT, None)], [w])
    return helper.make_model(body, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


def stored(model: onnx.ModelProto, folder: Path, name: str = "net.onnx") -> Path:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def test_round_trip(tmp_path):
    before, path = network(), tmp_path / "net.onnx"
    save(before, path)
    after = load(path)
    assert after.name == "net"
    assert after.preprocess == before.preprocess
    assert not after.assumed_preprocess
    assert after.layers == before.layers
    assert after.provenance["architecture"] == "vgg11"
    x = picture()
    for name in ("conv1_1:linear", "conv3_1", "pool5"):
        assert np.array_equal(features(after.model, [name], x)[name], features(before.model, [name], x)[name])
    assert list(tmp_path.iterdir()) == [path]


def test_saving_twice_is_the_same_file(tmp_path):
    save(network(), tmp_path / "a.onnx")
    save(load(tmp_path / "a.onnx"), tmp_path / "a2.onnx")
    once = onnx.load(tmp_path / "a.onnx")
    twice = onnx.load(tmp_path / "a2.onnx")
    assert once.graph == twice.graph
    keys = [entry.key for entry in twice.metadata_props]
    assert sorted(keys) == ["stylogram.layers", "stylogram.preprocess", "stylogram.provenance"]


def test_others_read_the_file(tmp_path):
    save(network(), tmp_path / "net.onnx")
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)


def test_a_foreign_file_gets_imagenet_and_says_so(tmp_path):
    path = stored(toy(["N", 3, "H", "W"]), tmp_path)
    found = load(path)
    assert (found.preprocess, found.assumed_preprocess) == (PREPROCESS["imagenet"], True)
    told = load(path, "caffe")
    assert (told.preprocess, told.assumed_preprocess) == (PREPROCESS["caffe"], False)
    assert list(found.layers.names.values()) == ["r0", "r1", "r2"]


def test_declared_layers_go_before_the_rule(tmp_path):
    model = toy(["N", 3, "H", "W"])
    declared = {"names": {"first": "r0", "last": "z2"}, "style": ["first"], "content": ["last"]}
    helper.set_model_props(model, {"stylogram.layers": json.dumps(declared)})
    layers = load(stored(model, tmp_path)).layers
    assert layers.names == declared["names"]
    assert layers.tensor("last") == "z2"
    assert layers.tensor("r1") == "r1"


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"stylogram.layers": "{"}, "layers: not JSON"),
        (
            {"stylogram.layers": '{"names": {"a": "q"}, "style": [], "content": []}'},
            "tensor 'q', which the network does",
        ),
        ({"stylogram.preprocess": "caffe"}, "preprocessing: not JSON"),
        ({"stylogram.provenance": "mine"}, "provenance: not JSON"),
        ({"stylogram.provenance": "[1]"}, "provenance: an object is needed"),
    ],
)
def test_bad_metadata_names_the_file(tmp_path, metadata, says):
    model = toy(["N", 3, "H", "W"])
    helper.set_model_props(model, metadata)
    with pytest.raises(Error, match=says) as error:
        load(stored(model, tmp_path))
    assert one_line(error).startswith(str(tmp_path / "net.onnx"))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: toy(["N", 224, 224, 3]), r"input 'x' must be \(N,3,H,W\), got \(\?,224,224,3\): channels last"),
        (lambda: toy(["N", 1, "H", "W"]), r"input 'x' must be \(N,3,H,W\), got \(\?,1,\?,\?\)"),
        (lambda: toy(["N", 3]), r"input 'x' must be \(N,3,H,W\), got \(\?,3\)"),
        (lambda: toy([1, 3, 8, 8], TensorProto.DOUBLE), r"input 'x' must be float32 \(N,3,H,W\), got double"),
        (lambda: toy([1, 3, 8, 8], TensorProto.UINT8), r"input 'x' must be float32 \(N,3,H,W\), got uint8"),
        (lambda: toy([1, 3, 8, 8], extra=True), "one input that no initialiser fills, got 2: x, noise"),
    ],
)
def test_inputs_that_are_no_picture(tmp_path, make, says):
    with pytest.raises(Error, match=says) as error:
        load(stored(make(), tmp_path))
    assert one_line(error).startswith(str(tmp_path / "net.onnx"))


def test_files_that_are_no_network(tmp_path):
    whole = toy([1, 3, 8, 8]).SerializeToString()
    cases = {
        "empty.onnx": (b"", "is empty"),
        "cut.onnx": (whole[: len(whole) // 2], "not an ONNX file"),
        "text.onnx": (b"<html>not found</html>\n", "not an ONNX file"),
        "zeros.onnx": (bytes(100), "not an ONNX file"),
        "nothing.onnx": (onnx.ModelProto(ir_version=8).SerializeToString(), "no nodes"),
    }
    for name, (content, says) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Error, match=says) as error:
            load(tmp_path / name)
        assert name in one_line(error)
    with pytest.raises(Error, match="No such file"):
        load(tmp_path / "absent.onnx")
    with pytest.raises(Error, match="is a directory"):
        load(tmp_path)


def test_weights_beside_the_file(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(toy([1, 3, 8, 8]), path, save_as_external_data=True, location="net.bin", size_threshold=0)
    x = picture(8, 8)
    wanted = features(toy([1, 3, 8, 8]), ["r2"], x)["r2"]
    assert np.array_equal(features(load(path).model, ["r2"], x)["r2"], wanted)
    (tmp_path / "net.bin").unlink()
    with pytest.raises(Error, match="weights are in another file that cannot be read") as error:
        load(path)
    one_line(error)


def test_saving_where_nothing_can_be_written(tmp_path):
    with pytest.raises(Error, match="cannot write") as error:
        save(network(), tmp_path / "no" / "net.onnx")
    one_line(error)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Error, match="No space left on device"):
        save(network(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_folded_takes_rgb_and_can_be_cut():
    made = network()
    x = picture()
    whole, part = folded(made), folded(made, ["conv2_1"])
    assert [output.name for output in part.graph.output] == ["conv2_1"]
    wanted = features(made.model, ["conv2_1"], made.preprocess.apply(x))["conv2_1"]
    for model in (whole, part):
        assert relative(features(model, ["conv2_1"], x)["conv2_1"], wanted) < SINGLE


def test_pooling_of_any_network_can_be_changed():
    x = picture()
    averaged = with_pooling(network("max"), "avg")
    wanted = features(network("avg").model, ["conv5_2"], x)["conv5_2"]
    assert np.array_equal(features(averaged.model, ["conv5_2"], x)["conv5_2"], wanted)
    back = with_pooling(averaged, "max")
    wanted = features(network("max").model, ["conv5_2"], x)["conv5_2"]
    assert np.array_equal(features(back.model, ["conv5_2"], x)["conv5_2"], wanted)
    assert averaged.provenance["pooling"] == "avg"
    with pytest.raises(Error, match="unknown pooling 'sum'; accepted: max, avg"):
        with_pooling(network(), "sum")


def test_adapted_changes_only_what_is_given():
    made = network()
    assert adapted(made) is made
    assert adapted(made, "unit").preprocess == PREPROCESS["unit"]


@pytest.mark.skipif(not SQUEEZENET.exists(), reason=f"no {SQUEEZENET}")
def test_squeezenet_is_described():
    rows = describe(load(SQUEEZENET, "caffe"))
    assert [row["tensor"] for row in rows][:3] == ["conv1", "fire2", "fire3"]
    assert rows[0] == {
        "layer": "conv1_1",
        "tensor": "conv1",
        "op": "Relu",
        "shape": (1, 96, 109, 109),
        "stride": (2, 2),
        "field": (7, 7),
        "style": True,
        "content": False,
        "coarse": False,
    }
    assert [row["tensor"] for row in rows if row["content"]] == ["fire5"]


def test_description_of_a_vgg():
    rows = describe(network(), (2, 3, 64, 48))
    assert [row["shape"] for row in rows] == [
        (2, 6, 64, 48),
        (2, 8, 32, 24),
        (2, 10, 16, 12),
        (2, 10, 16, 12),
        (2, 12, 8, 6),
        (2, 12, 8, 6),
        (2, 14, 4, 3),
        (2, 14, 4, 3),
    ]
    assert [row["field"][0] for row in rows] == [3, 8, 18, 26, 46, 62, 102, 134]


def test_default_layers_of_other_names_are_described_too():
    made = network()
    made = replace(made, layers=replace(made.layers, style=("conv1_1", "conv2_1:linear"), content=("pool2",)))
    rows = describe(made, (1, 3, 64, 48))
    assert [row["layer"] for row in rows[8:]] == ["conv2_1:linear", "pool2"]
    assert [(row["style"], row["content"]) for row in rows[8:]] == [(True, False), (False, True)]
    assert rows[0]["style"]
    assert rows[-1]["shape"] == (1, 8, 16, 12)


@pytest.mark.parametrize("text", ["0.5", "5", "nan", "much"])
def test_a_declared_preconditioning_is_checked(tmp_path, text):
    model = models.network("random").model
    model.metadata_props.add(key="stylogram.precondition", value=text)
    with pytest.raises(Error, match=f"precondition: a number from 1 to 4 is accepted, got '{text}'"):
        load(stored(model, tmp_path))


def test_export_writes_a_pair_for_other_programs(tmp_path):
    made = network()
    forward, backward = export(made, ["relu1_1", "conv3_1"], (1, 3, 32, 40), tmp_path / "pair")
    assert [path.name for path in (forward, backward)] == ["forward.onnx", "backward.onnx"]
    assert sorted(path.name for path in forward.parent.iterdir()) == ["backward.onnx", "forward.onnx"]
    first, second = onnx.load(forward), onnx.load(backward)
    metadata = {entry.key: entry.value for entry in second.metadata_props}
    assert metadata["stylogram.preprocess"] == PREPROCESS["unit"].to_json()
    assert json.loads(metadata["stylogram.taps"]) == {"relu1_1": "conv1_1", "conv3_1": "conv3_1"}
    x = picture(32, 40)
    outputs = [output.name for output in first.graph.output]
    assert outputs[:2] == ["conv1_1", "conv3_1"]
    assert set(json.loads(metadata["stylogram.saved"])) <= {*outputs}
    got = features(first, outputs, x)
    explicit = features(made.model, ["conv3_1"], made.preprocess.apply(x))["conv3_1"]
    assert relative(got["conv3_1"], explicit) < SINGLE
    gradient = _gradient(second, got, x)
    assert gradient.shape == x.shape
    v = picture(32, 40, seed=9) - np.float32(0.5)
    assert abs(_along(made, x, v) / float((gradient * v).sum()) - 1) < 0.02  # float32 differences of step 1e-3


def _gradient(backward: onnx.ModelProto, values: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """gx for gy = 1 at conv3_1 and 0 at conv1_1."""
    import onnxruntime

    session = onnxruntime.InferenceSession(backward.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {}
    for value in session.get_inputs():
        tap = value.name.removeprefix("gy:")
        if value.name.startswith("gy:"):
            feed[value.name] = np.full_like(values[tap], float(tap == "conv3_1"))
        else:
            feed[value.name] = x if tap == "x" else values[tap]
    return session.run(["gx"], feed)[0]


def _along(made, x: np.ndarray, v: np.ndarray) -> float:
    """d/dt sum(conv3_1(x + t v)) by central differences."""
    step = np.float32(1e-3)
    low, high = (
        features(folded(made), ["conv3_1"], x + sign * step * v)["conv3_1"].astype(np.float64).sum() for sign in (-1, 1)
    )
    return float((high - low) / (2 * step))


def test_export_of_a_layer_that_is_not_there(tmp_path):
    with pytest.raises(Error, match="unknown layer 'conv9_1'"):
        export(network(), ["conv9_1"], (1, 3, 32, 32), tmp_path / "pair")
    with pytest.raises(Error, match="at least one layer"):
        export(network(), [], (1, 3, 32, 32), tmp_path / "pair")
    with pytest.raises(Error, match="cannot make the directory"):
        export(network(), ["conv1_1"], (1, 3, 32, 32), tmp_path / "no" / "pair")
    assert list(tmp_path.iterdir()) == []


def test_weights_of_the_losses_go_with_the_file(tmp_path):
    weighted = replace(models.network("random"), loss_weights={"style": 2000.0, "tv": 0.5}, precondition=1.7)
    save(weighted, tmp_path / "net.onnx")
    assert load(tmp_path / "net.onnx").loss_weights == weighted.loss_weights
    assert load(tmp_path / "net.onnx").precondition == 1.7


@pytest.mark.parametrize("text", ["[1]", '{"stile": 1}', '{"style": -1}', '{"style": "much"}', '{"tv": NaN}', "{"])
def test_weights_that_are_none(tmp_path, text):
    save(models.network("random"), tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    model.metadata_props.add(key="stylogram.loss_weights", value=text)
    onnx.save(model, tmp_path / "bad.onnx")
    with pytest.raises(Error, match="loss_weights: "):
        load(tmp_path / "bad.onnx")
