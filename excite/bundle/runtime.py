"""What runs the graph of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from excite.bundle.format import PIXELS, BundleInfo
from excite.errors import ExciteError


class Runtime(Protocol):
    """A graph that is ready to run."""

    def run(self, pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        """Pixels (N, S, S, 3) uint8 -> its outputs by name, each (N, ...) float32."""


def check_interface(
    inputs: Mapping[str, tuple[str, list[object]]],
    outputs: Mapping[str, list[object]],
    info: BundleInfo,
    where: object,
) -> None:
    """Check that the graph takes and gives what its metadata says.

    Args:
        inputs: name -> type and shape of each input; a dimension that may vary is not an integer.
        outputs: name -> shape of each output.

    Raises:
        ExciteError: if it does not.
    """
    size = info.preprocessing.image_size
    kind, shape = inputs.get(PIXELS, ("", []))
    fits = kind == "uint8" and len(shape) == 4 and not isinstance(shape[0], int)
    if len(inputs) != 1 or not fits or shape[1:] != [size, size, 3]:
        raise ExciteError(f"its network does not take uint8 images {size} x {size}", where=where)
    if set(outputs) != set(info.outputs):
        raise ExciteError(f"its network does not give {', '.join(info.outputs)}", where=where)
    for name in info.outputs:
        classes = outputs[name][2 if name == "members" else 1 : 3 if name == "members" else 2]
        if classes != [len(info.classes)]:
            raise ExciteError(f"its output {name} is not for {len(info.classes)} classes", where=where)
