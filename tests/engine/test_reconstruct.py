"""reconstruct: the paper's energy and descent against their formulas, its errors by brute force, starts, the grid."""

import numpy as np
import pytest
import stylogram
import torch
from architectures import light, with_weights
from engine.originals import STAGES, caffe, features
from kernels.checks import Tolerance, randoms, slope
from stylogram import inversion, pictures
from stylogram.cli import main
from stylogram.driver import Interrupted
from stylogram.errors import Error
from stylogram.losses import colour_norm
from stylogram.options import checked
from stylogram.tasks.reconstruct import Inversion, LayerGrid, Options
from stylogram_export.layers import discover
from stylogram_export.network import Network, folded, save
from stylogram_export.prepare import prepare
from stylogram_export.preprocess import PREPROCESS

from engine import nets

SIZE = (32, 44)
MEAN = torch.tensor([123.68, 116.779, 103.939], dtype=torch.float64).view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def network():
    return nets.narrow(preprocess="caffe")


@pytest.fixture(scope="module")
def image():
    return nets.blocks(*SIZE, 1)


def run(image, network, **options):
    return stylogram.reconstruct(image, network=network, **{"iterations": 5} | options)


def energy(weights, layer, x, code, sigma, weight_tv, alpha=6.0, weight_alpha=8e-10, beta=2.0):
    """invert_nn.m, for pixels x (1,3,H,W) of 0 to 255 minus the mean."""
    y = features(caffe(x + MEAN), weights)[layer]
    d1 = torch.cat([x[..., 1:], x[..., -1:]], 3) - x
    d2 = torch.cat([x[..., 1:, :], x[..., -1:, :]], 2) - x
    square = d1**2 + d2**2
    variation = torch.where(square > 0, square.clamp_min(1e-30) ** (beta / 2), 0 * square).sum()
    priors = weight_tv / 2 * variation + weight_alpha / 2 * (x.abs() ** alpha).sum()
    return ((y - code) ** 2).sum() / (code**2).sum() + priors / sigma**2


@pytest.mark.parametrize("options", [{}, {"tv_weight": 100, "tv_beta": 3, "alpha": 4, "alpha_weight": 1e-4}])
def test_energy_and_gradient_are_the_paper_s(image, options):
    weights = nets.weights(STAGES)
    network = nets.narrow(weights, STAGES, "caffe")
    given = Options(network=network, layer="conv3_1", preset="pixels", starts=2, **options)
    work = Inversion(image, given)
    objective = work.stages()[0](None).objective
    objective.evaluate()
    double = {key: torch.from_numpy(value).double() for key, value in weights.items()}
    target = torch.from_numpy(image).double().permute(2, 0, 1)[None] * 255
    code = features(caffe(target), double)["conv3_1"].detach()
    sigma = 27098.1 * np.sqrt(SIZE[0] * SIZE[1]) / 227
    names = {"tv_beta": "beta", "alpha_weight": "weight_alpha", "alpha": "alpha"}
    known = {names[key]: value for key, value in options.items() if key in names}
    for k in range(2):
        x = (torch.from_numpy(objective.picture[k : k + 1]).double() * 255 - MEAN).requires_grad_()
        value = energy(double, "conv3_1", x, code, sigma, options.get("tv_weight", 1), **known)
        value.backward()
        # float32 features and powers against float64
        assert objective.total[k] == pytest.approx(value.item(), rel=2e-4)
        assert objective.total[k] != pytest.approx(value.item() * 1.001, rel=2e-4)
        expected = 255 * x.grad.numpy()[0]
        assert np.linalg.norm(objective.gradient[k] - expected) / np.linalg.norm(expected) < 2e-4


def test_constants_and_starting_noise():
    assert inversion.sigma(227, 227) == pytest.approx(27098.1)
    assert (inversion.ALPHA, inversion.BETA, inversion.ALPHA_WEIGHT) == (6, 2, 8e-10)
    colour = np.array([0.4, 0.5, 0.6], "f4")
    four, one = (inversion.starting((n, 3, 227, 227), colour, np.random.default_rng(3)) for n in (4, 1))
    norms = np.linalg.norm((255 * (four - colour.reshape(1, 3, 1, 1))).reshape(4, -1).astype(np.float64), axis=1)
    np.testing.assert_allclose(norms, 27098.1, rtol=1e-5)
    np.testing.assert_array_equal(four[:1], one)


