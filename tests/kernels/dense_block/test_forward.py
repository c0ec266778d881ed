"""A dense block in one buffer equals the block that concatenates."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from excite.kernels.dense_block import workspace as room
from excite.kernels.dispatch import use_kernels
from excite.models.densenet import DenseLayer, DenseNet

KINDS = {
    "plain": {},
    "layer": {"attention": "se", "placement": "layer"},
    "scse in layers": {"attention": "scse", "placement": "layer"},
    "everywhere": {"attention": "se", "placement": "final+block+transition"},
    "dropout": {"drop_rate": 0.3},
}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def network(**options: object) -> DenseNet:
    made = DenseNet(growth_rate=8, block_config=(3, 4, 2), init_channels=16, num_classes=5, **options)
    for name, parameter in made.named_parameters():
        if "norm" in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
    for name, buffer in made.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return made.to(memory_format=torch.channels_last)


def images(many: int = 6, side: int = 64) -> Tensor:
    return torch.randn(many, 3, side, side).contiguous(memory_format=torch.channels_last)


def ran(
    net: DenseNet, x: Tensor, choice: str, *, training: bool, bfloat16: bool = False
) -> dict[str, Tensor]:
    """All results of a step: output, gradients, and buffers; and the output without gradients."""
    net = copy.deepcopy(net).train(training)
    x = x.clone(memory_format=torch.channels_last).requires_grad_()
    torch.manual_seed(1)
    with use_kernels(choice), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        out = net(x)
        out.float().sin().sum().backward()
        with torch.no_grad():
            answer = copy.deepcopy(net).eval()(x)
    found = {"out": out.detach(), "images": x.grad, "answer": answer}
    found |= {name: parameter.grad for name, parameter in net.named_parameters()}
    return found | dict(net.named_buffers())


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["on", "plain"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "frozen"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_plain_block(
    kind: str, training: bool, choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "CACHE_BYTES", 1 << 14)  # many pieces, of one image and of several
    net, x = network(**KINDS[kind]), images()
    found, plain = (ran(net, x, by, training=training) for by in (choice, "off"))
    assert found.keys() == plain.keys()
    for name, expected in plain.items():
        if not expected.is_floating_point():
            assert torch.equal(found[name], expected), name  # num_batches_tracked: once a step
        elif "running" in name or name in ("out", "answer"):
            torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-3, msg=name)
        else:
            # Of thousands of ReLUs some are within rounding of zero and go either way, in both.
            error = float((found[name] - expected).norm() / expected.norm().clamp(min=1e-4))
            assert error < 0.05, (name, error)


def test_gradients_are_nearer_to_float64_than_the_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CACHE_BYTES", 1 << 14)
    net, x = network(), images()
    exact = copy.deepcopy(net).double().train()
    with use_kernels("off"):
        exact(x.double()).sin().sum().backward()
    found, plain = (ran(net, x, by, training=True) for by in ("on", "off"))
    errors = {"found": [], "plain": []}
    for name, parameter in exact.named_parameters():
        size = parameter.grad.norm()
        errors["found"].append(float((found[name] - parameter.grad).norm() / size))
        errors["plain"].append(float((plain[name] - parameter.grad).norm() / size))
    assert max(errors["found"]) < max(1e-3, 2 * max(errors["plain"]))


def test_bfloat16_rounds_no_worse_than_the_plain_block() -> None:
    net, x = network(), images()
    exact = ran(net, x, "off", training=True)
    errors = {}
    for choice in ("on", "off"):
        found = ran(net, x, choice, training=True, bfloat16=True)
        errors[choice] = [
            float((found[name] - exact[name]).norm() / exact[name].norm())
            for name in ("out", "classifier.weight", "features.conv0.weight")
        ]
    for fused, plain in zip(errors["on"], errors["off"], strict=True):
        assert fused < 1.5 * plain + 1e-3


def test_a_frozen_weight_gets_no_gradient() -> None:
    net = network()
    layer = net.features.denseblock2.denselayer2
    for module in (layer.conv1, layer.norm1, layer.conv2):
        module.weight.requires_grad_(False)
    net(images()).sum().backward()
    assert layer.conv1.weight.grad is None
    assert layer.norm1.weight.grad is None
    assert layer.conv2.weight.grad is None
    assert layer.norm1.bias.grad is not None
    assert net.features.conv0.weight.grad.norm() > 0


def test_the_buffer_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise these tests would compare the plain block with itself."""
    monkeypatch.setattr(DenseLayer, "forward", None)
    with torch.no_grad():
        assert network()(images(2)).shape == (2, 5)
    with use_kernels("off"), torch.no_grad(), pytest.raises(TypeError):
        network()(images(2))


@pytest.mark.parametrize("path", ["conv1", "norm2", "relu1", ""])
def test_a_hook_inside_is_called(path: str) -> None:
    net, seen = network(), []
    layer = net.features.denseblock1.denselayer2
    layer.get_submodule(path).register_forward_hook(lambda *call: seen.append(call[2].shape))
    net(images(2))
    assert len(seen) == 1


def test_one_image_of_one_pixel_is_refused_as_batch_norm_refuses_it() -> None:
    block = network().features.denseblock1
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        block(torch.randn(1, 16, 1, 1))


def test_memory_is_less_than_half() -> None:
    """What is kept for the backward pass, by PyTorch's count of saved tensors and of the buffer."""
    from excite.kernels.dense_block.forward import _forward
    from excite.kernels.dispatch import select_backend

    net, x = network(), torch.randn(4, 16, 16, 16).contiguous(memory_format=torch.channels_last)
    block = net.features.denseblock1.train()
    saved = []
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t),
        use_kernels("off"),
    ):
        block(x.requires_grad_())
    maps = {t.untyped_storage().data_ptr(): t.nbytes for t in saved if t.ndim == 4 and len(t) == 4}
    with torch.no_grad():
        out, kept = _forward(x.detach(), list(block.values()), select_backend(x.detach()))
    ours = out.nbytes + sum(layer.z.nbytes for layer in kept)
    assert ours < 0.5 * sum(maps.values())


def test_distributed_training_gives_the_same_gradients(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = torch.distributed.FileStore(str(tmp_path_factory.mktemp("store") / "file"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        net, x = network(), images(2)
        wrapped = DistributedDataParallel(copy.deepcopy(net))
        wrapped(x).sum().backward()
        net(x).sum().backward()
        for one, other in zip(wrapped.module.parameters(), net.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad)
    finally:
        torch.distributed.destroy_process_group()
