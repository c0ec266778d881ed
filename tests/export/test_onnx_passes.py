"""Changes to an ONNX model that keep what it computes, against ONNX's reference implementation."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from excite.export.onnx_passes import (
    arrange_pooling,
    remove_traces,
    scale_logits,
    squeeze_before_expansion,
)
from excite.export.onnx_structure import Structure

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")
NARROW, WIDE, HIDDEN, SIDE, CLASSES = 3, 8, 2, 5, 4


def make_model(*, stride: int = 1, bias: bool = True, keepdims: int = 1) -> Any:
    """A bottleneck with a gate, a pooled head, and a softmax; means are ReduceMean, as exporters write."""
    random = np.random.default_rng(0)
    helper = onnx.helper

    def constant(name: str, *shape: int) -> Any:
        return onnx.numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)

    constants = [
        constant("w", WIDE, NARROW, 1, 1),
        constant("b", WIDE),
        constant("f", HIDDEN, WIDE, 1, 1),
        constant("c", HIDDEN),
        constant("g", WIDE, HIDDEN, 1, 1),
        constant("head", WIDE, CLASSES),
        onnx.numpy_helper.from_array(np.array([2, 3]), "axes"),
    ]
    nodes = [
        helper.make_node(
            "Conv", ["x", "w", "b"] if bias else ["x", "w"], ["u"], "conv", strides=[stride] * 2
        ),
        helper.make_node("ReduceMean", ["u", "axes"], ["z"], "squeeze", keepdims=1),
        helper.make_node("Conv", ["z", "f", "c"], ["h"], "fc1"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "g"], ["v"], "fc2"),
        helper.make_node("Sigmoid", ["v"], ["s"], "sigmoid"),
        helper.make_node("Mul", ["u", "s"], ["y"], "scale"),
        helper.make_node("ReduceMean", ["y", "axes"], ["p"], "pool", keepdims=keepdims),
        helper.make_node("Flatten", ["p"], ["features"], "flatten"),
        helper.make_node("MatMul", ["features", "head"], ["logits"], "linear"),
        helper.make_node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("x", kind, ["batch", NARROW, SIDE, SIDE])],
        [helper.make_tensor_value_info("probabilities", kind, ["batch", CLASSES])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: Any) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(1).normal(size=(2, NARROW, SIDE, SIDE)).astype(np.float32)
    [found] = reference.ReferenceEvaluator(model).run(None, {"x": x})
    return np.asarray(found)


def operators(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_means_over_positions_become_pooling(keepdims: int) -> None:
    model = make_model(keepdims=keepdims)
    expected = run(model)
    assert arrange_pooling(model) == 2
    assert operators(model)["ReduceMean"] == 0
    assert operators(model)["GlobalAveragePool"] == 2
    assert "axes" not in {each.name for each in model.graph.initializer}
    np.testing.assert_allclose(run(model), expected, atol=1e-6)


@pytest.mark.parametrize(("stride", "bias", "gates"), [(1, True, 1), (1, False, 1), (2, True, 0)])
def test_the_squeeze_moves_before_a_1x1_convolution(stride: int, bias: bool, gates: int) -> None:
    model = make_model(stride=stride, bias=bias)
    expected = run(model)
    arrange_pooling(model)
    assert squeeze_before_expansion(model) == gates
    pool = next(node for node in model.graph.node if node.op_type == "GlobalAveragePool")
    assert pool.input[0] == ("x" if gates else "u")
    np.testing.assert_allclose(run(model), expected, atol=1e-6)


def test_scaled_logits_are_another_temperature() -> None:
    model = make_model()
    logits = np.log(run(model)) / 2.5
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scale_logits(model, ["probabilities"], 1 / 2.5)
    np.testing.assert_allclose(run(model), expected, atol=1e-6)


def test_no_trace_of_the_machine_is_left() -> None:
    model = make_model()
    model.graph.node[0].doc_string = "File /home/me/x.py"
    model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="File /home/me/x.py")
    model.graph.doc_string = model.doc_string = "/home/me"
    remove_traces(model)
    assert b"/home/me" not in model.SerializeToString()


def test_gates_head_and_pixel_arithmetic_are_found_by_their_connections() -> None:
    model = make_model()
    node = onnx.helper.make_node("Mul", ["pixels", "scale"], ["x"], "normalize")
    model.graph.node.insert(0, node)
    structure = Structure(model)
    assert structure.pixel_nodes() == {"normalize"}
    assert structure.gate_nodes() == {"squeeze", "fc1", "relu", "fc2", "sigmoid", "scale"}
    after_convolutions = {"sigmoid", "scale", "pool", "flatten", "linear", "softmax"}
    assert structure.head_nodes("probabilities", []) == after_convolutions
