"""stylize in tiles: loss and gradient are those of the whole picture."""

import numpy as np
import pytest
import stylogram
from architectures import light, with_weights
from onnx import helper
from stylogram import memory
from stylogram.batching import shared
from stylogram.cli import main
from stylogram.errors import Error
from stylogram.losses import style as style_loss
from stylogram.stages import StagedPass
from stylogram.tasks.stylize import Options, Stylization
from stylogram.tiling_objective import TiledObjective
from stylogram_export.layers import Layers
from stylogram_export.network import Network, save
from stylogram_export.prepare import prepare
from stylogram_export.preprocess import PREPROCESS

from engine import nets

EXACT = 1e-4  # what is promised, relative; with the same convolutions 3e-7 is what is measured
SIZES = [(300, 420), (333, 251), (247, 301)]


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """F(4x4) has its own 4x4 blocks in a tile; their rounding can turn a ReLU or a maximum at single pixels."""
    monkeypatch.setenv("STYLOGRAM_CONVOLUTION", "direct")


def evaluated(content, styles, **options):
    work = Stylization(content, styles, Options(**{"size": max(content.shape[:2]), "scales": 1} | options))
    objective = work.stage(0, None).objective
    objective.evaluate()
    objective.evaluate()  # as often as one likes
    return objective


def relative(got, wanted):
    return float(np.linalg.norm(np.subtract(got, wanted, dtype=np.float64)) / np.linalg.norm(wanted))


def compare(content, styles, tile, exact=EXACT, **options):
    whole = evaluated(content, styles, **options)
    tiled = evaluated(content, styles, tile=tile, **options)
    assert isinstance(tiled, TiledObjective)
    assert tiled.names == [name for name in whole.names if name in tiled.names] or len(tiled.names) > len(whole.names)
    assert tiled.terms().keys() == whole.terms().keys()
    for name, value in whole.terms().items():
        assert tiled.terms()[name] == pytest.approx(value, rel=exact), name
    assert tiled.total == pytest.approx(whole.total, rel=exact)
    assert relative(tiled.gradient, whole.gradient) < exact
    assert relative(1.001 * tiled.gradient, whole.gradient) > exact
    return tiled.network.plan


def squeezenet():
    """SqueezeNet's graph, random weights; its pools overlap, and their last windows hang over."""
    model = prepare(with_weights(light("squeezenet")))
    fires = [node.output[0] for node in model.graph.node if node.op_type == "Concat"]
    first = next(node.output[0] for node in model.graph.node if node.op_type == "Relu")
    layers = Layers({"conv1": first, "fire3": fires[1], "fire5": fires[3]}, ("fire3",), ("conv1", "fire3", "fire5"))
    return Network("squeezenet", model, PREPROCESS["caffe"], layers)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_a_vgg(size, pooling):
    content, style = nets.blocks(*size, 1), nets.blocks(280, 310, 2, cell=3)
    plan = compare(content, [style], 48, network=nets.narrow(pooling=pooling), init="random")
    assert len(plan.tiles) >= 6


@pytest.mark.parametrize("size", [(227, 261), (240, 192)], ids=str)
def test_squeezenet(size):
    content, style = nets.blocks(*size, 1), nets.blocks(200, 180, 2, cell=3)
    plan = compare(content, [style], 32, network=squeezenet(), init="random")
    assert len(plan.tiles) >= 4


def test_the_default_network():
    """With its margin, and a style that is larger than a tile as well."""
    content, style = nets.blocks(200, 243, 1), nets.blocks(260, 210, 2, cell=3)
    plan = compare(content, [style], 40, init="random", margin=8, style_scale=1.2)
    assert len(plan.tiles) >= 6


def test_with_the_convolutions_that_users_have(monkeypatch):
    """Winograd's differ by the place of a tile, 1e-6 or so; where a ReLU or maximum turns, a pixel's gradient jumps."""
    monkeypatch.setenv("STYLOGRAM_CONVOLUTION", "auto")
    content, style = nets.blocks(300, 420, 1), nets.blocks(280, 310, 2, cell=3)
    compare(content, [style], 48, exact=5e-4, network=nets.narrow(), init="random")


