"""Run the ONNX graph of a bundle with ONNX Runtime."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from excite.bundle.format import KEY, OPSET, PIXELS, BundleInfo
from excite.bundle.onnx_file import read_onnx_facts
from excite.bundle.runtime import check_interface
from excite.errors import ExciteError
from excite.system.processors import available_processors

_TYPES = {"tensor(uint8)": "uint8"}
_TELEMETRY = "ORT_DISABLE_TELEMETRY"
_IDENTITY = ("st_dev", "st_ino", "st_size", "st_mtime_ns")


class OnnxRuntime:
    """A session of ONNX Runtime on the processor.

    Args:
        model: the file, or its bytes.
        info: its metadata.
        where: the file, for errors.
        threads: number of threads; None: the processors that this process may use.
        few_images: leave weights in their layout, rather than in blocks for this processor, which takes time
            and memory once, and a quarter less time for each image.

    Raises:
        ExciteError: if ONNX Runtime is missing, or refuses the graph.
    """

    def __init__(
        self,
        model: bytes | Path,
        info: BundleInfo,
        *,
        where: object,
        threads: int | None = None,
        few_images: bool = False,
    ) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        if few_images:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.enable_cpu_mem_arena = False  # the arena keeps what it has used, for the next images
        # ONNX Runtime counts the machine's processors, not those of the process.
        options.intra_op_num_threads = available_processors() if threads is None else threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base
            raise ExciteError(f"ONNX Runtime refuses the file: {_reason(error)}", where=where) from error
        inputs = {
            each.name: (_TYPES.get(each.type, each.type), list(each.shape))
            for each in self._session.get_inputs()
        }
        outputs = {each.name: list(each.shape) for each in self._session.get_outputs()}
        check_interface(inputs, outputs, info, where)
        self._names = list(outputs)

    def run(self, pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        """Pixels (N, S, S, 3) uint8 -> its outputs by name."""
        try:
            values = self._session.run(self._names, {PIXELS: np.ascontiguousarray(pixels)})
        except Exception as error:
            raise ExciteError(f"ONNX Runtime failed: {_reason(error)}") from error
        return dict(zip(self._names, values, strict=True))


def load_onnx(
    path: Path, *, threads: int | None = None, few_images: bool = False
) -> tuple[OnnxRuntime, BundleInfo]:
    """The session and the metadata of an ONNX bundle.

    The file is checked without reading its weights, and then read by ONNX Runtime: through bytes in Python,
    it would take memory for the weights once more.

    Args:
        path: the file.
        threads, few_images: as for ``OnnxRuntime``.

    Raises:
        ExciteError: if the file cannot be read, is refused, changes meanwhile, or was not exported by excite.
    """
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            if before.st_size == 0:
                raise ExciteError("is not an ONNX file: it is empty", where=path)
            # Not closed after an error, whose traceback still refers to it.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            info = _read_info(content, path)
            content.close()
            runtime = OnnxRuntime(path, info, where=path, threads=threads, few_images=few_images)
            after = path.stat()
    except OSError as error:
        raise ExciteError(f"cannot be read: {(error.strerror or '').lower()}", where=path) from error
    if any(getattr(before, name) != getattr(after, name) for name in _IDENTITY):
        raise ExciteError("has changed while it was read", where=path, hint="run the command again")
    return runtime, info


def _read_info(content: mmap.mmap, path: Path) -> BundleInfo:
    """The metadata, after the checks of ``read_onnx_facts``."""
    facts = read_onnx_facts(content, where=path)
    info = BundleInfo.from_json(facts.metadata.get(KEY), where=path)
    if facts.opset > OPSET:
        what = f"uses version {facts.opset} of the ONNX operators; this version of excite reads up to {OPSET}"
        raise ExciteError(what, where=path, hint="export the run again, or use a newer excite")
    return info


def import_onnxruntime() -> Any:
    """The package, without its telemetry: from version 1.32 on, it records events for Microsoft by default.

    Raises:
        ExciteError: if it is not installed.
    """
    before = os.environ.get(_TELEMETRY)
    os.environ[_TELEMETRY] = "1"  # read once, when it is imported
    try:
        import onnxruntime
    except ImportError as error:
        hint = 'pip install "excite[serve]"'
        raise ExciteError("ONNX Runtime is not installed", where="predict", hint=hint) from error
    finally:
        os.environ.pop(_TELEMETRY)
        if before is not None:
            os.environ[_TELEMETRY] = before
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


def _reason(error: Exception) -> str:
    """The message without the code that ONNX Runtime puts in front of it."""
    text = " ".join(str(error).split())
    return text.rpartition("[ONNXRuntimeError] : ")[2][:200] or type(error).__name__
