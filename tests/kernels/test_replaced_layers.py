"""Replaced, hooked, and changed layers are called instead of the fused operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

import excite
from excite.attention.squeeze_excitation import SqueezeExcitation
from excite.insertion.copying import deep_copy
from excite.kernels.dispatch import use_kernels
from excite.kernels.norm_gate import uses_means_only
from excite.models.densenet import DenseNet, Transition


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def last(*size: int) -> Tensor:
    return torch.randn(*size).contiguous(memory_format=torch.channels_last)


def same_either_way(module: nn.Module, x: Tensor) -> None:
    """Output and gradients with and without fused operators."""
    found = []
    for choice in ("plain", "off"):
        reference = deep_copy(module)
        with use_kernels(choice):
            out = reference(x)
            out.float().sin().sum().backward()
        found.append([out.detach(), *(parameter.grad for parameter in reference.parameters())])
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def attended_relu(transition: Transition) -> None:
    changed = excite.insert(nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU()), "se", where="1")
    transition.relu = changed[1]


CHANGES: dict[str, Callable[[Transition], object]] = {
    "another activation": lambda t: setattr(t, "relu", nn.LeakyReLU(0.3)),
    "attention on the activation": attended_relu,
    "3x3": lambda t: setattr(t, "conv", nn.Conv2d(16, 8, 3, padding=1)),
    "activation in the convolution": lambda t: setattr(
        t, "conv", nn.Sequential(nn.Conv2d(16, 8, 1), nn.ReLU())
    ),
    "a layer more": lambda t: t.append(nn.Tanh()),
    "sums instead of means": lambda t: (
        setattr(t, "pool", nn.AvgPool2d(2, divisor_override=1)),
        setattr(t, "conv", nn.Conv2d(16, 8, 1)),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_transition_runs_its_replaced_layers(change: str) -> None:
    transition = Transition(16, 8, None)
    CHANGES[change](transition)
    same_either_way(transition, last(4, 16, 6, 6))


@pytest.mark.parametrize("child", ["norm", "relu", "conv", "pool"])
def test_hooks_in_a_transition_see_its_layers(child: str) -> None:
    transition, seen = Transition(16, 8, None), []
    transition.get_submodule(child).register_forward_hook(lambda _, given, out: seen.append(out.shape))
    with use_kernels("plain"):
        transition(last(4, 16, 6, 6))
    assert seen == [
        torch.Size([4, 8 if child in ("conv", "pool") else 16, *([3, 3] if child == "pool" else [6, 6])])
    ]


@pytest.mark.parametrize("child", ["relu0", "pool0"])
def test_the_stem_runs_its_replaced_layers(child: str) -> None:
    net = DenseNet(growth_rate=8, block_config=(2,), init_channels=16, num_classes=3)
    net.features.set_submodule(child, nn.LeakyReLU(0.3) if child == "relu0" else nn.AvgPool2d(3, 2, 1))
    same_either_way(net.to(memory_format=torch.channels_last), last(4, 3, 32, 32))


DENSE: dict[str, tuple[str, dict[str, int]]] = {
    "3x3 in front": ("conv1", {"kernel_size": 3, "padding": 1}),
    "5x5": ("conv2", {"kernel_size": 5, "padding": 2}),
    "dilated": ("conv2", {"kernel_size": 3, "padding": 2, "dilation": 2}),
    "in groups": ("conv2", {"kernel_size": 3, "padding": 1, "groups": 2}),
    "1x1 in groups": ("conv1", {"kernel_size": 1, "groups": 2}),
}


@pytest.mark.parametrize("change", DENSE)
def test_a_dense_block_runs_its_replaced_layers(change: str) -> None:
    block = DenseNet(growth_rate=8, block_config=(2,), init_channels=16, num_classes=3).features.denseblock1
    name, options = DENSE[change]
    old = block.denselayer1.get_submodule(name)
    setattr(block.denselayer1, name, nn.Conv2d(old.in_channels, old.out_channels, bias=False, **options))
    same_either_way(block.to(memory_format=torch.channels_last), last(4, 16, 6, 6))


def attended_norm() -> nn.Sequential:
    net = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU())
    return excite.insert(net, "se", where="0", reduction=4)


class Learned(nn.Module):
    """A hook that multiplies by a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, _layer: nn.Module, _inputs: object, out: Tensor) -> Tensor:
        return out * self.factor


def test_parameters_in_hooks_inside_attention_get_gradients() -> None:
    net, hook = attended_norm(), Learned()
    net[0].attention.fc1.register_forward_hook(hook)
    with use_kernels("plain"):
        net(last(4, 16, 6, 6)).sum().backward()
    assert hook.factor.grad is not None


def test_parameters_in_hooks_inside_attention_in_dense_blocks_get_gradients() -> None:
    net = DenseNet(
        growth_rate=8, block_config=(2,), init_channels=16, num_classes=3, attention="se", placement="layer"
    )
    hook = Learned()
    net.features.denseblock1.denselayer1.attention.fc1.register_forward_hook(hook)
    with use_kernels("plain"):
        net.to(memory_format=torch.channels_last)(last(4, 3, 32, 32)).sum().backward()
    assert hook.factor.grad is not None


class Squared(SqueezeExcitation):
    def scale(self, u: Tensor, s: Tensor) -> Tensor:
        return super().scale(u, s * s)


class Deviation(SqueezeExcitation):
    def squeeze(self, u: Tensor) -> Tensor:
        return u.std(dim=(2, 3))


@pytest.mark.parametrize("kind", [Squared, Deviation])
def test_a_subclass_with_another_part_is_not_fused(kind: type[SqueezeExcitation]) -> None:
    net = attended_norm()
    net[0].attention = kind(16, reduction=4)
    assert uses_means_only(SqueezeExcitation(16))
    assert not uses_means_only(net[0].attention)
    same_either_way(net, last(4, 16, 6, 6))


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


@pytest.mark.parametrize("how", ["parametrized", "pruned"])
def test_a_changed_norm_is_not_fused(how: str) -> None:
    net = attended_norm()
    if how == "pruned":
        prune.random_unstructured(net[0], "weight", 0.5)
    else:
        parametrize.register_parametrization(net[0], "weight", Doubled())
    same_either_way(net, last(4, 16, 6, 6))


class Scaled(nn.Module):
    """Narrow weights, and a wider number in front of them."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.factor, self.layer = nn.Parameter(torch.ones(())), layer.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.factor


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_layer_of_narrow_weights_may_have_a_wider_scalar(dtype: torch.dtype) -> None:
    attention = SqueezeExcitation(16, reduction=4)
    attention.fc1 = Scaled(attention.fc1, dtype)
    assert attention(last(2, 16, 3, 3)).dtype == torch.float32
