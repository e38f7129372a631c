"""The losses: a module each, which says its KIND ("content", "style" or "picture") and NAME and holds a `Term`.

The directory is scanned; two modules of one kind and name are an error.
"""

import importlib
import pkgutil
from functools import cache
from types import ModuleType

from ..errors import one_of


@cache
def _table() -> dict[tuple[str, str], ModuleType]:
    table: dict[tuple[str, str], ModuleType] = {}
    for found in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{found.name}")
        key = (module.KIND, module.NAME)
        if key in table:
            raise ImportError(f"{found.name}: the loss {key} is already in {table[key].__name__}")
        table[key] = module
    return table


def names(kind: str) -> list[str]:
    """The losses of one kind."""
    return [name for of, name in _table() if of == kind]


def load(kind: str, name: str) -> ModuleType:
    """The module of a loss; an unknown name is an Error that lists those there are."""
    if (kind, name) not in _table():
        raise one_of(f"{kind} loss", name, names(kind))
    return _table()[kind, name]