def test_regions_styles_and_layers_that_serve_both():
    """Two masks and two styles: guided Gram matrices are sums over positions, too. Content and style share a layer."""
    size = (260, 300)
    content, styles = nets.blocks(*size, 1), [nets.blocks(280, 310, 2, cell=3), nets.blocks(250, 330, 3)]
    left = np.zeros((*size, 3), np.float32)
    left[:, :140] = 1
    left[40:90, 200:260] = 0.5
    shape = np.zeros((280, 310, 3), np.float32)
    shape[30:250, 20:] = 1
    masks = ((left, shape), (1 - left, np.ones((250, 330, 3), np.float32)))
    layers = {"content_layers": "conv3_2,conv4_2", "style_layers": "conv1_1,conv3_2,conv4_1"}
    compare(content, styles, 32, network=nets.narrow(), mask=masks, init="random", **layers)


def test_a_tile_larger_than_the_picture_changes_nothing():
    content, style = nets.blocks(100, 140, 1), nets.blocks(90, 80, 2)
    whole = evaluated(content, [style], network=nets.narrow())
    tiled = evaluated(content, [style], network=nets.narrow(), tile=512)
    assert not isinstance(tiled, TiledObjective)
    assert np.array_equal(tiled.gradient, whole.gradient)


def test_the_gram_matrix_of_a_style_by_tiles():
    style, network = nets.blocks(303, 290, 2, cell=3), nets.narrow()
    made = [
        Stylization(nets.blocks(64, 64, 1), [style], Options(network=network, size=64, style_scale=4.7, tile=tile))
        for tile in (None, 32)
    ]
    whole, tiled = (work.targets(work.subjects[0], 0, 0) for work in made)
    assert whole.keys() == tiled.keys()
    for key, gram in whole.items():
        assert gram.shape == tiled[key].shape
        assert relative(tiled[key], gram) < 1e-6


def test_pictures_and_scales_in_tiles(tmp_path):
    """A whole run, the coarse scale without tiles: the same picture as without, but for rounding."""
    content, style = nets.blocks(240, 320, 1), nets.blocks(200, 260, 2, cell=3)
    options = {"network": nets.narrow(), "size": 320, "scales": 2, "iterations": 5}
    seen = []
    whole = stylogram.stylize(content, style, **options)
    tiled = stylogram.stylize(content, style, tile=80, scratch=tmp_path, callback=seen.append, **options)
    assert [row["scale"] for row in tiled.trace] == [row["scale"] for row in whole.trace]
    assert np.quantile(np.abs(tiled.exact - whole.exact), 0.99) < 2e-3  # five steps later; a maximum may have turned
    assert tiled.loss == pytest.approx(whole.loss, rel=1e-3)
    assert list(tmp_path.iterdir()) == []  # files without a name


def test_ctrl_c_within_a_tile_keeps_the_best_picture(monkeypatch):
    content, style = nets.blocks(240, 320, 1), nets.blocks(200, 260, 2, cell=3)
    calls = []
    own = style_loss.PartTerm.gather

    def gather(self, features, window):
        calls.append(window)
        if len(calls) == limit:
            raise KeyboardInterrupt
        own(self, features, window)

    limit = -1
    monkeypatch.setattr(style_loss.PartTerm, "gather", gather)
    options = {"network": nets.narrow(), "size": 320, "scales": 1, "tile": 80}
    stylogram.stylize(content, style, iterations=2, **options)
    limit, calls = len(calls) - 3, []
    with pytest.raises(stylogram.Interrupted) as stopped:
        stylogram.stylize(content, style, iterations=2, **options)
    assert stopped.value.result is not None
    assert len(stopped.value.result.trace) == 2
    assert stopped.value.result.exact.shape == content.shape


def test_auto_takes_tiles_only_where_memory_asks_for_them(monkeypatch):
    content, style = nets.blocks(500, 620, 1), nets.blocks(90, 80, 2)
    options = {"network": nets.narrow(), "tile": "auto", "history": 2, "style_scale": 0.2}
    monkeypatch.setattr(memory, "available", lambda: 2**33)
    assert not isinstance(evaluated(content, [style], **options), TiledObjective)
    monkeypatch.setattr(memory, "available", lambda: 1.2e8)
    tiled = evaluated(content, [style], **options)
    assert isinstance(tiled, TiledObjective)
    held = sum(a.nbytes for a in (*tiled.network._tile.features.values(), *tiled.network._tile.gradients.values()))
    assert held < 0.8 * 1.2e8
    monkeypatch.setattr(memory, "available", lambda: 2e7)
    with pytest.raises(Error, match=r"tile auto: 620x500 pixels need .* GiB, .*; accepted: a smaller --size or "):
        evaluated(content, [style], **options)


