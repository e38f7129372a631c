"""Memo: what was made once is not made again, as long as it fits."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Memo(Generic[T]):
    """Values by key, made when they are first asked for, by one thread while others wait for it.

    When they weigh more than `room`, those that were asked for longest ago are let go, never the newest.
    """

    def __init__(self, room: float, weigh: Callable[[T], float] = lambda _: 1) -> None:
        self._room, self._weigh = room, weigh
        self._values: OrderedDict[Hashable, tuple[T, float]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T], weight: float | None = None) -> T:
        """The value of `key`. With its `weight` known beforehand, room is made for it before it is made."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
            own = self._making.setdefault(key, threading.Lock())
        with own:
            with self._lock:
                if key in self._values:  # another thread has made it meanwhile
                    return self._values[key][0]
                self._make_room(weight or 0)
            value = make()
            with self._lock:
                heavy = self._weigh(value) if weight is None else weight
                self._make_room(heavy)
                self._values[key] = value, heavy
                self._making.pop(key, None)
            return value

    def values(self) -> list[T]:
        """All that there are, those that were asked for longest ago first."""
        with self._lock:
            return [value for value, _ in self._values.values()]

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._values.clear()

    def _make_room(self, weight: float) -> None:
        total = weight + sum(heavy for _, heavy in self._values.values())
        while self._values and total > self._room:
            _, (_, heavy) = self._values.popitem(last=False)
            total -= heavy
