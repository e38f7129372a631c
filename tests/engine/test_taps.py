"""Which layers are compared, by what is given and by the size of the picture."""

import pytest
from stylogram import zoo
from stylogram.options import checked
from stylogram.subject import chosen
from stylogram.taps import LARGE
from stylogram.tasks.stylize import Options, Stylization

from engine import nets


def style(longer: int, **options: object) -> dict[str, float]:
    given = checked(Options, options)
    network = zoo.resolve(given.network)
    return {name: weight for name, _, weight in chosen(given, given.recipe(), network, longer)[1].style}


def test_large_pictures_have_coarse_layers_too() -> None:
    layers = zoo.resolve("seednet").layers
    small, large = style(LARGE - 1), style(LARGE)
    assert tuple(small) == layers.style
    assert tuple(large) == (*layers.style, *layers.coarse)
    assert sum(large.values()) == pytest.approx(1)
    shares = {**layers.weights, **layers.coarse}
    assert large == pytest.approx({name: share / sum(shares.values()) for name, share in shares.items()})


def test_layers_that_are_given_or_a_presets_are_all_there_are() -> None:
    assert tuple(style(1000, style_layers={"conv2_1": 1.0})) == ("conv2_1",)
    assert not any("coarse" in name for name in style(1000, preset="gatys"))
    assert not any("coarse" in name for name in style(1000, network="random"))


@pytest.mark.parametrize(("size", "coarse"), [(400, True), (360, False)])
def test_the_size_is_that_of_the_last_scale(size: int, coarse: bool) -> None:
    pictures = nets.blocks(60, 80, 0), nets.blocks(64, 64, 1)
    work = Stylization(pictures[0], [pictures[1]], checked(Options, {"size": size, "scales": 2}))
    assert any("coarse" in name for name, _, _ in work.taps.style) is coarse
