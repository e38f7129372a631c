"""StagedPass: the bits of a FeaturePass, in less memory."""

import itertools

import numpy as np
import pytest
from architectures import light, with_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from stylogram import stages, zoo
from stylogram.session import FeaturePass
from stylogram.stages import StagedPass
from stylogram_export.network import folded
from stylogram_export.prepare import prepare

from engine import nets

TAPS = ["conv1_1", "conv2_1", "conv3_1", "conv4_2", "conv5_1"]


def compare(model, taps, shape, convolution, most=0.0):
    """Twice with other pictures: what the first leaves in the memory must not matter."""
    whole = FeaturePass(model, taps, shape, convolution=convolution)
    made = StagedPass(model, taps, shape, convolution=convolution)
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        made.picture[:] = whole.picture[:] = rng.random(shape, np.float32)
        incoming = {tap: rng.standard_normal(whole.shapes[tap], np.float32) for tap in taps}
        whole.forward()
        for tap in taps:
            whole.gradients[tap][:] = incoming[tap]
        whole.backward()
        made.forward()
        seen = []
        for due in made.descend():
            for tap in due:
                assert (made.features[tap] == whole.features[tap]).all(), tap
                made.gradients[tap][:] = incoming[tap]
                seen.append(tap)
        assert sorted(seen) == sorted(taps)
        assert np.abs(whole.gradient).max() > 0
        assert np.abs(made.gradient - whole.gradient).max() <= most * np.abs(whole.gradient).max()


@pytest.mark.parametrize("convolution", ["direct", "winograd"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize(
    "taps", [TAPS, ["conv1_2", "conv2_2", "conv4_4"], ["conv2_1:linear", "pool2", "conv3_1"]], ids=str
)
def test_a_vgg(taps, pooling, convolution, monkeypatch):
    monkeypatch.setattr("stylogram_export.stages.LEAST", 500)  # cuts between layers too
    compare(folded(nets.narrow(pooling=pooling), taps), taps, (2, 3, 37, 51), convolution)


def test_the_default_network():
    network = zoo.resolve("seednet")
    taps = [network.layers.tensor(name) for name in network.layers.style]
    compare(folded(network, taps), taps, (1, 3, 70, 64), "winograd")


@pytest.mark.parametrize(("name", "kind"), [("squeezenet", "Concat"), ("resnet50", "Relu")])
def test_networks_with_branches(name, kind):
    model = prepare(with_weights(light(name)))
    found = [node.output[0] for node in model.graph.node if node.op_type == kind][:6]
    compare(model, [found[0], found[2], found[5]], (1, 3, 67, 71), "winograd", most=1e-6)  # the order of sums


def test_gatys_layers_take_little_more_than_the_features_and_what_backward_reads():
    """At 256 px of VGG's widths: with gradients at all taps at once it would be 1.6 times as much."""
    model = folded(zoo.resolve("random", pooling="max", seed=0), taps := TAPS)
    arrays = stages._lives(stages._staged(model, taps, (1, 3, 256, 256), "winograd"))
    places = stages._places(arrays)
    block = max(places[name] + life.size for name, life in arrays.items())
    kept = sum(life.size for name, life in arrays.items() if life.begin <= 2 * len(taps) and not name.startswith("gy:"))
    assert block < 1.15 * kept


LIVES = st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 12), st.integers(0, 6)), min_size=1, max_size=24)


@settings(max_examples=200, deadline=None)
@given(LIVES)
def test_what_lives_at_one_time_lies_apart(given_lives):
    lives = {
        str(k): stages._Life((size,), np.dtype(np.uint8), begin, begin + length)
        for k, (size, begin, length) in enumerate(given_lives)
    }
    places = stages._places(lives)
    for (a, one), (b, other) in itertools.combinations(lives.items(), 2):
        if one.begin <= other.end and other.begin <= one.end:
            assert places[a] + one.size <= places[b] or places[b] + other.size <= places[a]
    least = max(sum(life.size for life in lives.values() if life.begin <= at <= life.end) for at in range(20))
    block = max(places[name] + life.size for name, life in lives.items())
    assert least <= block <= sum(life.size for life in lives.values())
    assert all(place % stages.LINE == 0 for place in places.values())
