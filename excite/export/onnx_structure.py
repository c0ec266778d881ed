"""Parts of an exported ONNX graph, by how its nodes are connected: pixel arithmetic, gates, head."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

LAYERS = ("Conv", "Gemm", "MatMul", "ConvTranspose")  # operators with weights
_POOLING = ("GlobalAveragePool", "ReduceMean", "GlobalMaxPool", "ReduceMax")


class Structure:
    """The nodes of a graph by name, each with the nodes before and after it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = {node.name: node for node in model.graph.node}
        producers = {name: node.name for node in model.graph.node for name in node.output}
        self.before: dict[str, list[str]] = {}
        self.after: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in model.graph.node:
            self.before[node.name] = [producers[name] for name in node.input if name in producers]
            for earlier in self.before[node.name]:
                self.after[earlier].append(node.name)
        self._producers = producers

    def ancestors(self, outputs: Iterable[str]) -> set[str]:
        """The nodes that outputs of the graph depend on."""
        return _reachable([self._producers[name] for name in outputs], self.before)

    def pixel_nodes(self) -> set[str]:
        """The nodes before the first layers: casts, normalization, test-time augmentation."""
        layers = [name for name, node in self.nodes.items() if node.op_type in LAYERS]
        return set(self.nodes) - _reachable(layers, self.after)

    def head_nodes(self, probabilities: str, others: Iterable[str]) -> set[str]:
        """The nodes after the last convolution: pooling, head, calibration; and those of other outputs.

        Args:
            probabilities: the name of the output.
            others: names of other outputs, such as the evidence.
        """
        main = self.ancestors([probabilities])
        convolutions = [name for name in main if self.nodes[name].op_type == "Conv"]
        before_convolutions = _reachable(convolutions, self.before)
        return set(self.nodes) - before_convolutions if convolutions else set()

    def gate_nodes(self) -> set[str]:
        """The nodes from a pooled map to the gate that multiplies it: squeeze, layers, sigmoid, product."""
        found: set[str] = set()
        for name, node in self.nodes.items():
            if node.op_type != "Mul" or len(self.before[name]) != 2:
                continue
            for start in self.before[name]:
                branch = self._gate_branch(start)
                if branch:
                    found |= branch | {name}
        return found

    def _gate_branch(self, start: str) -> set[str]:
        """The nodes from ``start`` back to a pooling, if every way back leads to one soon; else none."""
        branch: set[str] = set()
        waiting = [start]
        pooled = False
        while waiting:
            name = waiting.pop()
            if name in branch:
                continue
            branch.add(name)
            if len(branch) > 16:
                return set()
            if self.nodes[name].op_type in _POOLING:
                pooled = True
            elif not self.before[name]:
                return set()
            else:
                waiting += self.before[name]
        return branch if pooled else set()


def _reachable(start: Iterable[str], edges: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += edges[name]
    return found
