from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from excite.attention.squeeze_excitation import SqueezeExcitation
from excite.errors import ExciteError

GATES = ("sigmoid", "tanh", "relu")


def in_numpy(
    module: SqueezeExcitation, images: torch.Tensor, squeeze: str = "avg", gate: str = "sigmoid"
) -> np.ndarray:
    """Equations 2 to 4 of the paper, in float64."""
    u = images.double().numpy()
    weights = {name: value.detach().double().numpy() for name, value in module.named_parameters()}
    z = u.mean(axis=(2, 3)) if squeeze == "avg" else u.max(axis=(2, 3))
    hidden = np.maximum(0, z @ weights["fc1.weight"].T + weights.get("fc1.bias", 0))
    v = hidden @ weights["fc2.weight"].T + weights.get("fc2.bias", 0)
    curve = {"sigmoid": lambda v: 1 / (1 + np.exp(-v)), "tanh": np.tanh, "relu": lambda v: np.maximum(0, v)}
    return curve[gate](v)[:, :, None, None] * u


def randomize(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 6), st.integers(1, 6)),
    reduction=st.integers(1, 50),
    squeeze=st.sampled_from(["avg", "max"]),
    gate=st.sampled_from(GATES),
    bias=st.booleans(),
    channels_last=st.booleans(),
)
def test_it_computes_the_papers_equations(
    shape: tuple[int, int, int, int],
    reduction: int,
    squeeze: str,
    gate: str,
    bias: bool,
    channels_last: bool,
) -> None:
    module = SqueezeExcitation(shape[1], reduction, squeeze=squeeze, gate=gate, bias=bias)
    randomize(module)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.randn(shape).contiguous(memory_format=memory_format)
    output = module(images).detach()
    np.testing.assert_allclose(output.numpy(), in_numpy(module, images, squeeze, gate), rtol=1e-4, atol=1e-5)
    assert output.shape == images.shape
    assert output.is_contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


def test_it_agrees_with_timm_and_torchvision_given_their_weights() -> None:
    timm_layers = pytest.importorskip("timm.layers")
    from torchvision.ops.misc import SqueezeExcitation as Torchvision

    images = torch.randn(2, 64, 7, 7)
    for other in (timm_layers.SEModule(64, rd_ratio=1 / 16, rd_divisor=1), Torchvision(64, 4)):
        randomize(other)
        ours = SqueezeExcitation(64)
        ours.load_state_dict(other.state_dict())  # kernels of 1x1 convolutions: (4, 64, 1, 1)
        torch.testing.assert_close(ours(images), other(images))


def test_a_nested_module_takes_convolution_kernels_and_leaves_the_callers_dictionary_alone() -> None:
    from torchvision.ops.misc import SqueezeExcitation as Torchvision

    state = nn.Sequential(nn.ReLU(), Torchvision(32, 2)).state_dict()
    nn.Sequential(nn.ReLU(), SqueezeExcitation(32)).load_state_dict(state)
    assert state["1.fc1.weight"].shape == (2, 32, 1, 1)


@pytest.mark.parametrize(
    ("channels", "reduction", "divisor", "hidden"),
    [(64, 16, 1, 4), (24, 16, 1, 1), (3, 16, 1, 1), (100, 16, 1, 6), (100, 16, 8, 8), (3, 16, 8, 8)],
)
def test_hidden_width(channels: int, reduction: int, divisor: int, hidden: int) -> None:
    assert SqueezeExcitation(channels, reduction, divisor=divisor).fc1.out_features == hidden


