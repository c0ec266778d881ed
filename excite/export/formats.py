"""The export formats."""

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
    """The interface of the module of a format."""

    def write(self, classifier: Classifier, path: Path) -> None:
        """Write a classifier that maps uint8 images of its input size to calibrated probabilities.

        Raises:
            ExciteError: if the format does not support the network, or a library is missing.
        """

    def read(self, path: Path) -> Predict:
        """Load the file as users do."""


@dataclass(frozen=True)
class Format:
    """An export format.

    Args:
        suffix: suffix of its files.
        module: name of the module that implements ``Writer``, imported on demand.
        description: one line for the list of formats.
        use: code that loads a file; {} stands for its path.
    """

    suffix: str
    module: str
    description: str
    use: str

    def writer(self) -> Writer:
        return cast("Writer", importlib.import_module(self.module))


FORMATS: Mapping[str, Format] = {
    "keras": Format(
        suffix=".keras",
        module="excite.export.keras",
        description="Keras 3, for TensorFlow, JAX and PyTorch",
        use="import excite.keras, keras; model = keras.saving.load_model({!r})",
    ),
}


def get_format(name: str) -> Format:
    """The format with a name. Raises: ExciteError for an unknown name, with the nearest one."""
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    return FORMATS[name]
