"""The optimized copy has the outputs of its network."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import excite
from excite.attention.registry import create_attention
from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.inference.optimized import optimize_for_inference
from excite.inference.predict import MIN_IMAGES_FOR_COPY, predict_logits
from excite.kernels.dispatch import use_kernels
from excite.models.optimized_layers import OptimizedAttention, OptimizedBlock, OptimizedConv


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def stirred(model: nn.Module) -> nn.Module:
    """In evaluation mode, with norms that do something."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return model.eval().to(memory_format=torch.channels_last)


def images(many: int = 3, side: int = 64) -> Tensor:
    return torch.randn(many, 3, side, side).contiguous(memory_format=torch.channels_last)


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


NETWORKS = {
    "timm:mobilenetv1_100": {},
    "timm:efficientnet_b0": {},  # SiLU stays a module of its own
    "timm:densenet121": {},
    "torchvision:mobilenet_v2": {},
    "torchvision:vgg11_bn": {},
    "torchvision:mobilenet_v3_small": {},
    "resnet18": {"attention": "se"},
    "densenet121": {"attention": "se", "placement": "layer"},
    "cifar_resnet20": {"attention": "eca"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_copy_gives_the_same_outputs(name: str) -> None:
    model = stirred(excite.create_model(name, num_classes=4, **NETWORKS[name]))
    before = copy.deepcopy(model.state_dict())
    made = optimize_for_inference(model, images(1))
    assert made is not model
    x = images()
    with torch.no_grad():
        for side in (x, images(1, 96)):
            expected = model(side)
            torch.testing.assert_close(made(side), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
        with torch.autocast("cpu", torch.bfloat16):
            rounded = made(x).float()
    # bfloat16 has 8 bits: as far from float32 as the network itself is, give or take.
    assert (rounded - model(x)).abs().max() <= 0.1 * model(x).abs().max()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:mobilenetv1_100", "torchvision:mobilenet_v2", "torchvision:vgg11_bn"])
def test_no_norm_is_left_in_plain_sequences(name: str) -> None:
    model = stirred(excite.create_model(name, num_classes=4))
    made = optimize_for_inference(model, images(1))
    assert norms(model) > 0
    assert norms(made) == 0
    assert any(isinstance(module, OptimizedConv) and module.has_activation for module in made.modules())


GATES = {
    "se": [{}, {"identity": True}, {"gate": "tanh"}, {"gate": "relu", "bias": False}, {"bias": False}],
    "eca": [{}],
    "ese": [{}, {"gate": "sigmoid"}],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "options"), [(name, one) for name in GATES for one in GATES[name]])  # type: ignore[attr-defined]
def test_gates_are_optimized(name: str, options: dict[str, object], dtype: torch.dtype) -> None:
    attention = create_attention(name, 64, **options).requires_grad_(False).eval()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    gate = OptimizedAttention(attention)
    tolerance = 1e-5 if dtype == torch.float32 else 2**-6
    for n, side in ((1, 9), (3, 9), (1, 40)):
        x = torch.randn(n, 64, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(gate(x), attention(x), rtol=tolerance, atol=tolerance)
    next(attention.parameters()).zero_()
    gate.train().eval()  # what was derived of the weights is derived again
    torch.testing.assert_close(gate(x), attention(x), rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("attention", [None, "se", "eca"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "torchvision:resnet50"])
def test_residual_blocks_are_optimized(name: str, attention: str | None) -> None:
    model = stirred(excite.create_model(name, num_classes=4, attention=attention))
    made = optimize_for_inference(model, images(1))
    assert norms(made) == 0
    blocks = [module for module in made.modules() if isinstance(module, OptimizedBlock)]
    assert len(blocks) == (8 if name == "resnet18" else 16)
    assert all((block.gate is None) == (attention is None) for block in blocks)
    with torch.no_grad():
        for x in (images(1), images(5), images(1, 200), images(2).contiguous()):
            expected = model(x)
            torch.testing.assert_close(made(x), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


class AddsInPlace(nn.Module):
    """The rectifier sees the norm's output after something was added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        y += x
        return self.relu(y).mean((2, 3))


def test_a_relu_after_an_addition_is_kept() -> None:
    model = stirred(AddsInPlace())
    made = optimize_for_inference(model, images())
    assert made is not model
    assert norms(made) == 0
    with torch.inference_mode():  # whose tensors count no writes
        x = images()
        within = optimize_for_inference(model, x)
        torch.testing.assert_close(within(x), model(x))


class Twice(nn.Module):
    """Uses a convolution's output beside its norm, or a convolution twice, where folding would be wrong."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.shared = shared
        self.conv, self.norm, self.relu = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        seen = self.conv(x)
        once = self.relu(self.norm(seen))
        return (self.conv(once) if self.shared else once + seen).mean((2, 3))


def test_modules_that_cannot_be_folded_are_kept() -> None:
    beside = stirred(Twice(shared=False))
    assert optimize_for_inference(beside, images()) is beside
    shared = stirred(Twice(shared=True))
    made = optimize_for_inference(shared, images())
    assert norms(made) == 1
    x = images()
    torch.testing.assert_close(made(x), shared(x))


@pytest.mark.parametrize("model", [nn.Conv2d(3, 4, 3), nn.Identity(), create_attention("se", 3)])
def test_a_network_of_one_module_is_optimized(model: nn.Module) -> None:
    x = images()
    with torch.no_grad():
        torch.testing.assert_close(optimize_for_inference(model.eval(), x)(x), model(x))


def test_a_head_of_zeros_does_not_hide_a_wrong_copy() -> None:
    head = nn.Linear(3, 2)
    nn.init.zeros_(head.weight)
    model = stirred(nn.Sequential(Twice(shared=False), head))
    assert optimize_for_inference(model, images()) is model


def test_hooks_see_the_network_itself() -> None:
    model = stirred(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1)))
    with use_kernels("off"):
        assert optimize_for_inference(model, images()) is model
    handle = model[1].register_forward_hook(lambda *_: None)
    assert optimize_for_inference(model, images()) is model
    handle.remove()
    assert optimize_for_inference(model, images()) is not model


def test_a_copy_in_training_mode_discards_prepared_weights() -> None:
    model = stirred(excite.create_model("densenet121", num_classes=4))
    made = optimize_for_inference(model, images())
    block = made.get_submodule("features.denseblock1")
    x = images(2)
    with torch.no_grad():
        made(x)
    assert block.prepared_layers
    convolutions = [module.prepacked for module in made.modules() if isinstance(module, OptimizedConv)]
    made.eval()  # as often as one likes
    assert block.prepared_layers
    assert all(ready.packed for ready in convolutions)
    made.train().eval()
    assert block.prepared_layers is None
    assert not any(ready.packed for ready in convolutions)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(0.5)
        found = made(x)
        with use_kernels("off"):
            torch.testing.assert_close(found, made(x), rtol=1e-3, atol=1e-4)


def test_many_images_give_the_outputs_of_single_ones() -> None:
    model = stirred(excite.create_model("timm:mobilenetv1_100", num_classes=4))
    pixels = np.random.default_rng(0).integers(0, 256, (MIN_IMAGES_FOR_COPY, 32, 32, 3), dtype=np.uint8)
    how, cpu = Preprocessing(image_size=32), torch.device("cpu")
    many = predict_logits(model, PixelSubset(pixels), how, device=cpu)
    few = predict_logits(model, PixelSubset(pixels[:16]), how, device=cpu)
    np.testing.assert_allclose(many[:16], few, rtol=0, atol=1e-4 * float(np.abs(few).max()))
    assert norms(model) > 0
