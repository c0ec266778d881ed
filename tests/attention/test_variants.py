"""Every variant against its paper's equations in NumPy, and against timm where timm computes the same."""

from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm.layers
import torch
import torch.fx
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import excite
from excite.attention.eca import eca_kernel_size
from excite.attention.parts import GatedModule
from excite.attention.registry import attention_names, create_attention
from excite.attention.scse import ConcurrentSE
from excite.errors import ExciteError
from excite.models.summary import summarize

GE_THETA = {"form": "theta", "extent": 4}
GE_PLUS = {"form": "theta+", "extent": 2, "reduction": 4}
GE_GLOBAL = {"form": "theta+", "feature_size": (5, 7), "reduction": 4}
Case = tuple[str, dict[str, Any]]  # name and options of a module
LEARNED: list[Case] = [
    ("ese", {}),
    ("ese", {"gate": "hard_sigmoid"}),
    ("cse", {"reduction": 2}),
    ("sse", {}),
    ("sse", {"bias": True}),
    ("scse", {"reduction": 2}),
    ("scse", {"reduction": 4, "combine": "add"}),
    ("eca", {}),
    ("eca", {"kernel_size": 7}),
    ("cbam", {"reduction": 4}),
    ("cbam", {"reduction": 4, "norm": True, "bias": True, "kernel_size": 3}),
    ("ge", GE_THETA),
    ("ge", GE_PLUS),
    ("ge", {"form": "theta", "feature_size": (5, 7)}),
    ("ge", GE_GLOBAL),
    ("gct", {}),
    ("coordatt", {"reduction": 4}),
    ("coordatt", {"reduction": 4, "bias": False}),
    ("nosqueeze", {"reduction": 2}),
    ("nosqueeze", {"reduction": 4, "bias": False}),
]
FIXED: list[Case] = [("ge", {}), ("ge", {"extent": 2}), ("ge", {"extent": 8}), ("simam", {})]
EVERY = [*LEARNED, *FIXED]


def names(cases: Sequence[Case]) -> list[str]:
    return [f"{name}-{'-'.join(f'{value}' for value in options.values())}" for name, options in cases]


every = pytest.mark.parametrize(("name", "options"), EVERY, ids=names(EVERY))
learned = pytest.mark.parametrize(("name", "options"), LEARNED, ids=names(LEARNED))


def randomize(module: nn.Module) -> nn.Module:
    """Random weights, biases, and statistics."""
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            nn.init.uniform_(tensor, 0.5, 2.0)
        elif tensor.is_floating_point():
            nn.init.normal_(tensor, std=0.5)
    return module


def make(name: str, channels: int = 8, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return randomize(create_attention(name, channels, **options)).eval()


# ---- the papers' equations in NumPy, float64 ----

Weights = Mapping[str, np.ndarray]


def sigmoid(v: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-v))


def dense(weight: np.ndarray, x: np.ndarray, bias: np.ndarray | float = 0.0) -> np.ndarray:
    """A 1x1 convolution: (N, C, ...) -> (N, O, ...)."""
    weight = weight.reshape(weight.shape[0], -1)
    out = np.einsum("oc,nc...->no...", weight, x)
    return out + np.reshape(bias, (1, -1) + (1,) * (x.ndim - 2))


