"""stylize as a library: what its options do to the picture, several at once, and pictures of a batch."""

import threading

import numpy as np
import pytest
import stylogram
from stylogram import _core, colour
from stylogram.errors import Error
from stylogram.losses import style as style_loss
from stylogram.objective import Objective
from stylogram.session import FeaturePass, features_of
from stylogram.tasks.stylize import Options, Stylization
from stylogram_export.preprocess import fold

from engine import nets

SIZE = (36, 48)


@pytest.fixture(scope="module")
def network():
    return nets.narrow()


@pytest.fixture(scope="module")
def content():
    return nets.blocks(*SIZE, 1)


@pytest.fixture(scope="module")
def paint():
    return [nets.blocks(40, 40, 2, cell=2, tint=(1, 0.3, 0.1)), nets.blocks(40, 40, 3, cell=5, tint=(0.1, 0.4, 1))]


def run(content, style, network, **options):
    return stylogram.stylize(content, style, network=network, **{"size": 48, "iterations": 8} | options)


def distance(picture, style, network, mask=None, style_mask=None):
    """Mean relative distance of the Gram matrices of a picture (H,W,3) from a style's."""
    model = fold(network.model, network.preprocess)
    tensors = [network.layers.tensor(name) for name in network.layers.style[:3]]
    total = 0.0
    features = [features_of(model, tensors, p.transpose(2, 0, 1)[None].astype("f4")) for p in (picture, style)]
    for tensor in tensors:
        x, a = (style_loss.target(f[tensor])[0] for f in features)
        total += ((x - a) ** 2).sum() / (a**2).sum()
    return total / len(tensors)


def test_it_comes_nearer_to_the_style_and_the_loss_falls(content, paint, network):
    result = run(content, paint[0], network, iterations=60)
    assert distance(result.exact, paint[0], network) < 0.5 * distance(content, paint[0], network)
    assert result.loss < 0.3 * result.trace[0]["loss"]
    assert result.picture.dtype == np.uint8
    assert result.picture.shape == (*SIZE, 3)
    assert len(result.trace) == 61


def test_paths_bytes_and_floats_are_the_same_picture(content, paint, network, tmp_path):
    rounded = (content * 255).round().astype(np.uint8)
    stylogram.pictures.write(tmp_path / "c.png", content)
    results = [run(c, paint[0], network) for c in (str(tmp_path / "c.png"), tmp_path / "c.png", rounded)]
    assert np.array_equal(results[0].exact, results[1].exact)
    assert np.array_equal(results[0].exact, results[2].exact)


def test_blend_weights_decide_which_style(content, paint, network):
    first, half, second = (
        run(content, paint, network, iterations=25, style_blend=b).exact for b in ((1, 0), (1, 1), (0, 1))
    )
    assert np.array_equal(first, run(content, paint[0], network, iterations=25).exact)
    distances = [distance(picture, paint[0], network) for picture in (first, half, second)]
    assert distances == sorted(distances)


def test_the_blended_loss_is_the_weighted_sum_of_the_losses(content, paint, network):
    """One mean target with an offset stands for several: value and gradient are those of the sum."""

    def objective(style, **options):
        options = Options(network=network, size=48, content_weight=0, tv_weight=0, **options)
        made = Stylization(content, style, options).stage(0, None).objective
        made.evaluate()
        return made.total[0], made.gradient.copy()

    both = objective(paint, style_blend=(3, 1))
    one, two = objective(paint[:1]), objective(paint[1:])
    assert both[0] == pytest.approx(0.75 * one[0] + 0.25 * two[0], rel=1e-5)
    np.testing.assert_allclose(both[1], 0.75 * one[1] + 0.25 * two[1], atol=1e-5 * np.abs(both[1]).max())


def test_layer_weights_are_shares(content, paint, network):
    options = Options(network=network, size=48, style_layers="conv1_1=3,conv2_1=1", content_weight=0, tv_weight=0)
    terms = _terms(Stylization(content, paint[:1], options))
    equal = Options(network=network, size=48, style_layers="conv1_1,conv2_1", content_weight=0, tv_weight=0)
    reference = _terms(Stylization(content, paint[:1], equal))
    assert terms[0] / reference[0] == pytest.approx(1.5)
    assert terms[1] / reference[1] == pytest.approx(0.5)


def _terms(work):
    objective = work.stage(0, None).objective
    objective.evaluate()
    return list(objective.terms().values())


