"""Maximising units: what it makes is what the unit likes, in every way that it is asked for."""

import numpy as np
import pytest
import stylogram
import torch
from engine.classes import classifier
from stylogram.cli import main
from stylogram.errors import Error
from stylogram.looking import mean_colour
from stylogram.priors import PRIORS
from stylogram.session import features_of
from stylogram.tasks.maximize import Options, _Maximising
from stylogram_export.network import folded, save

from engine import nets

FAST = {"size": 24, "iterations": 12}


@pytest.fixture(scope="module")
def network():
    return classifier()


def liking(network, tensor, picture):
    """The features (C,...) of a picture (H,W,3) at a tensor."""
    batch = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)
    return features_of(folded(network, [tensor]), [tensor], batch)[tensor][0]


@pytest.mark.parametrize("prior", PRIORS)
def test_the_class_s_score_rises_under_every_prior(network, prior):
    rate = 1e6 if prior == "yosinski-2" else None  # this network's scores are small, and it decays by 30% a step
    options = {"class_": "banana", "prior": prior, "learning_rate": rate, "contrast": 0}
    made = stylogram.maximize(network=network, size=24, iterations=40, **options)
    grey = np.broadcast_to(mean_colour(network), (24, 24, 3))
    assert liking(network, "logits", made.exact)[1] > liking(network, "logits", grey)[1]
    assert made.labels == ("1 banana",)
    assert made.exact.shape == (24, 24, 3)
    assert made.exact.std() > 0.003
    assert "class 1 banana: score" in made.notes[-1]


def alive(network):
    """The units of conv2_1 by what they say to grey, the strongest first; and what they say."""
    grey = liking(network, network.layers.tensor("conv2_1"), np.full((24, 24, 3), 0.5, "f4")).mean(axis=(1, 2))
    return [int(unit) for unit in grey.argsort()[::-1]], grey


def test_a_channel_a_neuron_and_a_direction(network):
    (first, second, *_), grey = alive(network)
    v = np.eye(8)[[first, second]].sum(axis=0)
    ways = {"channel": {"unit": first}, "neuron": {"unit": first, "at": "center"}, "direction": {"direction": v}}
    options = {"layer": "conv2_1", "prior": "fourier", "size": 24, "iterations": 40}
    made = {name: stylogram.maximize(network=network, **given, **options).exact for name, given in ways.items()}
    felt = {name: liking(network, network.layers.tensor("conv2_1"), picture) for name, picture in made.items()}
    assert felt["channel"][first].mean() > 1.2 * grey[first]
    assert felt["direction"].mean(axis=(1, 2)) @ v > 1.2 * grey @ v
    assert felt["neuron"][first, 6, 6] > 1.2 * grey[first]
    away = np.abs(made["neuron"] - 0.5).max(axis=2)
    assert away[8:16, 8:16].max() > 3 * away[:, [0, -1]].max()  # its field, moved about, ends before the sides


def test_a_grid_of_units_is_a_sheet_with_their_numbers(network, tmp_path):
    save(network, tmp_path / "net.onnx")
    made = stylogram.maximize(network=network, layer="conv2_1", unit="0,2-4", **FAST)
    assert made.labels == ("0", "2", "3", "4")
    assert len(made.pictures) == 4
    assert made.exact.shape[1] > 2 * 24
    common = ["--network", str(tmp_path / "net.onnx"), "--size", "24", "--iterations", "3", "--quiet"]
    for what in (["--class", "banana"], ["--layer", "conv2_1", "--unit", "1,3"], ["--class", "954"]):
        status = main(["maximize", *what, "-o", str(tmp_path / "out.png"), *common])
        assert status == (2 if "954" in what else 0)


def test_each_picture_of_a_grid_is_of_its_unit(network):
    """More units than go through together: picture k excites unit k more than the mean of the others does."""
    made = stylogram.maximize(network=network, layer="map", unit="0-4", size=24, iterations=25, prior="fourier")
    likes = np.array([liking(network, "map", picture).mean(axis=(1, 2)) for picture in made.pictures])
    for unit in range(5):
        assert likes[unit, unit] > np.delete(likes[:, unit], unit).mean()


def test_diversity_makes_them_unlike(network):
    layer = network.layers.tensor("conv2_1")
    unit = alive(network)[0][0]

    def unlike(weight):
        options = {"layer": "conv2_1", "unit": unit, "diversity": 2, "diversity_weight": weight, "size": 24}
        made = stylogram.maximize(network=network, iterations=40, prior="fourier", **options)
        flat = [liking(network, layer, picture).reshape(8, -1).astype(float) for picture in made.pictures]
        grams = [f @ f.T / np.linalg.norm(f @ f.T) for f in flat]
        return 1 - (grams[0] * grams[1]).sum()

    assert unlike(1e4) > 3 * unlike(0.0)  # where nothing was learned all textures are nearly alike


def test_the_objective_s_gradient_is_pytorch_s(network):
    """Class score minus contrast, TV and α-norm on pixels, without a transform, against autograd."""
    options = Options(network=network, class_=1, size=24, prior="pixels", jitter=0, contrast=3)
    work = _Maximising(options)
    objective = work.stages()[0](None).objective
    objective.evaluate()
    weights = {
        t.name: torch.tensor(np.frombuffer(t.raw_data, "f4").reshape(t.dims).astype(float))
        for t in network.model.graph.initializer
        if t.name[0] == "w"
    }
    x = torch.tensor(objective.picture.astype(float), requires_grad=True)
    scores = _scores(x, weights)
    with torch.no_grad():
        size = scores.square().mean().sqrt()
    shown = scores[:, 1] - 3 * scores.mean(dim=1)
    dx, dy = x.diff(dim=3), x.diff(dim=2)
    smooth = PRIORS["pixels"].tv_weight * (dx.square().sum() + dy.square().sum()) / (dx.numel() + dy.numel())
    bounded = PRIORS["pixels"].alpha_weight * (x - 0.5).pow(6).mean()
    total = -shown.sum() / size + smooth + bounded
    total.backward()
    assert objective.total[0] == pytest.approx(float(total.detach()), rel=1e-4)
    np.testing.assert_allclose(objective.gradient, x.grad.numpy(), atol=1e-4 * float(x.grad.abs().max()))