def test_weights_by_receptive_field_are_those_of_alexnet():
    """1, 10 and 100 for its layers 1-6, 7-12 and 13-20, by what makes their outputs; layer 7 is the pool."""
    model = prepare(with_weights(light("bvlc_alexnet")))
    found, convs = {}, 0
    for node in model.graph.node:
        convs += node.op_type in ("Conv", "Gemm")
        if node.op_type in ("Conv", "Gemm", "Relu", "MaxPool", "LRN"):
            found[f"{node.op_type}{convs}"] = inversion.tv_weight(model, node.output[0])
    assert {found[name] for name in ("Conv1", "Relu1", "MaxPool1", "LRN1", "Conv2", "Relu2")} == {1}
    assert {found[name] for name in ("MaxPool2", "Conv3", "Relu3", "Conv4", "Relu4")} == {10}
    assert {found[name] for name in ("Conv5", "Relu5", "MaxPool5", "Gemm6", "Relu6", "Gemm7", "Relu7", "Gemm8")} == {
        100
    }


def test_momentum_is_the_program_s():
    """invert_nn.m in pixels of 0 to 255: x_momentum = 0.9 x_momentum − lr σ² dE/dx, forgotten when lr changes."""
    shape = (2, 3, 4, 5)
    optimiser = inversion.Momentum(shape, 8)
    rates = [4e-3] * 2 + [4e-4] * 4 + [4e-5] * 2
    square = inversion.sigma(4, 5) ** 2
    picture = randoms(*shape)
    theirs, momentum, before = picture.astype(np.float64) * 255, 0.0, None
    for step, rate in enumerate(rates):
        gradient = randoms(*shape, seed=step) * np.float32(1e-3)  # dE/d(x/255)
        momentum = 0.0 if rate != before else momentum
        momentum = 0.9 * momentum - rate * square * gradient / 255
        theirs, before = theirs + momentum, rate
        optimiser.step(picture, gradient, np.zeros(2))
        np.testing.assert_allclose(picture, theirs / 255, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 2.5, 6.0])
def test_norm_around_a_colour(alpha):
    picture, colour = randoms(2, 3, 5, 4), (0.1, -0.4, 0.9)
    at, direction = picture.astype(np.float64), randoms(2, 3, 5, 4, seed=1).astype(np.float64)
    value, gradient = np.ones(2), np.ones_like(picture)
    colour_norm.Term(0.7, alpha, colour).add(picture, gradient, value)
    expected, slopes = colour_norm.reference(at, alpha, 0.7, colour)
    rounding = Tolerance(2e-6, "a power of a float32 difference")
    rounding.check(value - 1, expected)
    rounding.check(gradient - 1, slopes)
    with pytest.raises(AssertionError):
        rounding.check((gradient - 1) * np.float32(1.001), slopes)
    along = slope(lambda moved: colour_norm.reference(moved, alpha, 0.7, colour)[0], at, direction, step=1e-6)
    assert np.vdot(slopes, direction) == pytest.approx(along, rel=1e-5)


def test_errors_and_the_distance_of_pairs_by_brute_force():
    codes = [randoms(3, 4, 5, seed=k) for k in range(6)]
    squares = [((a - b).astype(np.float64) ** 2).sum() for i, a in enumerate(codes) for b in codes[:i]]
    assert inversion.spread(iter(codes)) == pytest.approx(np.mean(squares), rel=1e-6)
    assert inversion.errors(np.stack(codes[:2]), codes[1]) == [
        pytest.approx(((codes[0] - codes[1]) ** 2).sum() / (codes[1] ** 2).sum(), rel=1e-5),
        0,
    ]
    with pytest.raises(Error, match="at least two pictures"):
        inversion.spread(codes[:1])
    with pytest.raises(Error, match="the same code"):
        inversion.spread([codes[0], codes[0]])


def test_a_shallow_layer_gives_the_picture_back(image, network):
    smooth, exact = (
        run(image, network, layer="conv1_1", preset="pixels", iterations=60, tv_weight=weight) for weight in (None, 0.1)
    )
    for result, error, likeness in ((smooth, 0.1, 0.8), (exact, 0.02, 0.9)):
        assert result.errors[0] < error
        assert np.corrcoef(result.exact.ravel(), image.ravel())[0, 1] > likeness
    assert any("error ‖y − y₀‖² / ‖y₀‖² is" in note for note in result.notes)


def test_shifts_end_before_the_iterations_do(image, network):
    tensor, shape = network.layers.tensor("conv3_1"), (1, 3, *SIZE)
    model = folded(network, [tensor])
    passing, _ = inversion.natural(model, tensor, shape, 10, np.random.default_rng(0))
    seen = []
    for _ in range(11):
        passing.forward()
        seen.append(passing.features[tensor].copy())
    assert all(np.array_equal(seen[-1], one) for one in seen[7:])
    assert not any(np.array_equal(seen[-1], one) for one in seen[:3])