def test_a_mask_paints_its_region_only(content, paint, network):
    """Style in the left half only: with no other loss the right half moves as far as receptive fields reach."""
    mask = np.zeros((*SIZE, 3), np.float32)
    mask[:, :24] = 1
    # Preconditioned, L-BFGS moves coarse structures, which reach further than a field.
    options = {
        "content_weight": 0,
        "tv_weight": 0,
        "style_layers": "conv1_1,conv1_2",
        "iterations": 15,
        "precondition": 1,
    }
    result = run(content, paint[0], network, mask=((mask, np.ones((40, 40, 3), "f4")),), **options)
    moved = np.abs(result.exact - content).mean(axis=(0, 2))
    assert moved[:22].min() > 0.01
    assert moved[28:].max() < 1e-6


def test_two_masks_take_two_styles(content, paint, network):
    left = np.zeros((*SIZE, 3), np.float32)
    left[:, :24] = 1
    whole = np.ones((40, 40, 3), "f4")
    masks = ((left, whole), (1 - left, whole))
    result = run(content, paint, network, mask=masks, iterations=40, content_weight=0).exact
    halves = result[:, :24], result[:, 24:]
    assert distance(halves[0], paint[0], network) < distance(halves[0], paint[1], network)
    assert distance(halves[1], paint[1], network) < distance(halves[1], paint[0], network)


def test_a_region_of_a_style_without_share_is_left_out(content, paint, network):
    whole = np.ones((*SIZE, 3), np.float32)
    masks = ((whole, whole), (whole, whole))
    made = run(content, paint, network, mask=masks, style_blend=(1, 0))
    np.testing.assert_allclose(made.exact, run(content, paint[0], network, mask=masks[:1]).exact, atol=1e-5)


def test_keep_colors(content, paint, network):
    """Each mode's mean colour is nearer to the content's than without one."""

    def shift(**options):
        made = run(content, paint[0], network, iterations=20, **options).exact
        colours = [picture.mean((0, 1)) - picture.mean() for picture in (made, content)]
        return np.abs(colours[0] - colours[1]).sum()

    plain = shift()
    assert plain > 0.02
    for mode in ("luminance", "histogram", "linear"):
        assert shift(keep_colors=mode) < 0.7 * plain, mode


def test_init_and_seed(content, paint, network):
    noise = [run(content, paint[0], network, init="random", seed=seed).exact for seed in (1, 1, 2)]
    assert np.array_equal(noise[0], noise[1])
    assert not np.array_equal(noise[0], noise[2])
    other = nets.blocks(*SIZE, 9)
    start = run(content, paint[0], network, init=other, iterations=1, learning_rate=1e-9).exact
    np.testing.assert_allclose(start, other, atol=1e-3)
    mixed = run(content, paint[0], network, init_noise=0.5, iterations=1, learning_rate=1e-9).exact
    assert 0.05 < np.abs(mixed - content).mean() < 0.3


def test_scales_end_at_the_size_and_start_coarse(content, paint, network):
    seen = []
    result = run(content, paint[0], network, scales=2, callback=lambda p: seen.append(p.rgb().shape))
    assert seen[0] == (18, 24, 3)
    assert seen[-1] == (*SIZE, 3)
    assert result.exact.shape == (*SIZE, 3)


def test_alpha_and_depth_come_through(content, paint, network, tmp_path):
    alpha = np.linspace(0, 1, SIZE[0] * SIZE[1]).reshape(SIZE)
    given = (np.dstack([content, alpha]) * 65535).astype(np.uint16)
    result = run(given, paint[0], network)
    result.save(tmp_path / "o.png")
    back = stylogram.pictures.read(tmp_path / "o.png")
    assert back.depth == 16
    np.testing.assert_allclose(back.alpha, alpha, atol=1e-3)


def test_several_threads_get_what_each_gets_alone(content, paint, network):
    alone = [run(content, style, network).exact for style in paint]
    together = [None, None]

    def work(index):
        together[index] = run(content, paint[index], network).exact

    threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(alone[0], together[0])
    assert np.array_equal(alone[1], together[1])


