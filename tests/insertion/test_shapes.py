"""The shapes of feature maps, against a forward pass on real images."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torchvision
from torch import Tensor, nn

from excite.insertion.shapes import stage_of, trace_shapes


def test_shapes_are_those_of_a_forward_pass() -> None:
    model = torchvision.models.resnet18().eval()
    trace = trace_shapes(model)
    shapes: dict[str, tuple[int, ...]] = {}

    def record(path: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        shapes[path] = tuple(output.shape)

    for path in ("conv1", "layer1.0", "layer3.1.bn2", "layer4"):
        model.get_submodule(path).register_forward_hook(partial(record, path))
    with torch.no_grad():
        model(torch.zeros(2, 3, 224, 224))
    assert {path: trace.outputs[path] for path in shapes} == shapes
    assert len(shapes) == 4


@pytest.mark.parametrize(("path", "stage"), [("conv1", 1), ("layer1", 2), ("layer2", 3), ("layer4", 5)])
def test_stages_of_a_resnet_are_those_of_the_paper(path: str, stage: int) -> None:
    with torch.device("meta"):
        model = torchvision.models.resnet18()
    trace = trace_shapes(model)
    assert stage_of(trace.outputs[path], trace) == stage


def test_every_call_is_recorded() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(3, 8, 1), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(self.conv(self.relu(x)))

    trace = trace_shapes(Shared())
    assert {shape[1] for shape in trace.calls["before", "relu"]} == {3, 8}


def test_a_model_without_images_gives_an_empty_trace() -> None:
    trace = trace_shapes(nn.Embedding(4, 2))
    assert not trace.called
    assert not trace.outputs


def test_the_model_and_its_hooks_stay_untouched() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    calls: list[int] = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert trace_shapes(model).outputs["1"][1] == 4
    assert not calls
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