def norm(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    shape = (1, -1, 1, 1)
    mean, var, scale, shift = (
        w[f"{name}.{part}"].reshape(shape) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * scale + shift


def correlate(x: np.ndarray, kernel: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    """(N, C, H, W), (C, k, l) -> one filtered map for each channel."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[1:], axis=(2, 3))
    return np.einsum("nchwkl,ckl->nchw", windows[:, :, ::stride, ::stride], kernel)


def squeezed(u: np.ndarray) -> np.ndarray:
    return u.mean(axis=(2, 3))[:, :, None, None]


def ese(u: np.ndarray, w: Weights, gate: str = "sigmoid", **_: object) -> np.ndarray:
    v = dense(w["fc.weight"], squeezed(u), w["fc.bias"])
    return u * (sigmoid(v) if gate == "sigmoid" else np.clip(v + 3, 0, 6) / 6)


def cse(u: np.ndarray, w: Weights, prefix: str = "", **_: object) -> np.ndarray:
    hidden = np.maximum(dense(w[f"{prefix}fc1.weight"], squeezed(u), w[f"{prefix}fc1.bias"]), 0)
    return u * sigmoid(dense(w[f"{prefix}fc2.weight"], hidden, w[f"{prefix}fc2.bias"]))


def sse(u: np.ndarray, w: Weights, prefix: str = "", **_: object) -> np.ndarray:
    return u * sigmoid(dense(w[f"{prefix}conv.weight"], u, w.get(f"{prefix}conv.bias", 0)))


def scse(u: np.ndarray, w: Weights, combine: str = "max", **_: object) -> np.ndarray:
    channel, spatial = cse(u, w, "cse."), sse(u, w, "sse.")
    return np.maximum(channel, spatial) if combine == "max" else channel + spatial


def eca(u: np.ndarray, w: Weights, **_: object) -> np.ndarray:
    kernel, z = w["conv.weight"].ravel(), u.mean(axis=(2, 3))
    half = len(kernel) // 2
    v = np.stack([np.correlate(np.pad(row, half), kernel, "valid") for row in z])
    return u * sigmoid(v)[:, :, None, None]


def cbam(u: np.ndarray, w: Weights, **options: object) -> np.ndarray:
    def mlp(z: np.ndarray) -> np.ndarray:
        hidden = np.maximum(dense(w["channel.fc1.weight"], z, w.get("channel.fc1.bias", 0)), 0)
        return dense(w["channel.fc2.weight"], hidden, w.get("channel.fc2.bias", 0))

    v = u * sigmoid(mlp(squeezed(u)) + mlp(u.max(axis=(2, 3), keepdims=True)))
    kernel = w["spatial.conv.weight"][0]
    pooled = np.stack([v.mean(axis=1), v.max(axis=1)], axis=1)
    q = correlate(pooled, kernel, padding=kernel.shape[1] // 2).sum(axis=1, keepdims=True)
    return v * sigmoid(norm(w, "spatial.norm", q) if options.get("norm") else q)


def ge(u: np.ndarray, w: Weights, form: str = "theta-", extent: int | None = None, **_: object) -> np.ndarray:
    if form == "theta-" and extent is None:
        v = squeezed(u)
    elif form == "theta-":
        ones = np.ones((u.shape[1], 2 * extent - 1, 2 * extent - 1))
        total, count = (correlate(x, ones, extent, extent - 1) for x in (u, np.ones_like(u)))
        v = total / count
    else:
        v = u
        kernels = [name for name, value in w.items() if name.startswith("gather") and value.ndim == 4]
        for step, name in enumerate(kernels):
            v = np.maximum(v, 0) if step else v
            v = correlate(v, w[name][:, 0], *((2, 1) if extent else (1, 0)))
            v = norm(w, f"gather.{int(name.split('.')[1]) + 1}", v)
    if form == "theta+":
        hidden = np.maximum(dense(w["fc1.weight"], np.maximum(v, 0), w["fc1.bias"]), 0)
        v = dense(w["fc2.weight"], hidden, w["fc2.bias"])
    rows, columns = (np.arange(u.shape[axis]) * v.shape[axis] // u.shape[axis] for axis in (2, 3))
    return u * sigmoid(v[:, :, rows][:, :, :, columns])


def gct(u: np.ndarray, w: Weights, **_: object) -> np.ndarray:
    e = w["alpha"] * np.sqrt((u**2).sum(axis=(2, 3)) + 1e-5)
    t = np.sqrt(u.shape[1]) * e / np.sqrt((e**2).sum(axis=1, keepdims=True) + 1e-5)
    return u * (1 + np.tanh(w["gamma"] * t + w["beta"]))[:, :, None, None]


def simam(u: np.ndarray, w: Weights, e_lambda: float = 1e-4, **_: object) -> np.ndarray:
    mean, positions = squeezed(u), u.shape[2] * u.shape[3]
    variance = squeezed((u - mean) ** 2) * positions / max(positions - 1, 1)
    energy = 4 * (variance + e_lambda) / ((u - mean) ** 2 + 2 * variance + 2 * e_lambda)
    return u * sigmoid(1 / energy)


def coordatt(u: np.ndarray, w: Weights, **_: object) -> np.ndarray:
    def branch(z: np.ndarray, name: str) -> np.ndarray:
        f = norm(w, "bn1", dense(w["conv1.weight"], z))
        f = f * np.clip(f + 3, 0, 6) / 6
        return sigmoid(dense(w[f"{name}.weight"], f, w.get(f"{name}.bias", 0)))

    rows, columns = u.mean(axis=3, keepdims=True), u.mean(axis=2, keepdims=True)
    return u * branch(rows, "conv_h") * branch(columns, "conv_w")


def nosqueeze(u: np.ndarray, w: Weights, **_: object) -> np.ndarray:
    hidden = np.maximum(dense(w["fc1.weight"], u, w.get("fc1.bias", 0)), 0)
    return u * sigmoid(dense(w["fc2.weight"], hidden, w.get("fc2.bias", 0)))


EQUATIONS: dict[str, Callable[..., np.ndarray]] = {
    "ese": ese,
    "cse": cse,
    "sse": sse,
    "scse": scse,
    "eca": eca,
    "cbam": cbam,
    "ge": ge,
    "gct": gct,
    "simam": simam,
    "coordatt": coordatt,
    "nosqueeze": nosqueeze,
}


def test_every_registered_variant_is_tested_here() -> None:
    assert {name for name, _ in EVERY} == set(EQUATIONS) == set(attention_names()) - {"se"}


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    case=st.sampled_from(EVERY),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 9), st.integers(1, 9)),
    channels_last=st.booleans(),
)
def test_it_computes_the_papers_equations(
    case: Case, shape: tuple[int, int, int, int], channels_last: bool
) -> None:
    name, options = case
    if "feature_size" in options:
        options = {**options, "feature_size": shape[2:]}
    module = make(name, shape[1], **options)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.randn(shape).contiguous(memory_format=memory_format)
    output = module(images).detach()
    weights = {key: value.double().numpy() for key, value in module.state_dict().items()}
    expected = EQUATIONS[name](images.double().numpy(), weights, **options)
    np.testing.assert_allclose(output.numpy(), expected, rtol=1e-3, atol=1e-5)
    assert output.shape == images.shape
    assert output.is_contiguous(memory_format=memory_format)


# ---- SE without its squeeze ----


def test_without_a_squeeze_each_position_is_an_image_of_its_own_to_se() -> None:
    se = make("se", 12, reduction=3)
    module = create_attention("nosqueeze", 12, reduction=3).eval()
    state = {
        key: value[:, :, None, None] if value.ndim == 2 else value for key, value in se.state_dict().items()
    }
    module.load_state_dict(state)
    images = torch.randn(2, 12, 3, 5)
    output = module(images)
    for row in range(3):
        for column in range(5):
            one = images[:, :, row : row + 1, column : column + 1]
            torch.testing.assert_close(output[:, :, row : row + 1, column : column + 1], se(one))


@pytest.mark.slow
def test_without_a_squeeze_resnet_50_is_as_large_as_with_se_and_costs_a_tenth_more() -> None:
    """28.1 million parameters as SE-ResNet-50; 3.86 + sum of 2 C^2 / r per position = 4.27 billion."""
    with torch.device("meta"):
        plain = excite.create_model("resnet50_v1")
        se, none = (excite.insert(plain, name, identity=False) for name in ("se", "nosqueeze"))
    assert count(none) == count(se) == 28_088_024
    added = summarize(none, 224).multiply_adds - summarize(plain, 224).multiply_adds
    stages = ((3, 256, 56), (4, 512, 28), (6, 1024, 14), (3, 2048, 7))
    convolutions = sum(blocks * 2 * c * (c // 16) * side**2 for blocks, c, side in stages)
    scales = sum(blocks * c * side**2 for blocks, c, side in stages)
    assert added == convolutions + scales
    assert round((3_857_973_248 + convolutions) / 1e9, 2) == 4.27


# ---- timm ----


@pytest.mark.parametrize(
    ("name", "options", "timms_name", "timms_options"),
    [
        ("ese", {"gate": "hard_sigmoid"}, "ese", {}),
        ("eca", {}, "eca", {}),
        ("cbam", {"norm": True}, "cbam", {}),
        ("coordatt", {"bias": False}, "coord", {"rd_channels": 4}),
        ("ge", {}, "ge", {"use_mlp": False}),
        ("ge", {"extent": 2}, "ge", {"use_mlp": False, "extent": 2}),
        ("ge", {"extent": 8}, "ge", {"use_mlp": False, "extent": 8}),
    ],
)
def test_it_agrees_with_timm_given_its_weights(
    name: str, options: dict[str, Any], timms_name: str, timms_options: dict[str, Any]
) -> None:
    theirs = timm.layers.create_attn(timms_name, 64, **timms_options)
    randomize(theirs).eval()
    ours = create_attention(name, 64, **options).eval()
    state = theirs.state_dict()
    if name == "cbam":
        inner = {"spatial.conv.conv.": "spatial.conv.", "spatial.conv.bn.": "spatial.norm."}
        for old, new in inner.items():
            state = {key.replace(old, new): value for key, value in state.items()}
    ours.load_state_dict(state)
    images = torch.randn(2, 64, 10, 7)
    torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize("power", range(3, 12))
def test_ecas_kernel_is_timms_from_eight_channels_on(power: int) -> None:
    ours = create_attention("eca", 2**power)
    theirs = timm.layers.EcaModule(2**power)
    assert ours.conv.kernel_size == theirs.conv.kernel_size


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 24, 100, 640, 4096])
def test_ecas_kernel_is_the_nearest_odd_number(channels: int) -> None:
    target = (math.log2(channels) + 1) / 2
    odd = range(1, 101, 2)
    nearest = min(abs(k - target) for k in odd)
    assert eca_kernel_size(channels) == max(k for k in odd if abs(k - target) == nearest)


# ---- parameters, and the table in the docs ----

PAGE = Path(excite.__file__).parents[1] / "docs" / "reference" / "attention.md"


def table() -> Iterator[tuple[str, dict[str, Any], int, str]]:
    page = PAGE.read_text(encoding="utf-8")
    for line in page.splitlines():
        if line.startswith("| `"):
            name, _, _, options, parameters, _, identity = (
                cell.strip() for cell in line.strip("|").split("|")
            )
            given = dict(pair.split("=") for pair in options.strip("`").split())
            options = {key: int(value) if value.isdigit() else value for key, value in given.items()}
            yield name.strip("`"), options, int(parameters.replace(",", "")), identity


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_table_in_the_docs_has_every_variant_and_its_parameters() -> None:
    rows = list(table())
    assert {name for name, *_ in rows} == set(attention_names())
    for name, options, parameters, identity in rows:
        assert count(create_attention(name, 256, **options)) == parameters, name
        images = torch.randn(2, 256, 3, 3)
        if identity == "no":
            with pytest.raises(ExciteError, match="no parameters"):
                create_attention(name, 256, **options, identity=True)
        elif identity == "always":
            assert torch.equal(create_attention(name, 256, **options)(images), images)
        else:
            assert torch.equal(create_attention(name, 256, **options, identity=True)(images), images)
            assert not torch.equal(create_attention(name, 256, **options)(images), images)


@pytest.mark.parametrize("channels", [3, 24, 100])
@pytest.mark.parametrize("reduction", [2, 16, 200])
def test_parameters_by_formula(channels: int, reduction: int) -> None:
    c, hidden = channels, max(1, channels // reduction)
    se = 2 * c * hidden + hidden + c
    expected = {
        ("cse", ""): se,
        ("nosqueeze", ""): se,
        ("scse", ""): se + c,
        ("cbam", ""): 2 * c * hidden + 2 * 7 * 7,
        ("coordatt", ""): 3 * c * hidden + 2 * hidden + 2 * c,
        ("ge", "theta"): 2 * (9 * c + 2 * c),
        ("ge", "theta+"): 2 * (9 * c + 2 * c) + se,
    }
    for (name, form), parameters in expected.items():
        options = {"form": form, "extent": 4} if form else {}
        assert count(create_attention(name, c, reduction=reduction, **options)) == parameters


@pytest.mark.parametrize("name", ["cse", "scse", "cbam", "coordatt", "nosqueeze"])
def test_a_hidden_width_is_rounded_only_with_a_divisor(name: str) -> None:
    for divisor, hidden in ((1, 6), (8, 8)):
        module = create_attention(name, 100, divisor=divisor)
        widths = {layer.out_channels for layer in module.modules() if isinstance(layer, nn.Conv2d)}
        widths |= {layer.out_features for layer in module.modules() if isinstance(layer, nn.Linear)}
        assert widths <= {hidden, 100, 1}
        assert hidden in widths


# ---- dtypes, formats, small maps ----


@pytest.mark.slow
@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_and_memory_format_are_kept(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    for memory_format in (torch.contiguous_format, torch.channels_last):
        images = torch.randn(2, 8, 5, 7).to(dtype).contiguous(memory_format=memory_format)
        module = make(name, **options)
        for candidate in (module, copy.deepcopy(module).to(dtype)):
            output = candidate(images)
            assert output.dtype == dtype
            assert output.shape == images.shape
            assert output.is_contiguous(memory_format=memory_format)


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_maps_get_the_gates_of_float32(
    name: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    """Also under autocast, which would run layers in half precision."""
    module = make(name, **options)
    images = torch.randn(2, 8, 5, 7).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        output = module(images)
    plain = module(images.float())
    # What is left are the roundings of one or two products; the second gate of CBAM sees that of the first.
    torch.testing.assert_close(output.float(), plain, rtol=4 * torch.finfo(dtype).eps, atol=1e-6)
    for part in module.modules():
        if isinstance(part, GatedModule) and not isinstance(part, ConcurrentSE):  # whose parts have the gates
            with torch.autocast("cpu", dtype=dtype):
                gates = part.gates(images)
            assert gates.dtype == torch.float32
            torch.testing.assert_close(gates, part.gates(images.float()))


@every
def test_huge_float16_activations_stay_finite_with_their_gradients(
    name: str, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    module = create_attention(name, 8, **options).train()
    images = (6e4 * torch.rand(2, 8, 5, 7)).half().requires_grad_()
    with torch.autocast("cpu", dtype=torch.float16):
        output = module(images)
    if (name, options.get("combine")) != ("scse", "add"):  # a sum of two gates may pass 65504 by itself
        assert torch.isfinite(output).all()
    output.float().mean().backward()
    for tensor in (images, *module.parameters()):
        assert torch.isfinite(tensor.grad).all()


@every
@pytest.mark.parametrize("training", [True, False])
def test_one_image_of_one_position_works(name: str, options: dict[str, Any], training: bool) -> None:
    if "feature_size" in options:
        options = {**options, "feature_size": 1}
    module = make(name, **options).train(training)
    images = torch.randn(1, 8, 1, 1, requires_grad=True)
    module(images).sum().backward()
    assert torch.isfinite(images.grad).all()
    assert all(torch.isfinite(tensor).all() for tensor in module.state_dict().values())


def test_a_batch_norm_learns_its_statistics_from_more_than_one_value() -> None:
    module = create_attention("ge", 8, **GE_THETA).train()
    before = module.gather[-1].running_mean.clone()
    module(torch.randn(1, 8, 1, 1))
    assert torch.equal(module.gather[-1].running_mean, before)
    module(torch.randn(2, 8, 9, 9))
    assert not torch.equal(module.gather[-1].running_mean, before)


# ---- identity ----


@learned
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_identity_is_bit_equal_at_the_start(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    module = create_attention(name, 8, **options, identity=True)
    images = torch.randn(2, 8, 5, 7).to(dtype)
    images[0, 0, 0, 0] = torch.finfo(dtype).smallest_normal / 4  # a subnormal number, too
    for training in (True, False):
        assert torch.equal(module.train(training)(images), images)


@learned
@pytest.mark.parametrize("identity", [True, False])
def test_every_parameter_has_a_gradient_by_the_second_step(
    name: str, options: dict[str, Any], identity: bool
) -> None:
    torch.manual_seed(3)
    module = create_attention(name, 8, **options, identity=identity).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    images, target = torch.randn(16, 8, 5, 7) + 0.5, torch.randn(16, 8, 5, 7)
    for _ in range(2):
        optimizer.zero_grad()
        (module(images) - target).square().mean().backward()
        optimizer.step()
    without = [key for key, parameter in module.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.slow
@every
def test_gradients_agree_with_finite_differences(name: str, options: dict[str, Any]) -> None:
    if name == "ge" and "feature_size" in options:
        options = {**options, "feature_size": (3, 2)}
    module = make(name, 4, **options).double()
    images = torch.randn(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (images,))


# ---- copies, graphs ----


@pytest.mark.slow
@every
def test_copies_and_exports_give_the_same_numbers(name: str, options: dict[str, Any]) -> None:
    module, images = make(name, **options), torch.randn(3, 8, 5, 7)
    expected = module(images)
    assert torch.equal(copy.deepcopy(module)(images), expected)
    assert torch.equal(pickle.loads(pickle.dumps(module))(images), expected)  # noqa: S301
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(module, (images,), dynamic_shapes=({0: batch},)).module()
    more = torch.randn(5, 8, 5, 7)
    torch.testing.assert_close(exported(more), module(more))


@pytest.mark.slow
@every
@pytest.mark.parametrize("training", [True, False])
def test_it_compiles_to_one_graph(name: str, options: dict[str, Any], training: bool) -> None:
    torch.compiler.reset()
    module, images = make(name, **options).train(training), torch.randn(3, 8, 5, 7)
    compiled = torch.compile(copy.deepcopy(module), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), module(images))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(compiled(images), module(images))


@pytest.mark.parametrize(("name", "options"), [("se", {}), *EVERY], ids=names([("se", {}), *EVERY]))
def test_it_traces_with_fx_also_in_training_and_for_other_shapes(name: str, options: dict[str, Any]) -> None:
    module = make(name, **options)
    for training in (True, False):
        traced = torch.fx.symbolic_trace(module.train(training))
        shape = (3, 8, 5, 7) if "feature_size" in options else (3, 8, 6, 9)
        images = torch.randn(shape)
        torch.testing.assert_close(traced(images), copy.deepcopy(module)(images))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert traced(images.bfloat16()).dtype == torch.bfloat16


# ---- what FLOP counters do not see ----


@pytest.mark.parametrize(
    ("name", "options", "passes", "seen"),
    [
        ("ese", {}, 2, 8 * 8),
        ("cse", {"reduction": 2}, 2, 2 * 8 * 4),
        ("sse", {}, 1, 8 * 35),
        ("scse", {"reduction": 2}, 3, 2 * 8 * 4 + 8 * 35),
        ("eca", {"kernel_size": 3}, 2, 8 * 3),
        ("cbam", {"reduction": 2}, 6, 2 * 2 * 8 * 4 + 2 * 49 * 35),
        ("ge", {}, 2, 0),
        ("ge", {"extent": 2}, 2, 0),
        ("ge", {"form": "theta", "extent": 2}, 1, 8 * 9 * 3 * 4),
        ("ge", GE_GLOBAL, 1, 8 * 35 + 2 * 8 * 2),
        ("gct", {}, 2, 0),
        ("simam", {}, 4, 0),
        ("coordatt", {"reduction": 2}, 4, 8 * 4 * 12 + 4 * 8 * 12),
        ("nosqueeze", {"reduction": 2}, 1, 2 * 8 * 4 * 35),
    ],
)
def test_multiply_adds(name: str, options: dict[str, Any], passes: int, seen: int) -> None:
    module = make(name, **options)
    assert module.elementwise_multiply_adds((8, 5, 7)) == passes * 8 * 5 * 7
    assert module.elementwise_multiply_adds((4, 8, 5, 7)) == passes * 8 * 5 * 7
    with FlopCounterMode(display=False) as counter:
        module(torch.randn(1, 8, 5, 7))
    assert counter.get_total_flops() == 2 * seen


# ---- the caller's mistakes ----


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ese", {"channels": 0}, "EffectiveSE: channels must be at least 1, got 0"),
        ("ese", {"gate": "hardsigmoid"}, "did you mean 'hard_sigmoid'"),
        ("ese", {"reduction": 16}, "attention 'ese': unknown option 'reduction'"),
        ("eca", {"kernel_size": 4}, "kernel_size must be odd, got 4"),
        ("eca", {"gamma": 0}, "gamma must be at least 1"),
        ("cbam", {"reduction": 0}, "reduction must be at least 1"),
        ("cbam", {"kernel_size": 2}, "kernel_size must be odd"),
        ("cbam", {"kernelsize": 3}, "did you mean 'kernel_size'"),
        ("scse", {"combine": "maxx"}, "did you mean 'max'"),
        ("scse", {"divisor": 0}, "divisor must be at least 1"),
        ("coordatt", {"reduction": -1}, "reduction must be at least 1"),
        ("nosqueeze", {"reduction": 0}, "NoSqueeze: reduction must be at least 1"),
        ("nosqueeze", {"squeeze": "avg"}, "attention 'nosqueeze': unknown option 'squeeze'"),
        ("simam", {"identity": True}, "SimAM: there are no parameters to start as the identity"),
        ("ge", {"identity": True}, "GatherExcite: there are no parameters"),
        ("ge", {"form": "thetaplus"}, "did you mean 'theta"),
        ("ge", {"extent": 3}, "extent must be a power of two, at least 2, got 3"),
        ("ge", {"extent": 1}, "extent must be a power of two"),
        ("ge", {"form": "theta"}, "needs feature_size .pass it, or an extent"),
        ("ge", {"feature_size": 7}, "feature_size has no effect"),
        ("ge", {"form": "theta", "feature_size": (7, 0)}, "feature_width must be at least 1"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExciteError, match=message) as caught:
        create_attention(name, **{"channels": 8, **options})
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("name", "nearest"), [("simm", "simam"), ("cbma", "cbam"), ("coordat", "coordatt")])
def test_a_misspelled_variant_is_refused_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ExciteError, match=f"did you mean '{nearest}'"):
        create_attention(name, 8)


def test_a_users_own_class_is_made_by_name_with_its_options(own_names: None) -> None:
    """The class in the documentation."""
    page = PAGE.read_text(encoding="utf-8")
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], {"__name__": "my_page"})
    images = torch.randn(1, 64, 2, 2)
    assert torch.equal(create_attention("halve", 64, factor=0.25)(images), images / 4)
    with pytest.raises(ExciteError, match="did you mean 'factor'"):
        create_attention("halve", 64, faktor=0.25)