def test_calls_at_once_use_each_its_own_number_of_threads(content, paint, network, monkeypatch):
    """Both are inside their runs at the same time; neither changes the other's count, nor its caller's."""
    monkeypatch.setattr("stylogram.tasks.stylize.available_threads", lambda: 3)
    meeting = threading.Barrier(2, timeout=60)
    counts = {1: [], 3: []}
    after = {}

    def work(count):
        def look(progress):
            meeting.wait()
            counts[count].append(_core.threads())
            meeting.wait()

        before = _core.threads()
        run(content, paint[0], network, threads=count, iterations=2, callback=look)
        after[count] = _core.threads() == before

    callers = [threading.Thread(target=work, args=(count,)) for count in counts]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert counts == {1: [1, 1, 1], 3: [3, 3, 3]}
    assert after == {1: True, 3: True}


def test_a_result_in_between_has_the_content_s_colours_alpha_and_depth(content, paint, network):
    alpha = np.linspace(0, 1, SIZE[0] * SIZE[1]).reshape(SIZE)
    given = (np.dstack([content, alpha]) * 65535).astype(np.uint16)
    seen = []

    def look(progress):
        seen.append((progress.scale, progress.result()))

    last = run(given, paint[0], network, scales=2, iterations=3, keep_colors="luminance", callback=look)
    chroma = content - colour.luma(content)[..., None]
    for scale, result in seen:
        assert (result.exact.shape, result.alpha.shape, result.depth) == ((*SIZE, 3), SIZE, 16)
        kept = result.exact - colour.luma(result.exact)[..., None]
        assert np.corrcoef(kept.ravel(), chroma.ravel())[0, 1] > (0.8 if scale == 1 else 0.9)
    assert np.array_equal(seen[-1][1].exact, last.exact)
    assert seen[-1][1].loss == last.loss


def test_a_feature_pass_of_two_gives_each_what_it_gets_alone(content, paint, network):
    model = fold(network.model, network.preprocess)
    taps = [network.layers.tensor(name) for name in network.layers.style]
    pictures = [np.ascontiguousarray(p[:32, :32].transpose(2, 0, 1)) for p in (content, paint[0])]

    def gradient(batch):
        network_pass = FeaturePass(model, taps, (len(batch), 3, 32, 32))
        network_pass.picture[:] = batch
        network_pass.forward()
        for tap in taps:
            network_pass.gradients[tap][:] = network_pass.features[tap]
        network_pass.backward()
        return network_pass.gradient.copy()

    both = gradient(pictures)
    for index, picture in enumerate(pictures):
        np.testing.assert_allclose(both[index], gradient([picture])[0], rtol=1e-5, atol=1e-6)


def test_the_objective_s_gradient_is_the_derivative_of_its_value(content, paint, network):
    """Directional difference of the whole: content, style, TV, through the real sessions and kernels, in float32."""
    objective = Stylization(content, paint, Options(network=network, size=48, init="random")).stage(0, None).objective
    assert isinstance(objective, Objective)
    x = objective.picture
    start = x.copy()
    objective.evaluate()
    gradient = objective.gradient.astype(np.float64)
    direction = gradient / np.abs(gradient).max()
    values = []
    for step in (2e-4, -2e-4):
        x[:] = start + step * direction
        objective.evaluate()
        values.append(objective.total[0])
    expected = (values[0] - values[1]) / 4e-4
    assert (gradient * direction).sum() == pytest.approx(
        expected, rel=1e-2
    )  # float32, and ReLUs that switch within the step


def test_terms_sum_to_the_loss_and_are_named_by_layer(content, paint, network):
    row = run(content, paint[0], network).trace[-1]
    assert sum(row["terms"].values()) == pytest.approx(row["loss"])
    assert "content conv4_2" in row["terms"]
    assert "style conv1_1" in row["terms"]


def test_tutorial_clamps_and_taps_before_the_relu(content, paint, network):
    seen = []
    run(content, paint[0], network, preset="tutorial", callback=lambda p: seen.append(p.picture()))
    assert all(picture.min() >= 0 and picture.max() <= 1 for picture in seen)


@pytest.mark.parametrize(
    ("style", "options", "message"),
    [
        ([], {}, "at least one picture"),
        (None, {}, "path or a NumPy array"),
        (["a"], {"mask": ((np.zeros((36, 48, 3), "f4"), np.ones((36, 48, 3), "f4")),)}, "content mask 1 is black"),
    ],
)
def test_bad_input_from_python(content, paint, network, style, options, message):
    given = paint[0] if style == ["a"] else style
    with pytest.raises(Error, match=message):
        run(content, given, network, **options)
