"""Stylogram makes pictures by optimising them against a convolutional network's features.

    import stylogram
    result = stylogram.stylize("photo.jpg", "painting.jpg", size=512)
    result.save("out.png")

Every task is a function of its own name: `stylogram.stylize`, ... Bad input raises `stylogram.Error`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import pictures as pictures
    from .batching import batch as batch
    from .driver import Diverged as Diverged
    from .driver import Interrupted as Interrupted
    from .driver import Progress as Progress
    from .errors import Error as Error
    from .result import Result as Result
    from .tasks.compare import compare as compare
    from .tasks.deconvnet import deconvnet as deconvnet
    from .tasks.dream import dream as dream
    from .tasks.maximize import maximize as maximize
    from .tasks.occlusion import occlusion as occlusion
    from .tasks.reconstruct import reconstruct as reconstruct
    from .tasks.saliency import saliency as saliency
    from .tasks.stylize import stylize as stylize
    from .tasks.texture import texture as texture

__version__ = "0.1.0"
_HOMES = {
    "Error": "errors",
    "Diverged": "driver",
    "Interrupted": "driver",
    "Progress": "driver",
    "Result": "result",
    "batch": "batching",
}


def __getattr__(name: str) -> Any:
    """Tasks and types are imported when they are first asked for: `import stylogram` alone is quick."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name == "__all__":
        return _names()
    # No `from . import tasks` here: that would ask this function for `tasks`.
    if name not in ("tasks", "__path__") and name in importlib.import_module(f"{__name__}.tasks").names():
        return getattr(importlib.import_module(f"{__name__}.tasks.{name}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _names() -> list[str]:
    return sorted(["__version__", *_HOMES, *importlib.import_module(f"{__name__}.tasks").names()])


def __dir__() -> list[str]:
    return sorted({*globals(), *_names()})
