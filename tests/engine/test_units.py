"""Units, classes and their names: what is accepted, and what is said of the rest."""

import json

import numpy as np
import pytest
import stylogram
from engine.classes import NAMES, classifier
from stylogram import zoo
from stylogram.errors import Error
from stylogram.options import NetworkOptions, checked
from stylogram.units import Classes, Logits, Units, direction, native_size, shape_of

from engine import nets


class Chosen(NetworkOptions):
    unit: Units = ()
    class_: Classes = ()


@pytest.mark.parametrize(
    ("given", "units"),
    [
        ("3", (3,)),
        ("1,2,5-9", (1, 2, 5, 6, 7, 8, 9)),
        (4, (4,)),
        ([1, 2], (1, 2)),
        (np.int64(3), (3,)),
        (" 1 , 2", (1, 2)),
    ],
)
def test_units(given, units):
    assert checked(Chosen, {"unit": given}).unit == units


@pytest.mark.parametrize("given", ["", "a", "3-", "-3", "5-2", "1,1", "1,0-2", "0-99999", "1.5", [0.5], True, ["x"]])
def test_other_units_are_refused(given):
    with pytest.raises(Error, match=r"^unit"):
        checked(Chosen, {"unit": given})


def test_the_scores_are_what_goes_into_the_softmax():
    for network in (classifier(), classifier(softmax=False)):
        logits = Logits.of(network)
        assert (logits.tensor, logits.count, logits.map) == ("logits", 5, "map")
    assert Logits.of(classifier(side=32, flat=True)).map is None


def test_the_default_network_has_classes():
    """Its whitened layers are outputs too, and lie behind its scores in the file."""
    network = zoo.resolve("seednet")
    outputs = [value.name for value in network.model.graph.output]
    logits = Logits.of(network)
    assert outputs.index("conv5_1:white") > outputs.index("logits")
    assert (logits.tensor, logits.count, logits.label(0)) == ("logits", 1000, "0 blades 0")
    maps = stylogram.saliency(nets.blocks(48, 64, 1), size=64)
    assert all(found.any() for found in maps.maps.values())
    assert maps.label in {logits.label(index) for index in range(logits.count)}


def test_classes_by_number_and_name():
    logits = Logits.of(classifier())
    assert [logits.index(given) for given in (1, "1", "banana", " Banana ", "tench", "Tinca tinca")] == [1] * 4 + [
        0
    ] * 2
    assert logits.index("crane, bird") == 3
    assert logits.label(0) == "0 tench"


BAD_CLASSES = {
    "too large": (5, "a number from 0 to 4 or a name is accepted, got 5"),
    "negative": (-1, "a number from 0 to 4"),
    "unknown": ("bananna", "accepted: banana"),
    "ambiguous": ("crane", "2 (crane), 3 (crane, bird)"),
}


@pytest.mark.parametrize("name", BAD_CLASSES)
def test_other_classes_are_refused(name):
    given, said = BAD_CLASSES[name]
    with pytest.raises(Error) as caught:
        Logits.of(classifier()).index(given)
    assert said in str(caught.value)


def test_names_from_files(tmp_path):
    network = classifier(names=False)
    assert Logits.of(network).names == ()
    with pytest.raises(Error, match="names no classes"):
        Logits.of(network).index("banana")
    keras = {str(k): [f"n{k}", name] for k, name in enumerate(NAMES)}
    for text in ("\n".join(NAMES) + "\n", json.dumps(NAMES), json.dumps(keras)):
        (tmp_path / "names.txt").write_text(text)
        assert Logits.of(network, tmp_path / "names.txt").names == tuple(NAMES)


@pytest.mark.parametrize("text", ["one\ntwo\n", '["a"]', "[1, 2]", '{"a": 1}', "[", "\udcff"])
def test_bad_files_of_names(tmp_path, text):
    (tmp_path / "names.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(Error, match=r"names\.txt"):
        Logits.of(classifier(), tmp_path / "names.txt")
    with pytest.raises(Error, match="cannot be read"):
        Logits.of(classifier(), tmp_path / "missing.txt")


def test_a_network_without_classes_is_said_so():
    with pytest.raises(Error, match=r"narrow has no class scores: its output .* is \(1,12,14,14\)"):
        Logits.of(nets.narrow())


def test_sizes_and_shapes():
    assert native_size(classifier(side=32)) == (32, 32)
    assert native_size(classifier()) is None
    assert shape_of(classifier(side=32), "map") == (1, 5, 16, 16)
    assert shape_of(classifier(), "map", (20, 24)) == (1, 5, 10, 12)


def test_directions(tmp_path):
    np.testing.assert_allclose(direction("1=3,2=-4", 4, "l"), [0, 0.6, -0.8, 0])
    np.save(tmp_path / "d.npy", np.array([0, 2, 0]))
    for given in (tmp_path / "d.npy", str(tmp_path / "d.npy"), [0, 2, 0]):
        np.testing.assert_array_equal(direction(given, 3, "l"), [0, 1, 0])
    for given, said in (
        ([1, 2], "a vector of 3 numbers is needed for layer l, got one of shape"),
        (np.ones((3, 2, 2)), "a vector of 3"),
        ([0, 0, 0], "not all of them 0"),
        ([np.nan, 0, 0], "finite"),
        ("1=x", "must be a number"),
        ("7=1", "units from 0 to 2, got 7"),
        ("a=1", "K=weight"),
        ("missing.npy", "cannot be read"),
    ):
        with pytest.raises(Error, match=said):
            direction(given, 3, "l")
