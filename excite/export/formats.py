"""The export formats."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from excite.errors import BAD_USAGE, ExciteError, unknown_name

if TYPE_CHECKING:
    from excite.export.parity import Written
    from excite.export.source import Source


class Writer(Protocol):
    """The interface of the module of a format."""

    def write(self, source: Source, path: Path) -> Written:
        """Write a classifier that maps uint8 images of its input size to calibrated probabilities.

        Returns:
            a function that gives the probabilities of the written file, for the parity check, and notes.

        Raises:
            ExciteError: if the format does not support the network, a library is missing, or the file cannot
                be written.
        """


@dataclass(frozen=True)
class Format:
    """An export format.

    Args:
        suffix: suffix of its files, or of its folders.
        module: name of the module that implements ``Writer``, imported on demand.
        description: a few words for the list of formats.
        use: the command that uses a file; {} stands for its path.
        is_folder: whether it is a folder.
    """

    suffix: str
    module: str
    description: str
    use: tuple[str, ...]
    is_folder: bool = False

    def writer(self) -> Writer:
        return cast("Writer", importlib.import_module(self.module))


FORMATS: Mapping[str, Format] = {
    "onnx": Format(
        suffix=".onnx",
        module="excite.export.onnx",
        description="ONNX Runtime, and most other runtimes",
        use=("excite", "predict", "{}", "new.jpg"),
    ),
    "openvino": Format(
        suffix=".openvino",
        module="excite.export.openvino",
        description="a folder with OpenVINO IR, for processors of Intel",
        use=("excite", "predict", "{}", "new.jpg"),
        is_folder=True,
    ),
    "torch": Format(
        suffix=".pt2",
        module="excite.export.torch_export",
        description="torch.export, for PyTorch without excite",
        use=("python", "-c", "import torch; model = torch.export.load({!r}).module()"),
    ),
    "hub": Format(
        suffix="",
        module="excite.export.hub",
        description="a folder for the Hugging Face hub and timm",
        use=("python", "{}/example.py", "new.jpg"),
        is_folder=True,
    ),
    "keras": Format(
        suffix=".keras",
        module="excite.export.keras",
        description="Keras 3, for TensorFlow, JAX and PyTorch",
        use=("python", "-c", "import excite.keras, keras; model = keras.saving.load_model({!r})"),
    ),
}


def get_format(name: str) -> Format:
    """The format with a name. Raises: ExciteError for an unknown name, with the nearest one."""
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    return FORMATS[name]


def parse_formats(text: str) -> list[str]:
    """The names in a list such as ``onnx,openvino``. Raises: ExciteError for an unknown or repeated name."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        get_format(name)
    if len(set(names)) < len(names):
        raise ExciteError(f"names a format twice: {text}", where="--format", exit_code=BAD_USAGE)
    return names
