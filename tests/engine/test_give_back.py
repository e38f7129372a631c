"""Memory is given back where some has come, and nothing large waits for the garbage collector."""

import gc
import sys
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
from google.protobuf.message import Message
from stylogram import _core, session, stylize, texture
from stylogram.errors import Error

from engine import nets

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is in memory is known on Linux")


@linux
@pytest.mark.parametrize(("count", "freed"), [(64 << 10, True), (1, False)])
def test_memory_is_given_back_where_some_has_come(count: int, freed: bool) -> None:
    session.give_back()
    session._resident = session._resident_bytes()  # as after the last time
    blocks = [b"%d" % k * 200 for k in range(count)]  # malloc's; the last ones keep the heap from shrinking by itself
    most = session._resident_bytes()
    del blocks[: -max(count // 1000, 1)]
    before = session._resident
    session.give_back()
    assert (session._resident_bytes() < most - session.LITTLE) == freed
    assert (session._resident != before) == freed


@linux
def test_what_shrank_by_itself_may_grow_again_by_little_only() -> None:
    session._resident = session._resident_bytes() + 100 * session.LITTLE
    session.give_back()
    assert session._resident < session._resident_bytes() + session.LITTLE


def _runs() -> None:
    content, style = nets.blocks(48, 64, 1), nets.blocks(40, 40, 2)
    stylize(content, style, size=64, iterations=2)
    stylize(content, style, size=64, iterations=2, tile=32)
    texture(style, size=64, iterations=2)
    with pytest.raises(Error, match="unknown layer"):
        stylize(content, style, size=64, style_layers="nowhere")


def _cycle() -> None:
    held: list[object] = [np.ones(20_000, np.uint8)]
    held.append(held)


def large(made: object) -> bool:
    if isinstance(made, np.ndarray):
        return made.nbytes > 10_000
    if isinstance(made, Message):  # a graph or a tensor
        return made.ByteSize() > 10_000
    return isinstance(made, _core.Lbfgs | onnxruntime.InferenceSession)


@pytest.mark.parametrize(("run", "waits"), [(_runs, False), (_cycle, True)])
def test_nothing_large_waits_for_the_garbage_collector(run: Callable[[], None], waits: bool) -> None:
    run()  # what is made once for a process
    gc.collect()
    gc.disable()
    try:
        run()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [held for made in gc.garbage for held in (made, *gc.get_referents(made)) if large(held)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert bool(left) == waits
