"""Export to a file of torch.export, for PyTorch without excite.

Such files are written and never read: ``torch.export.load`` unpickles where a file says so.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.export import Dim, ExportedProgram

from excite.bundle.format import KEY
from excite.errors import ExciteError
from excite.export.parity import Reading, Written
from excite.export.source import Source
from excite.kernels.dispatch import use_kernels
from excite.system.files import write_bytes

WHERE = "--format torch"
NOTE = (
    "the exported program was checked before it was written: files of torch.export are not read back, since "
    "loading one can run code that it contains"
)


def write(source: Source, path: Path) -> Written:
    """Write a program from pixels to the outputs of the graph, with the metadata as the file ``excite.json``.

    Raises:
        ExciteError: if PyTorch cannot export the network, or the file cannot be written.
    """
    prepared = source.prepared
    example = torch.cat([prepared.example, prepared.example])  # a batch of one would be taken for a constant
    with warnings.catch_warnings(), use_kernels("off"), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(
                prepared.graph, (example,), dynamic_shapes=({0: Dim("batch")},), strict=False
            )
        except Exception as error:  # the exporter raises almost any exception
            reason = " ".join(str(error).split())[:200]
            raise ExciteError(f"PyTorch cannot export the network: {reason}", where=WHERE) from error
        _remove_traces(program)
        file = io.BytesIO()
        torch.export.save(program, file, extra_files={f"{KEY}.json": source.info.to_json()})
    write_bytes(path, file.getvalue())

    def ask(pixels: np.ndarray, _images: Sequence[str], batch_sizes: Sequence[int]) -> Reading:
        module = program.module()
        each = [_probabilities(module, pixels, size) for size in batch_sizes]
        return Reading(np.stack(each))

    return Written(ask, (NOTE,))


@torch.no_grad()
def _probabilities(module: torch.nn.Module, pixels: np.ndarray, batch_size: int) -> np.ndarray:
    parts = [
        module(torch.from_numpy(pixels[start : start + batch_size]))[0].numpy()
        for start in range(0, len(pixels), batch_size)
    ]
    return np.concatenate(parts)


def _remove_traces(program: ExportedProgram) -> None:
    """Remove the lines of code at each node, which name paths of this machine."""
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            for key in ("stack_trace", "from_node"):
                node.meta.pop(key, None)
