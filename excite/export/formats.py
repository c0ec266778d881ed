"""The table of formats that a trained run can be written in."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from excite.errors import unknown_name

if TYPE_CHECKING:
    import numpy as np

    from excite.runs.classifier import Classifier

# Pixels (N, S, S, 3) uint8 -> probabilities (N, classes).
Predict = Callable[["np.ndarray"], "np.ndarray"]


class Writer(Protocol):
    """What the module of a format has."""

    def write(self, classifier: Classifier, path: Path) -> None:
        """The whole classifier as a file: uint8 images at its input size in, calibrated probabilities out.

        Raises: ExciteError if the format has no form for this network, or its libraries are missing.
        """

    def read(self, path: Path) -> Predict:
        """The file as others will use it."""


@dataclass(frozen=True)
class Format:
    """One format.

    Args:
        suffix: of its files.
        module: what writes and reads it, a ``Writer``; imported when it is asked for.
        says: what it is, for the list of formats.
        use: how a written file is loaded; {} stands for its path.
    """

    suffix: str
    module: str
    says: str
    use: str

    def writer(self) -> Writer:
        return cast("Writer", importlib.import_module(self.module))


FORMATS: Mapping[str, Format] = {
    "keras": Format(
        suffix=".keras",
        module="excite.export.keras",
        says="Keras 3, for TensorFlow, JAX and PyTorch",
        use="import excite.keras, keras; model = keras.saving.load_model({!r})",
    ),
}


def get_format(name: str) -> Format:
    """The format of that name. Raises: ExciteError for an unknown one, with the nearest."""
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    return FORMATS[name]
