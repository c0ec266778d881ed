"""Layers of an attention module are called: hooks, adapters and quantized replacements count."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

import excite
from excite.attention.registry import attention_names, create_attention

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class Adapted(nn.Linear):
    """A linear layer that adds something, as a LoRA adapter does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 100


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return excite.insert(torchvision.models.resnet18(), "se").eval()


def with_weights_of(layer: nn.Linear, kind: type[nn.Linear]) -> nn.Linear:
    new = kind(layer.in_features, layer.out_features)
    new.load_state_dict(layer.state_dict())
    return new


@torch.no_grad()
def test_a_replaced_layer_is_used(net: nn.Module) -> None:
    before = net(IMAGES)
    gate = net.layer1[0].bn2.attention
    gate.fc2 = with_weights_of(gate.fc2, nn.Linear)
    assert torch.equal(net(IMAGES), before)
    gate.fc2 = with_weights_of(gate.fc2, Adapted)
    assert not torch.allclose(net(IMAGES), before)


@torch.no_grad()
def test_hooks_on_the_layers_of_any_attention_are_called() -> None:
    for name in attention_names():
        module = create_attention(name, 32).eval()
        layers = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
        calls: list[nn.Module] = []
        for layer in layers:
            layer.register_forward_hook(lambda layer, *_, calls=calls: calls.append(layer))
        module(torch.randn(2, 32, 16, 16))
        assert set(calls) == set(layers), name


@torch.no_grad()
def test_hooks_in_a_fused_block_are_called(net: nn.Module) -> None:
    calls: list[int] = []
    net.layer1[0].bn2.attention.fc1.register_forward_hook(lambda *_: calls.append(1))
    net(IMAGES.contiguous(memory_format=torch.channels_last))
    assert calls == [1]


@torch.no_grad()
def test_a_parametrized_layer_is_used(net: nn.Module) -> None:
    before = net(IMAGES)
    fc2 = net.layer1[0].bn2.attention.fc2

    class Tripled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 3 * weight

    nn.utils.parametrize.register_parametrization(fc2, "weight", Tripled())
    tripled = net(IMAGES)
    assert not torch.allclose(tripled, before)
    nn.utils.parametrize.remove_parametrizations(fc2, "weight", leave_parametrized=True)
    torch.testing.assert_close(net(IMAGES), tripled)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
def test_dynamic_quantization_of_the_layers_works(net: nn.Module) -> None:
    quantized = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})
    torch.testing.assert_close(quantized(IMAGES), net(IMAGES), rtol=0.1, atol=0.1)


@torch.no_grad()
def test_a_subclass_with_a_forward_of_its_own_is_not_fused(net: nn.Module) -> None:
    class Doubled(excite.SqueezeExcitation):
        def forward(self, u: Tensor) -> Tensor:
            return 2 * super().forward(u)

    images = IMAGES.contiguous(memory_format=torch.channels_last)
    before = net(images)
    attention = net.layer1[0].bn2.attention
    attention.__class__ = Doubled
    assert not torch.allclose(net(images), before)


@torch.no_grad()
def test_an_optimized_network_keeps_a_replaced_layer(net: nn.Module) -> None:
    gate = net.layer1[0].bn2.attention
    gate.fc2 = with_weights_of(gate.fc2, Adapted)
    images = IMAGES.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        excite.optimize_for_inference(net, images)(images), net(images), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_weights_are_widened_in_plain_layers(dtype: torch.dtype) -> None:
    module = excite.SqueezeExcitation(32).to(dtype)
    z = torch.randn(4, 32)
    wide = excite.SqueezeExcitation(32)
    wide.load_state_dict({name: value.float() for name, value in module.state_dict().items()})
    torch.testing.assert_close(module.excite(z), wide.excite(z))
