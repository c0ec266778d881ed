"""Norm, gate, shortcut, and ReLU in one operator equal the modules in sequence."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import excite
from excite.attention.registry import create_attention
from excite.kernels.dispatch import use_kernels
from excite.kernels.norm_gate import norm_gate
from excite.models.fused_blocks import fuse_blocks
from tests.kernels.gradients import MODES, gradients, last, norm_of


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("choice", MODES)
@pytest.mark.parametrize("training", [True, False], ids=["training", "frozen"])
@pytest.mark.parametrize("attention", [None, "se", "ese", "eca"])
@pytest.mark.parametrize(("add", "relu"), [(True, True), (True, False), (False, True), (False, False)])
def test_equals_the_modules_in_float64(
    choice: str, training: bool, attention: str | None, add: bool, relu: bool
) -> None:
    norm = norm_of(24).train(training)
    gate = create_attention(attention, 24) if attention else None
    x, shortcut = last(5, 24, 7, 7) + 3, last(5, 24, 7, 7) if add else None
    exact = [copy.deepcopy(module).double() if module else None for module in (norm, gate)]

    def modules(x: Tensor, shortcut: Tensor | None) -> Tensor:
        u = exact[0](x)
        u = exact[1](u) if exact[1] else u
        u = u if shortcut is None else u + shortcut
        return F.relu(u) if relu else u

    leaves = [t.requires_grad_() for t in (x, shortcut) if t is not None]
    leaves += [p for module in (norm, gate) if module for p in module.parameters()]
    references = [t.detach().double().requires_grad_() for t in (x, shortcut) if t is not None]
    with use_kernels(choice):
        found = gradients(lambda: norm_gate(x, norm, gate, shortcut=shortcut, relu=relu), leaves)
    parameters = [p for module in exact if module for p in module.parameters()]
    expected = gradients(lambda: modules(*references, *([None] if not add else [])), references + parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)
    for one, other in zip(norm.buffers(), exact[0].buffers(), strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("momentum", [0.3, None])
def test_running_statistics_are_those_of_the_module(momentum: float | None) -> None:
    norm = norm_of(6)
    norm.momentum = momentum
    plain = copy.deepcopy(norm)
    for _ in range(3):
        x = last(4, 6, 3, 3)
        norm_gate(x, norm)
        plain(x)
    assert norm.num_batches_tracked == plain.num_batches_tracked == 3
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.running_var, plain.running_var)


def test_a_constant_channel_has_zero_variance() -> None:
    x = last(4, 3, 5, 5)
    x[:, 1] = 7.25
    norm = norm_of(3)
    torch.testing.assert_close(norm_gate(x, norm), copy.deepcopy(norm)(x), rtol=1e-4, atol=1e-4)


def test_a_mean_far_from_zero_costs_no_precision() -> None:
    """The sums are taken about a number near the mean; about zero, 1e4 +- 1 would leave no variance."""
    x = last(4, 3, 9, 9) + 1e4
    exact = F.batch_norm(x.double(), None, None, training=True)
    found = norm_gate(x, nn.BatchNorm2d(3))
    torch.testing.assert_close(found.double(), exact, rtol=1e-2, atol=5e-3)


NETWORKS = {
    "timm resnet18": lambda: timm.create_model("resnet18", num_classes=3),
    "timm resnet50": lambda: timm.create_model("resnet50", num_classes=3),
    "torchvision resnet18": lambda: torchvision.models.resnet18(num_classes=3),
    "torchvision resnet50": lambda: torchvision.models.resnet50(num_classes=3),
    "cifar resnet": lambda: excite.create_model("cifar_resnet20", num_classes=3),
    "cifar preactivation": lambda: excite.create_model("cifar_resnet164", num_classes=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("attention", [None, "se"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_fused_network_is_the_plain_one(name: str, attention: str | None) -> None:
    network = NETWORKS[name]()
    if attention:
        network = excite.insert(network, attention)
    network = fuse_blocks(network).to(memory_format=torch.channels_last)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # residual branches that start at zero would hide mistakes
            nn.init.uniform_(module.weight, 0.5, 1)
    reference, exact = copy.deepcopy(network), copy.deepcopy(network).double()
    assert list(reference.state_dict()) == list(network.state_dict())
    side = 16 if name.startswith("cifar") else 64  # these keep small images large
    x = last(8, 3, side, side)
    network(x).square().sum().backward()
    with use_kernels("off"):
        for other in (reference, exact):
            other(x.to(next(other.parameters()).dtype)).square().sum().backward()
    # ReLUs within rounding of zero go either way, in both; so both are held against float64.
    fused, plain = (
        sum(
            float((one.grad - other.grad).norm() / other.grad.norm())
            for one, other in zip(each.parameters(), exact.parameters(), strict=True)
        )
        / len(list(exact.parameters()))
        for each in (network, reference)
    )
    assert fused < 3 * plain + 1e-4
    for one, other in zip(network.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    network.eval(), reference.eval()
    reference.load_state_dict(network.state_dict())
    with torch.no_grad(), use_kernels("off"):
        plain = reference(x)
    with torch.no_grad():
        torch.testing.assert_close(network(x), plain, rtol=1e-3, atol=1e-3)


def test_a_fused_block_is_copied_pickled_and_still_a_block() -> None:
    network = excite.create_model("resnet18", num_classes=3).eval()
    assert isinstance(network.layer1[0], timm.models.resnet.BasicBlock)
    x = last(1, 3, 32, 32)
    with torch.no_grad():
        for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):  # noqa: S301
            assert type(other.layer1[0]) is type(network.layer1[0])
            assert torch.equal(other(x), network(x))


def test_a_hook_on_a_norm_still_sees_its_output() -> None:
    network = excite.create_model("resnet18", num_classes=3, attention="se")
    network = network.to(memory_format=torch.channels_last)
    seen = []
    network.layer1[0].bn2.register_forward_hook(lambda module, given, out: seen.append(out.shape))
    network(last(2, 3, 32, 32))
    assert seen == [(2, 64, 8, 8)]


def test_flop_counters_see_the_plain_network() -> None:
    network = excite.create_model("resnet18", num_classes=3, attention="se")
    network, x = network.to(memory_format=torch.channels_last), last(1, 3, 64, 64)
    counts = []
    for choice in ("on", "off"):
        with use_kernels(choice), FlopCounterMode(display=False) as counter:
            network(x)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


@pytest.mark.slow
def test_bfloat16_rounds_no_worse_than_the_modules() -> None:
    network = excite.create_model("resnet18", num_classes=3, attention="se")
    network, x = network.to(memory_format=torch.channels_last), last(4, 3, 64, 64)
    exact = copy.deepcopy(network).double()(x.double())
    errors = {}
    for choice in ("on", "off"):
        with use_kernels(choice), torch.autocast("cpu", torch.bfloat16):
            errors[choice] = float((copy.deepcopy(network)(x) - exact).abs().mean())
    assert errors["on"] < 1.5 * errors["off"]


def test_gradients_can_be_computed_twice() -> None:
    x, norm = last(2, 8, 4, 4).requires_grad_(), norm_of(8)
    loss = norm_gate(x, norm, create_attention("se", 8), relu=True).square().sum()
    first = torch.autograd.grad(loss, x, retain_graph=True)
    assert torch.equal(first[0], torch.autograd.grad(loss, x)[0])
