"""Channel attention for image classifiers: train on a folder, find out honestly how good it is.

Importing this imports neither torch nor anything else that is slow; each name below is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from excite.version import __version__ as __version__

if TYPE_CHECKING:
    from excite.api import audit as audit
    from excite.api import train as train
    from excite.attention.squeeze_excitation import SqueezeExcitation as SqueezeExcitation
    from excite.errors import ExciteError as ExciteError
    from excite.inference.optimized import optimize_for_inference as optimize_for_inference
    from excite.insertion.insert import insert as insert
    from excite.insertion.insert import remove as remove
    from excite.insertion.sites import sites as sites
    from excite.models.catalog import create_model as create_model
    from excite.models.catalog import list_models as list_models
    from excite.runs.classifier import Classifier as Classifier
    from excite.runs.run import Run as Run

_HOMES = {
    "Classifier": "excite.runs.classifier",
    "ExciteError": "excite.errors",
    "Run": "excite.runs.run",
    "SqueezeExcitation": "excite.attention.squeeze_excitation",
    "optimize_for_inference": "excite.inference.optimized",
    "audit": "excite.api",
    "create_model": "excite.models.catalog",
    "insert": "excite.insertion.insert",
    "list_models": "excite.models.catalog",
    "remove": "excite.insertion.insert",
    "sites": "excite.insertion.sites",
    "train": "excite.api",
}

__all__ = [
    "Classifier",
    "ExciteError",
    "Run",
    "SqueezeExcitation",
    "optimize_for_inference",
    "audit",
    "create_model",
    "insert",
    "list_models",
    "remove",
    "sites",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'excite' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
