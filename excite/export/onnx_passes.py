"""Changes to an ONNX model after the export that keep what it computes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

_SPATIAL = ([2, 3], [-2, -1], [-1, -2], [3, 2])


def arrange_pooling(model: onnx.ModelProto) -> int:
    """Replace means over both spatial axes by GlobalAveragePool; returns their number.

    ONNX Runtime computes convolutions in a blocked layout. It pools in that layout, too, but would convert
    the whole map to reduce it.
    """
    import onnx

    constants = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    nodes = list(model.graph.node)
    for node in nodes:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    count = 0
    arranged: list[onnx.NodeProto] = []
    for node in nodes:
        axes = constants.get(node.input[1]) if len(node.input) > 1 else None
        if node.op_type != "ReduceMean" or axes is None or axes.tolist() not in _SPATIAL:
            arranged.append(node)
            continue
        count += 1
        keep = next((each.i for each in node.attribute if each.name == "keepdims"), 1)
        pooled = node.output[0] if keep else f"{node.output[0]}_pooled"
        name = node.name or node.output[0]
        arranged.append(onnx.helper.make_node("GlobalAveragePool", node.input[:1], [pooled], f"{name}_pool"))
        if not keep:
            arranged.append(onnx.helper.make_node("Flatten", [pooled], list(node.output), name))
    _replace_nodes(model, arranged)
    _remove_unused(model)
    return count


def squeeze_before_expansion(model: onnx.ModelProto) -> int:
    """Pool the input of a 1x1 convolution where a gate pools its output; returns the number of gates.

    A 1x1 convolution W x + b commutes with the mean over positions, so the squeeze of a bottleneck block is
    W mean(x) + b, with a quarter of the channels to pool; and the first layer of the gate, F z + c, becomes
    F W mean(x) + F b + c, which is smaller, too.
    """
    import onnx

    weights = {each.name: each for each in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    count = 0
    for pool in (node for node in model.graph.node if node.op_type == "GlobalAveragePool"):
        conv, users = producers.get(pool.input[0]), consumers.get(pool.output[0], [])
        if conv is None or len(users) != 1:
            continue
        outer, inner = _pointwise(conv, weights), _pointwise(users[0], weights)
        if outer is None or inner is None or outer[0].shape[1] >= outer[0].shape[0]:
            continue
        (w, b), (f, c) = outer, inner
        fc1 = users[0]
        names = [f"{fc1.output[0]}_weight", f"{fc1.output[0]}_bias"]
        for name, values in zip(names, ((f @ w)[:, :, None, None], f @ b + c), strict=True):
            model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
        pool.input[0] = conv.input[0]
        del fc1.input[1:]
        fc1.input.extend(names)
        count += 1
    _remove_unused(model)
    return count


def _pointwise(
    node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Weight (out, in) and bias (out,) in float64 of a 1x1 convolution with stride 1; None for others."""
    import onnx

    if node.op_type != "Conv" or not all(name in weights for name in node.input[1:]):
        return None
    weight = onnx.numpy_helper.to_array(weights[node.input[1]]).astype(np.float64)
    plain = {"strides": [1, 1], "pads": [0, 0, 0, 0]}
    values = {each.name: list(each.ints) for each in node.attribute}
    groups = next((each.i for each in node.attribute if each.name == "group"), 1)
    if weight.shape[2:] != (1, 1) or groups != 1 or any(values.get(k, v) != v for k, v in plain.items()):
        return None
    bias = np.zeros(len(weight))
    if len(node.input) > 2:
        bias = onnx.numpy_helper.to_array(weights[node.input[2]]).astype(np.float64)
    return weight[:, :, 0, 0], bias


def remove_traces(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes at each node, among it paths of the machine and lines of code."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    del model.graph.metadata_props[:]
    model.graph.doc_string = model.doc_string = ""
    model.graph.name = "classifier"


def scale_logits(model: onnx.ModelProto, outputs: Iterable[str], factor: float) -> None:
    """Multiply by a factor what the softmax of each output is taken of, and outputs without a softmax."""
    import onnx

    constant = "logit_scale"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(factor), constant))
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        name = next((each for each in node.output if each in outputs), None)
        if name is None:
            continue
        if node.op_type == "Softmax":
            scaled = onnx.helper.make_node(
                "Mul", [node.input[0], constant], [f"{name}_logits"], f"scale_{name}"
            )
            node.input[0] = f"{name}_logits"
            nodes.insert(-1, scaled)
        else:
            node.output[list(node.output).index(name)] = f"{name}_unscaled"
            nodes.append(
                onnx.helper.make_node("Mul", [f"{name}_unscaled", constant], [name], f"scale_{name}")
            )
    _replace_nodes(model, nodes)


def _replace_nodes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _remove_unused(model: onnx.ModelProto) -> None:
    """Remove constants that no node uses any more."""
    used = {name for node in model.graph.node for name in node.input}
    used |= {value.name for value in model.graph.output}
    kept = [each for each in model.graph.initializer if each.name in used]
    if len(kept) < len(model.graph.initializer):
        copies = [type(each).FromString(each.SerializeToString()) for each in kept]
        del model.graph.initializer[:]
        model.graph.initializer.extend(copies)
    nodes = [node for node in model.graph.node if node.op_type != "Constant" or node.output[0] in used]
    _replace_nodes(model, nodes)
