"""Small bundles, written with the onnx package: the mean color of the image as logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from excite.bundle.decision import Decision
from excite.bundle.format import KEY, BundleInfo
from excite.bundle.vectors import TestVector, example_images
from excite.data.decoding import decode
from excite.data.preprocessing import Preprocessing

onnx = pytest.importorskip("onnx")
SIZE = 8
CLASSES = ("red", "green", "blue")


def expected_probabilities(pixels: np.ndarray) -> np.ndarray:
    """(N, S, S, 3) -> (N, 3): softmax of the mean colors over 64."""
    logits = pixels.astype(np.float64).mean(axis=(1, 2)) / 64
    exponentials = np.exp(logits)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def make_model(opset: int = 20, extra_nodes: tuple[Any, ...] = ()) -> Any:
    """The graph without metadata."""
    helper, kinds = onnx.helper, onnx.TensorProto
    constants = [
        onnx.numpy_helper.from_array(np.array([1, 2]), "axes"),
        onnx.numpy_helper.from_array(np.float32(64), "divisor"),
    ]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=kinds.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
        helper.make_node("Div", ["means", "divisor"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        *extra_nodes,
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("pixels", kinds.UINT8, ["batch", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("probabilities", kinds.FLOAT, ["batch", 3])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def make_info(**changes: Any) -> BundleInfo:
    preprocessing = Preprocessing(SIZE, "stretch")
    images = example_images()
    pixels = np.stack([preprocessing.pixels(decode(image)) for image in images])
    rows = expected_probabilities(pixels)
    values: dict[str, Any] = {
        "name": "colors",
        "classes": CLASSES,
        "preprocessing": preprocessing,
        "max_pixels": 10_000,
        "decision": Decision(),
        "calibration": {"temperature": 1.0, "intercept": [0.0, 0.0, 0.0]},
        "vectors": tuple(TestVector(*each).to_dict() for each in zip(images, pixels, rows, strict=True)),
    }
    return BundleInfo(**{**values, **changes})


def write_bundle(path: Path, model: Any = None, info: BundleInfo | str | None = None, **edits: Any) -> Path:
    """A bundle; ``edits`` change top-level keys of its JSON document."""
    model = make_model() if model is None else model
    text = info if isinstance(info, str) else (info or make_info()).to_json()
    if edits:
        text = json.dumps({**json.loads(text), **edits})
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=text)
    path.write_bytes(model.SerializeToString())
    return path