def test_the_paper_s_rates_may_be_scaled():
    slow, fast = (inversion.Momentum((1, 3, 8, 8), 40, rate)._rates for rate in (1e-3, 4e-3))
    assert fast == inversion.Momentum((1, 3, 8, 8), 40)._rates
    np.testing.assert_allclose(np.array(slow) * 4, fast)


def test_the_paper_s_descent_lowers_the_loss(image, network):
    result = run(image, network, layer="conv1_1", preset="mahendran", iterations=60)
    assert result.loss < 0.3 * result.trace[0]["loss"]


def test_several_starts_the_best_kept_or_all_shown(image, network):
    best, every = (run(image, network, layer="conv2_1", starts=3, keep=keep, iterations=10) for keep in ("best", "all"))
    assert len(best.pictures) == len(best.errors) == 3
    assert len({picture.tobytes() for picture in best.pictures}) == 3
    np.testing.assert_array_equal(best.exact, best.pictures[int(np.argmin(best.errors))])
    assert every.exact.shape[0] > SIZE[0] + 10
    assert every.exact.shape[1] > 4 * SIZE[1]
    alone = run(image, network, layer="conv2_1", iterations=10)
    assert alone.errors[0] == pytest.approx(best.errors[0], rel=0.02)  # other sums in the convolutions of a batch


def test_errors_over_the_distance_of_pairs(image, network, tmp_path):
    others = [nets.blocks(40, 40, seed) for seed in (5, 6, 7)]
    for k, other in enumerate(others):
        pictures.write(tmp_path / f"{k}.png", other)
    (tmp_path / "notes.txt").write_text("no picture")
    by_folder = run(image, network, layer="conv2_1", pairs=tmp_path)
    by_arrays = run(image, network, layer="conv2_1", pairs=tuple(others))
    assert by_folder.normalised[0] == pytest.approx(by_arrays.normalised[0], rel=0.02)  # the files have 8 bits
    assert by_folder.normalised[0] != by_folder.errors[0]


def test_the_grid_s_layers_are_the_figure_s(image, network):
    cells = LayerGrid(image, Options(network=network, grid=True)).cells
    assert [cell.layers for cell in cells[:5]] == [(f"conv{k}_2",) for k in range(1, 6)]
    assert [cell.layers[-1] for cell in cells[5:]] == [f"conv{k}_1" for k in range(1, 6)]
    assert [len(cell.layers) for cell in cells[5:]] == [1, 2, 3, 4, 5]
    assert cells[6].label == "conv1_1 … conv2_1"


def test_the_grid_s_style_layers_are_the_network_s_own(image):
    cells = LayerGrid(image, Options(network="seednet", grid=True)).cells
    assert [cell.layers[0] for cell in cells[:5]] == ["conv1_2", "conv2_2", "conv3_2", "conv4_2", "conv5_1"]
    assert cells[-1].layers == tuple(f"conv{stage}_1:white" for stage in range(1, 6))


@pytest.mark.parametrize(("preset", "likeness"), [("natural", 0.15), ("pixels", 0.5)])  # squares are not natural
def test_the_grid(image, network, preset, likeness):
    layers = {"content_layers": "conv1_2,conv2_2", "style_layers": "conv1_1,conv2_1,conv3_1"}
    style = nets.blocks(40, 40, 8, tint=(1, 0.2, 0.2))
    result = run(image, network, grid=True, preset=preset, style=style, iterations=25, **layers)
    assert len(result.pictures) == 5
    assert result.exact.shape[1] > 4 * SIZE[1]
    assert np.corrcoef(result.pictures[0].ravel(), image.ravel())[0, 1] > likeness
    for scale in range(1, 6):
        falling = [row["loss"] for row in result.trace if row["scale"] == scale]
        assert falling[-1] < 0.5 * falling[0]
    red = result.pictures[2].mean(axis=(0, 1))
    assert red[0] > red[1] + 0.1


def test_the_figure_s_descent_takes_another_optimiser(image, network):
    layers = {"content_layers": "conv1_2", "style_layers": "conv1_1"}
    made = [
        run(image, network, grid=True, preset="pixels", optimizer=name, iterations=3, **layers)
        for name in ("lbfgs", "adam")
    ]
    assert not np.array_equal(made[0].pictures[0], made[1].pictures[0])
    white = made[1].trace[0]["loss"]
    assert made[0].trace[0]["loss"] == white  # the same noise


