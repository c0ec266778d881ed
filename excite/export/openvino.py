"""Export to OpenVINO IR: a folder with ``model.xml`` and ``model.bin``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from excite.bundle.format import KEY
from excite.bundle.openvino_runtime import GRAPH
from excite.errors import ExciteError
from excite.export.onnx import onnx_model
from excite.export.parity import Written, ask_bundle
from excite.export.source import Source

WHERE = "--format openvino"


def write(source: Source, path: Path) -> Written:
    """Write an OpenVINO bundle with weights in float32, which is then asked in a fresh process.

    OpenVINO would store weights in float16 and compute in bfloat16 where the processor can; the precision in
    which it would compute on this processor is noted.

    Raises:
        ExciteError: if a library is missing, OpenVINO lacks an operator, or the folder cannot be written.
    """
    openvino = _import_openvino()
    core = openvino.Core()
    try:
        model = core.read_model(model=onnx_model(source).SerializeToString())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-200:]
        raise ExciteError(f"OpenVINO does not support the network: {reason}", where=WHERE) from error
    model.set_rt_info(source.info.to_json(), [KEY])
    path.mkdir()
    try:
        openvino.save_model(model, path / GRAPH, compress_to_fp16=False)
    except RuntimeError as error:  # it does not tell why
        hint = "check the free space of the disk"
        raise ExciteError("OpenVINO cannot write its files", where=path, hint=hint) from error
    return Written(partial(ask_bundle, path), (_precision_note(core, model),))


def _precision_note(core: Any, model: Any) -> str:
    """The precision that OpenVINO chooses on this processor."""
    precision = core.compile_model(model, "CPU").get_property("INFERENCE_PRECISION_HINT").to_string()
    if precision == "f32":
        return "OpenVINO computes in f32 on this processor; weights are stored in float32"
    return (
        f"OpenVINO computes in {precision} on this processor unless INFERENCE_PRECISION_HINT is f32, as in "
        "excite predict and in this check; weights are stored in float32"
    )


def _import_openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        hint = 'pip install "excite[export]"'
        raise ExciteError("OpenVINO is not installed", where=WHERE, hint=hint) from error
    return openvino
