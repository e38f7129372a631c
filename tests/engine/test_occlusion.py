"""Occlusion: every score against a pass of its own, the heat between the places, and where it lies."""

import itertools

import numpy as np
import pytest
import stylogram
from engine.classes import classifier
from stylogram.errors import Error
from stylogram.session import features_of
from stylogram.tasks.occlusion import overlaid
from stylogram_export.network import folded

from engine import nets

PICTURE = nets.blocks(20, 28, 3)


def scores(network, pictures, label, probability):
    batch = np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2), np.float32)
    values = features_of(folded(network, ["logits"]), ["logits"], batch)["logits"].astype(float)
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True) if probability else values)[:, label]


@pytest.mark.parametrize("kind", ["probability", "logit"])
def test_every_score_is_that_of_the_hidden_picture(kind):
    network = classifier()
    options = {"square": 6, "stride": 5, "score": kind, "grey": 0.25, "batch": 7, "size": 28}
    made = stylogram.occlusion(PICTURE, network=network, class_=3, **options)
    assert made.scores.shape == (len(made.rows), len(made.columns)) == (4, 6)
    hidden = []
    for row, column in itertools.product(made.rows.astype(int), made.columns.astype(int)):
        hidden.append(PICTURE.copy())
        hidden[-1][max(row - 3, 0) : row + 3, max(column - 3, 0) : column + 3] = 0.25
    *wanted, whole = scores(network, [*hidden, PICTURE], 3, kind == "probability")
    np.testing.assert_allclose(made.scores.ravel(), wanted, rtol=0, atol=1e-5)
    assert made.whole == pytest.approx(whole, abs=1e-5)
    heat = made.heat[np.ix_(made.rows.astype(int), made.columns.astype(int))]
    np.testing.assert_allclose(heat, made.whole - made.scores, atol=1e-6)
    assert made.heat.shape == made.exact.shape[:2] == PICTURE.shape[:2]
    middle = made.heat[int(made.rows[1]), (int(made.columns[1]) + int(made.columns[2])) // 2]
    low, high = sorted((made.whole - made.scores)[1, 1:3])
    assert low <= middle <= high


def test_the_batch_changes_nothing_and_every_batch_is_reported():
    seen = []
    many = stylogram.occlusion(PICTURE, network=classifier(), class_=1, size=28, callback=seen.append)
    one = stylogram.occlusion(PICTURE, network=classifier(), class_=1, size=28, batch=1)
    np.testing.assert_allclose(many.scores, one.scores, atol=1e-6)
    assert [p.iteration for p in seen] == list(range(1, seen[-1].iterations + 1))
    assert seen[0].result().exact.shape == PICTURE.shape


def test_a_network_of_one_picture_at_a_time():
    """A file with a Reshape to (1,...), as the ONNX zoo's: the same scores as from the one that takes several."""
    given = {"class_": 1, "stride": 10}
    many, one = (
        stylogram.occlusion(PICTURE, network=classifier(side=28, flat=True, single=single), **given)
        for single in (False, True)
    )
    np.testing.assert_allclose(one.scores, many.scores, rtol=1e-4)


def test_the_heat_is_red_where_the_score_falls_most():
    heat = np.zeros((4, 5), np.float32)
    heat[1, 2], heat[3, 3] = 2, -7
    shown = overlaid(np.full((4, 5, 3), 0.5, np.float32), heat, 1.0)
    assert shown[1, 2, 0] > 2 * shown[1, 2, 2]
    np.testing.assert_array_equal(shown[3, 3], shown[0, 0])
    np.testing.assert_allclose(overlaid(PICTURE, np.zeros((20, 28), "f4"), 0.0).std(axis=2), 0, atol=1e-6)


def test_a_square_as_large_as_the_picture_is_refused():
    with pytest.raises(Error, match="square: a side under 28"):
        stylogram.occlusion(PICTURE, network=classifier(), square=28, size=28)