def _scores(x, weights):
    f = torch.nn.functional
    hidden = f.max_pool2d(f.conv2d(x, weights["w1"], padding=1).relu(), 2)
    return f.conv2d(f.conv2d(hidden, weights["w2"], padding=1).relu(), weights["w3"]).mean(dim=(2, 3))


def test_a_unit_that_sleeps_is_woken():
    """A bias that grey does not overcome: no gradient without a leak; with it the unit fires in the end."""
    from_grey = nets.weights((1, 1), (4, 6))
    from_grey["conv1_1.weight"][2] = -1 / 27
    from_grey["conv1_1.bias"][2] = -0.5  # imagenet's grey is about 0.2, black about -2
    net = nets.narrow(from_grey, (1, 1))
    given = {"network": net, "layer": "conv1_1", "unit": 2, "size": 24, "prior": "fourier", "iterations": 60}
    made = stylogram.maximize(**given)
    assert "conv1_1: 2: 0 everywhere for the first picture; ReLUs leak 0.01 for them" in made.notes
    assert liking(net, net.layers.tensor("conv1_1"), made.exact)[2].mean() > 0.1
    awake = stylogram.maximize(**{**given, "unit": 1})
    assert not any("leak" in note for note in awake.notes)


def test_several_classes_by_number(network):
    made = stylogram.maximize(network=network, class_="1,3", **FAST)
    assert [label.split()[0] for label in made.labels] == ["1", "3"]


def test_yosinski_s_pictures_are_shown_at_full_contrast_around_the_mean(network):
    made = stylogram.maximize(network=network, class_=1, size=24, iterations=3, prior="yosinski-4")
    off = np.abs(made.exact - 0.5)
    assert off.max() == pytest.approx(0.5)
    assert (off < 1e-6).all(axis=2).mean() > 0.8  # 90% of the pixels are the mean itself


def test_how_much_total_variation_counts_follows_what_the_units_see():
    net = nets.narrow()

    def smoothness(layer, **given):
        work = _Maximising(Options(network=net, layer=layer, unit=0, size=160, **given))
        (term,) = work._picture_terms(work._pass(work.model, 1))
        return term._scale

    shallow, deep = (smoothness(layer) for layer in ("conv1_1", net.layers.style[-1]))
    assert deep == pytest.approx(100 * shallow)
    assert smoothness("conv1_1", tv_weight=7) == pytest.approx(shallow * 7 / PRIORS["natural"].tv_weight)


def test_a_network_of_one_size_is_shown_the_picture_without_padding():
    made = stylogram.maximize(network=classifier(side=32, flat=True), class_=2, iterations=3)
    assert made.exact.shape == (32, 32, 3)
    assert any("one size" in note for note in made.notes)


def test_classes_of_a_network_of_one_picture_at_a_time():
    network = classifier(side=32, flat=True, single=True)
    made = stylogram.maximize(network=network, class_="1,2,4", iterations=3)
    assert len(made.pictures) == 3


def test_it_is_the_same_again_and_other_with_another_seed(network):
    made = [stylogram.maximize(network=network, class_=1, seed=seed, **FAST).exact for seed in (1, 1, 2)]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


BAD = {
    "nothing": ({}, "one of --unit, --direction and --class is accepted, got none"),
    "two": ({"class_": 1, "unit": 2}, "got unit, class"),
    "layer and class": ({"class_": 1, "layer": "conv2_1"}, "--layer goes with --unit or --direction"),
    "unit without layer": ({"unit": 1}, "--layer goes with --unit or --direction"),
    "layer": ({"layer": "cnov2_1", "unit": 1}, "accepted: conv2_1"),
    "unit": ({"layer": "conv2_1", "unit": 8}, "layer conv2_1 has units from 0 to 7, got 8"),
    "class": ({"class_": 5}, "a number from 0 to 4 or a name"),
    "class name": ({"class_": "bananna"}, "accepted: banana"),
    "prior": ({"class_": 1, "prior": "furier"}, "accepted: fourier"),
    "position": ({"layer": "conv2_1", "unit": 1, "at": "90,0"}, "rows and"),
    "position's form": ({"layer": "conv2_1", "unit": 1, "at": "middle"}, "center, or ROW,COLUMN"),
    "position of a vector": ({"layer": "logits", "unit": 1, "at": "center"}, "logits has no rows and columns"),
    "direction": ({"layer": "conv2_1", "direction": np.ones(3)}, "a vector of 8 numbers is needed for layer conv2_1"),
    "TV with Yosinski": ({"class_": 1, "prior": "yosinski-1", "tv_weight": 1}, "go with --prior fourier and pixels"),
    "turned Yosinski": ({"class_": 1, "prior": "yosinski-1", "turn": 3}, "go with --prior fourier and pixels"),
    "no classes": ({"class_": 1, "network": nets.narrow()}, "has no class scores"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(network, name):
    options, said = BAD[name]
    with pytest.raises(Error) as caught:
        stylogram.maximize(**{"network": network, **FAST, **options})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
