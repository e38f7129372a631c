"""The tasks: a module each, with `Options`, `ARGUMENTS` and a function of the module's own name.

The directory is scanned: the command line and `stylogram.<task>` find a new file by themselves.
"""

import importlib
import pkgutil
from types import ModuleType


def names() -> list[str]:
    """The tasks there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> ModuleType:
    """The module of a task."""
    return importlib.import_module(f"{__name__}.{name}")
