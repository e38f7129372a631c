"""The procedural pictures: every family, what its style decides, and the labels of scenes."""

import numpy as np
import pytest
from stylogram_training import pictures
from stylogram_training.dataset import bank, pieces
from stylogram_training.scenes import KINDS, MIXED, PLAIN, SHAPES, Scene, _Canvas, scene

SIDE = 64
NAMES = pictures.class_names(len(pictures.families()))


def test_there_are_many_families_and_they_take_turns() -> None:
    kinds = list(pictures.families())
    assert len(kinds) >= 25
    assert pictures.class_names(len(kinds) + 1)[-1] == f"{kinds[0]} 1"


@pytest.mark.parametrize("name", NAMES)
def test_a_texture(name: str) -> None:
    one, again, other = (pictures.texture(name, np.random.default_rng(seed), SIDE) for seed in (1, 1, 2))
    assert one.shape == (SIDE, SIDE, 3)
    assert one.dtype == np.float32
    assert np.isfinite(one).all()
    assert one.std() > 0.01, "flat"
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other), "the same piece whatever the seed"


def test_style_decides_which_texture_it_is() -> None:
    """Two pieces of one texture are nearer in mean colour and contrast than pieces of others, for most textures."""
    textures = pictures.class_names(87)

    def statistics(seed: int) -> np.ndarray:
        made = [pictures.texture(name, np.random.default_rng(seed), SIDE) for name in textures]
        return np.stack([np.concatenate([p.mean((0, 1)), p.std((0, 1))]) for p in made])

    one, other = statistics(1), statistics(2)
    distance = np.linalg.norm(one[:, None] - other[None], axis=-1)
    right = np.mean(distance.argmin(1) == np.arange(len(textures)))
    assert right > 0.4, f"{right:.0%} of the textures are found again, by chance it is 1%"


def made(seed: int) -> Scene:
    textures = np.stack([bank(NAMES[:6], 1, 0, index) for index in range(6)])
    rng = np.random.default_rng(seed)
    return scene(rng, pieces(rng, textures, SIDE), SIDE)


@pytest.mark.parametrize("seed", range(12))
def test_the_labels_of_a_scene(seed: int) -> None:
    found = made(seed)
    assert found.picture.shape == (SIDE, SIDE, 3)
    assert 0 <= found.picture.min() <= found.picture.max() <= 1
    assert set(np.unique(found.texture)) <= {MIXED, PLAIN, *range(6)}
    assert found.shape.max() < len(SHAPES)
    assert set(np.unique(found.edge)) <= {0, 1}
    # A block of two textures has an edge in it; a direction is only there where there are things to tell apart.
    mixed = found.texture == MIXED
    blocks = found.edge.reshape(SIDE // 4, 2, SIDE // 4, 2).any((1, 3))
    around = np.pad(blocks, 1)
    near = np.stack([around[y : y + SIDE // 4, x : x + SIDE // 4] for y in range(3) for x in range(3)]).any(0)
    assert near[mixed].all()
    assert np.abs(found.direction).max() <= 1 + 1e-5
    if not found.edge.any():
        assert not found.direction.any()


def test_every_kind_of_scene_comes_up() -> None:
    assert sum(KINDS.values()) == pytest.approx(1)
    found = [made(seed) for seed in range(30)]
    assert any(not one.edge.any() for one in found), "no scene of one texture"
    assert len({int(s) for one in found for s in np.unique(one.shape)}) >= 5


def test_the_direction_is_along_the_edge() -> None:
    """cos 2θ is below 0 at a vertical border and above 0 at a horizontal one, and sin 2θ is 0 at both."""
    for seed in range(4):
        canvas = _Canvas(np.random.default_rng(seed), lambda: (0, np.zeros((SIDE, SIDE, 3), np.float32)), SIDE)
        canvas.thing[:, SIDE // 2 :] = 1
        cosine, sine = canvas._direction()
        assert (cosine[:, 7:9] < 0).all()
        assert not cosine[:, :5].any()
        assert abs(sine).max() < 1e-3
        canvas.thing[:] = 0
        canvas.thing[SIDE // 2 :] = 1
        assert (canvas._direction()[0][7:9] > 0).all()
