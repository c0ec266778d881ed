"""Export to an ONNX file: one file, with everything that it takes to use it in its metadata."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from excite.bundle.format import KEY, OPSET, PIXELS, BundleInfo
from excite.errors import ExciteError
from excite.export.graph import Prepared
from excite.export.onnx_passes import arrange_pooling, remove_traces, squeeze_before_expansion
from excite.export.parity import Written, ask_bundle
from excite.export.source import Source
from excite.kernels.dispatch import use_kernels
from excite.system.files import write_bytes
from excite.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

LARGEST = 2**31 - 1  # bytes of a protocol buffer


def write(source: Source, path: Path) -> Written:
    """Write an ONNX bundle, which is then asked in a fresh process.

    Raises:
        ExciteError: if a library is missing, the network has operators that ONNX lacks, or the file cannot be
            written.
    """
    write_model(onnx_model(source), source.info, path)
    return Written(partial(ask_bundle, path))


def onnx_model(source: Source) -> onnx.ModelProto:
    """The graph as an ONNX model. Raises: ExciteError as ``write``."""
    if "onnx" not in source.shared:
        source.shared["onnx"] = build_model(source.prepared)
    model: onnx.ModelProto = source.shared["onnx"]
    return model


def build_model(prepared: Prepared) -> onnx.ModelProto:
    """The graph as an ONNX model, without metadata. Raises: ExciteError as ``write``."""
    onnx = _import_onnx()
    graph = prepared.graph
    with _quiet(), use_kernels("off"), torch.no_grad():
        try:
            program = torch.onnx.export(
                graph,
                (_batch_of_two(prepared),),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=[PIXELS],
                output_names=list(graph.outputs),
                opset_version=OPSET,
                external_data=False,
                optimize=True,
                verbose=False,
            )
            assert program is not None
            model = program.model_proto
        except Exception as error:  # exporters raise almost any exception
            reason = " ".join(str(error.__cause__ or error).split())[:200]
            raise ExciteError(
                f"the network cannot be written as ONNX: {reason}", where="--format onnx"
            ) from error
    opset = max(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if opset != OPSET:
        raise ExciteError(
            f"the exporter wrote operators of version {opset}, not {OPSET}", where="--format onnx"
        )
    arrange_pooling(model)
    squeeze_before_expansion(model)
    remove_traces(model)
    _name_dimensions(model)
    onnx.checker.check_model(model)
    return model


def write_model(model: onnx.ModelProto, info: BundleInfo, path: Path) -> None:
    """Write a model with its metadata as one file.

    Raises:
        ExciteError: if it is too large for one file, or cannot be written.
    """
    model.producer_name, model.producer_version = "excite", __version__
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=info.to_json())
    size = model.ByteSize()
    if size > LARGEST:
        raise ExciteError(
            f"the network takes {size:,} bytes; an ONNX file holds at most {LARGEST:,}", where=path
        )
    write_bytes(path, model.SerializeToString(deterministic=True))


def _batch_of_two(prepared: Prepared) -> torch.Tensor:
    """Example pixels; with a batch of one, the exporter would take the batch size for a constant."""
    return torch.cat([prepared.example, prepared.example.flip(1)])


def _name_dimensions(model: onnx.ModelProto) -> None:
    """Call the batch size of inputs and outputs ``batch``; runtimes infer the shapes inside."""
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporter prints."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _import_onnx() -> Any:
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ImportError as error:
        hint = 'pip install "excite[export]"'
        raise ExciteError(f"{error.name} is not installed", where="--format onnx", hint=hint) from error
    return onnx
