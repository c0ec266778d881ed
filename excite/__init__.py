"""Channel attention for image classifiers: train on a folder of images, measure the model honestly.

Importing this package imports neither torch nor any other slow library: each public name, listed in
``__init__.pyi``, is loaded on first use (https://scientific-python.org/specs/spec-0001/).
"""

import importlib
from typing import Any

import lazy_loader

from excite.version import __version__ as __version__

_lazy, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_CALLABLE_PACKAGES = ("audit", "explain", "study")  # called as the functions of these names in api.py


def __getattr__(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}") if name in _CALLABLE_PACKAGES else _lazy(name)
