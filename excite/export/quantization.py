"""Quantize an ONNX model with ONNX Runtime's tools."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from excite.bundle.format import PIXELS
from excite.bundle.onnx_runtime import import_onnxruntime
from excite.errors import ExciteError

if TYPE_CHECKING:
    import onnx

BATCH = 8


class _PixelReader:
    """Batches of pixels for the calibration."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._batches = iter(
            [{PIXELS: pixels[start : start + BATCH]} for start in range(0, len(pixels), BATCH)]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def quantize(model: onnx.ModelProto, pixels: np.ndarray, kept: set[str]) -> onnx.ModelProto:
    """A copy of a model with int8 layers.

    Args:
        model: with fixed sizes but for the batch.
        pixels: (N, S, S, 3) uint8, from which the ranges of activations are taken.
        kept: names of nodes that stay in float32.

    Raises:
        ExciteError: if ONNX Runtime cannot quantize it, or its tools are missing.
    """
    tools, onnx = _import_tools()
    with tempfile.TemporaryDirectory(prefix="excite-") as name, _quiet():
        original, quantized = Path(name) / "float32.onnx", Path(name) / "int8.onnx"
        try:
            onnx.save(onnx.shape_inference.infer_shapes(model), original)
            tools.quantize_static(
                original,
                quantized,
                _PixelReader(pixels),
                quant_format=tools.QuantFormat.QDQ,
                per_channel=True,
                activation_type=tools.QuantType.QUInt8,
                weight_type=tools.QuantType.QInt8,
                calibrate_method=tools.CalibrationMethod.MinMax,
                nodes_to_exclude=sorted(kept),
            )
            result = onnx.load(quantized, load_external_data=False)
        except Exception as error:  # its tools raise almost any exception
            reason = " ".join(str(error).split())[:200]
            raise ExciteError(f"the network cannot be quantized: {reason}", where="--int8") from error
    del result.graph.value_info[:]
    return result


def _import_tools() -> tuple[Any, Any]:
    import_onnxruntime()
    try:
        import onnx
        from onnxruntime import quantization
    except ImportError as error:
        hint = 'pip install "excite[export]"'
        raise ExciteError(f"{error.name} is not installed", where="--int8", hint=hint) from error
    return quantization, onnx


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the tools print."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
