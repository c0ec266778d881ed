"""Run the OpenVINO IR of a bundle: a folder with ``model.xml`` and ``model.bin``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from excite.bundle.format import KEY, PIXELS, BundleInfo
from excite.bundle.runtime import check_interface
from excite.errors import ExciteError
from excite.system.processors import available_processors

GRAPH, WEIGHTS = "model.xml", "model.bin"


class OpenVinoRuntime:
    """A compiled model on the processor, in float32.

    On processors with bfloat16, OpenVINO computes in it unless it is told not to, and probabilities change by
    up to 0.06.

    Args:
        model: as ``read_folder`` returns it.
        info: its metadata.
        where: the folder, for errors.
        threads: number of threads; None: the processors that this process may use.

    Raises:
        ExciteError: if OpenVINO refuses the model.
    """

    def __init__(self, model: Any, info: BundleInfo, *, where: object, threads: int | None = None) -> None:
        inputs = {each.any_name: (each.element_type.to_string(), _shape(each)) for each in model.inputs}
        inputs = {name: ("uint8" if kind == "u8" else kind, shape) for name, (kind, shape) in inputs.items()}
        check_interface(inputs, {each.any_name: _shape(each) for each in model.outputs}, info, where)
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": available_processors() if threads is None else threads,
        }
        try:
            self._compiled = _core().compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise ExciteError(f"OpenVINO refuses the model: {_reason(error)}", where=where) from error

    def run(self, pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        """Pixels (N, S, S, 3) uint8 -> its outputs by name."""
        try:
            values = self._compiled({PIXELS: np.ascontiguousarray(pixels)})
        except RuntimeError as error:
            raise ExciteError(f"OpenVINO failed: {_reason(error)}") from error
        return {output.any_name: np.array(values[output]) for output in self._compiled.outputs}


def read_folder(folder: Path) -> tuple[Any, BundleInfo]:
    """The model of an OpenVINO bundle, and its metadata.

    Raises:
        ExciteError: if OpenVINO is missing, a file is missing, damaged, or a link, or the model was not
            exported by excite.
    """
    contents = []
    for name in (GRAPH, WEIGHTS):
        path = folder / name
        if path.is_symlink():
            raise ExciteError("is refused: it is a link", where=path)
        try:
            contents.append(path.read_bytes())
        except OSError as error:
            raise ExciteError(f"cannot be read: {(error.strerror or '').lower()}", where=path) from error
    try:
        # From bytes, so that no path in the file is followed.
        model = _core().read_model(model=contents[0], weights=contents[1])
    except RuntimeError as error:
        raise ExciteError("is not an OpenVINO model, or is truncated", where=folder) from error
    text = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
    return model, BundleInfo.from_json(text, where=folder)


def _core() -> Any:
    try:
        import openvino
    except ImportError as error:
        hint = "pip install openvino"
        raise ExciteError("OpenVINO is not installed", where="predict", hint=hint) from error
    return openvino.Core()


def _shape(port: Any) -> list[object]:
    """Dimensions; None for one that may vary."""
    return [None if each.is_dynamic else each.get_length() for each in port.partial_shape]


def _reason(error: Exception) -> str:
    """The last line of the message; the lines before it name OpenVINO's source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
