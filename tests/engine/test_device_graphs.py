"""What graphs a GPU gets, and which it is not given."""

import numpy as np
import pytest
from stylogram import memory
from stylogram.devices import sessions
from stylogram.devices.graphs import Place, derivative_for
from stylogram.objective import Failed
from stylogram_export.network import folded

from engine import nets


def test_more_numbers_than_onnx_runtime_counts_are_one_clear_line():
    model, taps, shape = folded(nets.narrow(), ["conv1_1"]), ["conv1_1"], (1, 3, 16384, 32768)
    place = Place("host", queue=None)
    said = r"conv1_1:linear would have 3221225472 numbers.* counts to 2147483647"
    with pytest.raises(Failed, match=said) as found:
        derivative_for(model, taps, shape, "gradient", place)
    assert memory.ran_out(found.value)  # a group of pictures is tried again by halves
    with pytest.raises(Failed, match=said):
        sessions.features_of(model, taps, np.broadcast_to(np.float32(0), shape), place)