def test_the_largest_core_that_fits():
    """1000 bytes a pixel, 100 of halo, none kept: of 0.8 free."""
    assert memory.core(1000, (500, 500), 100, 0, 1e9) is None
    assert memory.core(1000, (5000, 5000), 100, 0, 1e9) == 794
    assert memory.core(1000, (5000, 5000), 100, 4e8, 1e9) == 532
    with pytest.raises(Error, match="tile auto"):
        memory.core(1000, (5000, 5000), 100, 7.9e8, 1e9)


@pytest.mark.parametrize("tile", ["0", "many", "-1", "15", "1.5", "65537", "true"])
def test_a_wrong_tile(tmp_path, capsys, tile):
    stylogram.pictures.write(tmp_path / "c.png", nets.blocks(40, 40, 1))
    picture = str(tmp_path / "c.png")
    assert main(["stylize", picture, picture, "-o", str(tmp_path / "o.png"), "--tile", tile]) == 2
    told = f"error: tile: auto or a number of pixels from 16 to 65536 is accepted, got '{tile}'\n"
    assert capsys.readouterr().err == told
    assert not (tmp_path / "o.png").exists()


def test_a_loss_that_needs_the_whole_picture(monkeypatch):
    monkeypatch.delattr(style_loss, "PartTerm")
    with pytest.raises(Error, match="tile: the style loss 'gram' needs the whole picture"):
        evaluated(nets.blocks(64, 64, 1), [nets.blocks(64, 64, 2)], network=nets.narrow(), tile=32)


def test_a_network_that_normalises_over_the_picture(tmp_path, capsys):
    norm = helper.make_node("InstanceNormalization", ["x", "one", "none"], ["y"], "norm")
    network = nets.by_hand(norm, constants={"one": np.ones(3), "none": np.zeros(3)})
    save(network, tmp_path / "net.onnx")
    stylogram.pictures.write(tmp_path / "c.png", nets.blocks(100, 100, 1))
    given = [str(tmp_path / name) for name in ("c.png", "c.png", "o.png", "net.onnx")]
    arguments = ["stylize", *given[:2], "-o", given[2], "--network", given[3], "--tile", "32", "--size", "100"]
    assert main([*arguments, "--content-layers", "deep", "--style-layers", "deep"]) == 2
    error = capsys.readouterr().err
    assert "error: tile: [InstanceNormalization] node 'norm' sees the whole picture; accepted: networks" in error
    assert error.count("\n") == 1


def test_rows_of_a_batch_go_one_at_a_time_and_get_what_they_get_alone(tmp_path, monkeypatch):
    passes = []

    class Watched(StagedPass):
        def __init__(self, model, taps, shape, **options):
            passes.append(shape)
            super().__init__(model, taps, shape, **options)

    monkeypatch.setattr(shared, "StagedPass", Watched)
    save(nets.narrow(), tmp_path / "net.onnx")
    for number in (1, 2):
        stylogram.pictures.write(tmp_path / f"{number}.png", nets.blocks(200, 260, number, cell=3))
    rows = [{"content": f"{tmp_path}/{a}.png", "style": f"{tmp_path}/{b}.png"} for a, b in ((1, 2), (2, 1))]
    options = {"network": tmp_path / "net.onnx", "size": 260, "scales": 1, "iterations": 2, "tile": 48, "threads": 1}
    made = stylogram.batch(rows, output=tmp_path / "out", batch=2, **options)
    assert (made.done, made.failures) == (2, ())
    assert len(passes) == 1  # the tile's, kept for the second
    assert passes[0][0] == 1
    assert passes[0][2] < 200
    for row, name in zip(rows, ("1__2.png", "2__1.png"), strict=True):
        alone = stylogram.stylize(row["content"], row["style"], **options)
        assert np.abs(stylogram.pictures.read(tmp_path / "out" / name).rgb - alone.exact).max() < 1.01 / 255


def test_a_wrong_scratch(tmp_path, capsys):
    stylogram.pictures.write(tmp_path / "c.png", nets.blocks(40, 40, 1))
    picture, none = str(tmp_path / "c.png"), str(tmp_path / "none")
    assert main(["stylize", picture, picture, "-o", str(tmp_path / "o.png"), "--scratch", none]) == 2
    assert capsys.readouterr().err == f"error: scratch: a directory is accepted, got {none!r}\n"


def test_a_scratch_that_is_full_is_one_line(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    content, style = nets.blocks(240, 320, 1), nets.blocks(60, 60, 2)
    with pytest.raises(Error, match=r"scratch: .*: No space left on device") as raised:
        evaluated(content, [style], network=nets.narrow(), tile=80, scratch=tmp_path, style_scale=0.3, optimizer="adam")
    assert "\n" not in str(raised.value)
