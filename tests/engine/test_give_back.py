"""Memory is given back where some has come, and not looked for where little has."""

import gc
import sys
import weakref

import numpy as np
import pytest
from stylogram import session

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is in memory is known on Linux")


class Cycle:
    """What only the garbage collector frees."""

    def __init__(self, size: int) -> None:
        self.own, self.held = self, np.ones(size, np.uint8)


@pytest.mark.parametrize(("size", "freed"), [(4 * session.LITTLE, True), (1, False)])
def test_cycles_go_where_memory_has_come(size: int, freed: bool) -> None:
    gc.collect()
    gc.disable()
    try:
        session._resident = session._resident_bytes()  # as after the last time
        seen = weakref.ref(Cycle(size))
        before = session._resident_bytes()
        session.give_back()
        assert (seen() is None) == freed
        assert (session._resident_bytes() < before - size // 2) == freed
    finally:
        gc.enable()


def test_what_shrank_by_itself_may_grow_again_by_little_only() -> None:
    session._resident = session._resident_bytes() + 100 * session.LITTLE
    session.give_back()
    assert session._resident < session._resident_bytes() + session.LITTLE