def test_a_grid_that_is_stopped_has_what_was_made(image, network):
    def stop(progress):
        if (progress.scale, progress.iteration) == (2, 2):
            raise KeyboardInterrupt

    layers = {"content_layers": "conv1_2", "style_layers": "conv1_1,conv2_1"}
    with pytest.raises(Interrupted) as caught:
        run(image, network, grid=True, callback=stop, **layers)
    result = caught.value.result
    assert len(result.pictures) == 2
    whole = run(image, network, grid=True, iterations=1, **layers)
    assert result.exact.shape == whole.exact.shape


def test_a_vector_of_a_classifier_can_be_inverted():
    """AlexNet's fc6: a code without rows and columns."""
    model = prepare(with_weights(light("bvlc_alexnet")))
    gemm = next(node.output[0] for node in model.graph.node if node.op_type == "Gemm")
    found = Network("alexnet", model, PREPROCESS["caffe"], discover(model))
    result = run(nets.blocks(224, 224, 3, cell=16), found, layer=gemm, size=224, iterations=2)
    assert len(result.errors) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layer": "conv9_1"}, r"unknown layer 'conv9_1'"),
        ({"style": np.ones((20, 20, 3), "f4")}, r"^style: it is an option of the grid"),
        ({"grid": True, "starts": 2}, r"^starts: it is no option of the grid"),
        ({"grid": True, "preset": "mahendran"}, r"^preset: natural and pixels are accepted with grid, got mahendran$"),
        ({"grid": True, "optimizer": "adam"}, r"^preset: natural has an optimiser of its own; pixels takes others"),
        ({"grid": True, "layer": "conv1_1"}, r"^layer: it is no option of the grid"),
        ({"grid": True, "content_layers": "conv9_1"}, r"unknown layer 'conv9_1'"),
        ({"pairs": "nowhere"}, r"^pairs: a folder of pictures is needed, nowhere is none$"),
        ({"pairs": (np.ones((20, 20, 3), "f4"),)}, r"^pairs: at least two pictures"),
        ({"preset": "mahendran", "optimizer": "adam"}, r"^preset: mahendran has an optimiser of its own; pixels takes"),
        ({"history": 5}, r"^preset: natural has an optimiser of its own; pixels takes others"),
    ],
)
def test_bad_input_in_one_line(image, network, given, message):
    with pytest.raises(Error, match=message) as caught:
        run(image, network, **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "mahendra"}, r"unknown preset 'mahendra'; accepted: mahendran, natural"),
        ({"keep": "worst"}, r"keep.*best"),
        ({"starts": 0}, r"^starts: "),
        ({"alpha": 0.5}, r"^alpha: "),
        ({"tv_beta": 0}, r"^tv-beta: "),
    ],
)
def test_bad_options(given, message):
    with pytest.raises(Error, match=message):
        checked(Options, given)


def test_a_code_of_nothing_is_refused(network):
    silent = nets.weights()
    for name in silent:
        silent[name] = np.zeros_like(silent[name])
    with pytest.raises(Error, match=r"layer conv1_1: the picture's code is zero everywhere"):
        run(nets.blocks(32, 32, 1), nets.narrow(silent), layer="conv1_1")


def test_the_command(tmp_path, monkeypatch, capsys):
    pictures.write(tmp_path / "a.png", nets.blocks(40, 40, 2))
    save(nets.narrow(), tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    fast = ["--network", "net.onnx", "--iterations", "2", "--quiet"]
    assert main(["reconstruct", "a.png", "--layer", "conv2_1", "-o", "out.png", "--starts", "2", *fast]) == 0
    assert pictures.read("out.png").rgb.shape == (40, 40, 3)
    layers = ["--content-layers", "conv1_2,conv2_2", "--style-layers", "conv1_1"]
    assert main(["reconstruct", "a.png", "--grid", "-o", "grid.png", *layers, *fast]) == 0
    assert pictures.read("grid.png").rgb.shape[1] > 3 * 40
    for more, part in (
        (["--layer", "conv2_l"], "unknown layer 'conv2_l'; accepted: conv2_"),
        (["--pairs", "empty"], "at least two pictures are needed, empty has 0"),
        (["--keep", "some"], "keep"),
    ):
        assert main(["reconstruct", "a.png", "-o", "no.png", *fast, *more]) == 2
        line = capsys.readouterr().err
        assert line.startswith("error: ")
        assert line.count("\n") == 1
        assert part in line
    assert not (tmp_path / "no.png").exists()