def test_parameters_on_1024_channels_are_the_published_132160() -> None:
    assert sum(p.numel() for p in SqueezeExcitation(1024).parameters()) == 132_160


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_output_keeps_dtype_and_memory_format(
    dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    images = torch.randn(2, 32, 5, 7).to(dtype).contiguous(memory_format=memory_format)
    module = SqueezeExcitation(32)
    for candidate in (module, copy.deepcopy(module).to(dtype)):
        output = candidate(images)
        assert output.dtype == dtype
        assert output.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_squeeze_of_half_precision_is_not_rounded_to_it(
    dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    images = torch.rand(2, 16, 9, 9).to(dtype).contiguous(memory_format=memory_format)
    exact = images.double().numpy().mean(axis=(2, 3))
    np.testing.assert_allclose(SqueezeExcitation(16).squeeze(images).numpy(), exact, rtol=1e-6)


@pytest.mark.parametrize("weights", [torch.float32, torch.float16])
def test_the_squeeze_of_huge_float16_activations_is_exact(weights: torch.dtype) -> None:
    images = torch.full((1, 32, 64, 64), 6e4, dtype=torch.float16)
    module = SqueezeExcitation(32).to(weights)
    z = module.squeeze(images)
    assert z.dtype == torch.float32
    assert torch.equal(z, torch.full((1, 32), 6e4).half().float())
    assert torch.isfinite(module(images)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("identity", [False, True])
def test_autocast_with_huge_activations_stays_finite_and_accurate(dtype: torch.dtype, identity: bool) -> None:
    module = SqueezeExcitation(64, 2, gate="sigmoid", identity=identity)
    nn.init.constant_(module.fc1.weight, 1.0)  # hidden units of 64 x 6e4 are far beyond float16
    nn.init.constant_(module.fc2.weight, 1e-8)
    images = torch.full((2, 64, 8, 8), 6e4, dtype=dtype)
    images.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        gates = module.excite(module.squeeze(images))
        output = module(images)
    assert gates.dtype == torch.float32
    torch.testing.assert_close(gates, module.excite(module.squeeze(images.float())))
    assert torch.isfinite(output if not identity else gates).all()
    assert output.dtype == dtype
    output.float().mean().backward()
    assert torch.isfinite(module.fc1.weight.grad).all()


def test_a_single_pixel_and_a_single_image_work_in_training() -> None:
    module = SqueezeExcitation(16).train()
    assert module(torch.randn(1, 16, 1, 1)).shape == (1, 16, 1, 1)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_identity_is_bit_equal_at_the_start(gate: str, bias: bool, dtype: torch.dtype) -> None:
    images = torch.randn(2, 32, 4, 4).to(dtype)
    assert torch.equal(SqueezeExcitation(32, gate=gate, bias=bias, identity=True)(images), images)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("bias", [True, False])
def test_identity_learns_every_parameter_has_a_gradient_by_the_second_step(gate: str, bias: bool) -> None:
    torch.manual_seed(0)
    module = SqueezeExcitation(32, 2, gate=gate, bias=bias, identity=True)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    images, target = torch.randn(8, 32, 4, 4) + 0.5, torch.randn(8, 32, 4, 4)
    for _ in range(2):
        optimizer.zero_grad()
        (module(images) - target).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("identity", [False, True])
def test_gradients_agree_with_finite_differences(gate: str, identity: bool) -> None:
    torch.manual_seed(1)
    module = SqueezeExcitation(4, 2, gate=gate, identity=identity).double()
    randomize(module)
    images = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (images,))


@pytest.mark.slow
def test_export_and_deepcopy_give_the_same_numbers() -> None:
    module, images = SqueezeExcitation(32).eval(), torch.randn(3, 32, 5, 5)
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(module, (images,), dynamic_shapes=({0: batch},)).module()
    more = torch.randn(7, 32, 5, 5)
    torch.testing.assert_close(exported(more), module(more))
    assert torch.equal(copy.deepcopy(module)(images), module(images))


@pytest.mark.parametrize("autocast", [False, True])
def test_it_compiles_to_one_graph(autocast: bool) -> None:
    module, images = SqueezeExcitation(32).eval(), torch.randn(3, 32, 5, 5)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        torch.testing.assert_close(compiled(images), module(images))


def test_elementwise_multiply_adds_are_two_per_element_and_the_counter_sees_the_rest() -> None:
    module = SqueezeExcitation(32)
    assert module.elementwise_multiply_adds((1, 32, 5, 7)) == 2 * 32 * 5 * 7
    assert module.elementwise_multiply_adds((8, 32, 5, 7)) == module.elementwise_multiply_adds((32, 5, 7))
    with FlopCounterMode(display=False) as counter:
        module(torch.randn(1, 32, 5, 7))
    assert counter.get_total_flops() == 2 * (32 * 2 + 2 * 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels must be at least 1"),
        ({"reduction": 0}, "reduction must be at least 1"),
        ({"divisor": 0}, "divisor must be at least 1"),
        ({"squeeze": "mean"}, "unknown squeeze 'mean'"),
        ({"gate": "sigmoit"}, "did you mean 'sigmoid'"),
    ],
)
def test_wrong_values_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExciteError, match=message) as caught:
        SqueezeExcitation(**{"channels": 8, **options})
    assert caught.value.exit_code == 2
