"""The Triton kernels against their references in Triton's interpreter, run by ``test_passes.py``.

The interpreter rounds to bfloat16 by cutting digits off, so that a result may be one digit lower.
"""

from __future__ import annotations

import copy
import math
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from excite.kernels import reference
from excite.kernels.dense_block import forward
from excite.kernels.dispatch import select_matmul_backend
from excite.kernels.gpu import matmul, passes
from excite.models.densenet import DenseLayer

ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2**-6, torch.float16: 2**-9}
DTYPES = st.sampled_from(list(ROUNDING))


def same(one: Tensor, other: Tensor, rounding: float) -> None:
    assert one.dtype == other.dtype
    one, other = one.double(), other.double()
    torch.testing.assert_close(one, other, rtol=rounding, atol=rounding * (1 + float(other.abs().max())))


def slice_of_a_buffer(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Channels in the middle of a wider map: neither rows nor the first number lie where C would put them.
    With another seed the map is of another width."""
    *rows, c = shape
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*rows, c + 7 + seed % 5, generator=random).to(dtype)[..., 3 : c + 3]


def coefficients(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Drawn:
    """Arguments of a pass: maps, and coefficients one a channel or one an image and channel."""

    def __init__(self, data: st.DataObject) -> None:
        self.n, self.p = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 7, 49, 300]))
        self.c = data.draw(st.sampled_from([1, 16, 33, 130]))
        self.dtype, self.relu = data.draw(DTYPES), data.draw(st.booleans())
        self._image_stride, self._seed = st.booleans(), data.draw(st.integers(0, 99))
        self._data = data

    def map(self, dtype: torch.dtype | None = None) -> Tensor:
        self._seed += 1
        return slice_of_a_buffer(self.n, self.p, self.c, dtype=dtype or self.dtype, seed=self._seed)

    def coefficients(self) -> Tensor:
        count = self.n if self._data.draw(self._image_stride) else 1
        self._seed += 1
        return coefficients(count, self.c, seed=self._seed)


@pytest.fixture(autouse=True, params=[1, passes.PROGRAMS], ids=["one part", "many parts"])
def _parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "PROGRAMS", request.param)
    monkeypatch.setattr(matmul, "MATMUL_PARTS", request.param)


few = settings(max_examples=12, deadline=None, derandomize=True)


@few
@given(st.data())
def test_sums(data: st.DataObject) -> None:
    drawn = Drawn(data)
    x, k = drawn.map(), drawn.coefficients()[0]
    for one, other in zip(passes.sums(x, k), reference.sums(x, k), strict=True):
        same(one, other, 1e-5)


@few
@given(st.data())
def test_scale(data: st.DataObject) -> None:
    drawn = Drawn(data)
    x, a, b = drawn.map(), drawn.coefficients(), drawn.coefficients()
    shortcut = drawn.map() if data.draw(st.booleans()) else None
    one, other = drawn.map(), drawn.map()
    passes.scale(x, a, b, shortcut, drawn.relu, one)
    reference.scale(x, a, b, shortcut, drawn.relu, other)
    same(one, other, ROUNDING[drawn.dtype])


@few
@given(st.data())
def test_gradient_sums(data: st.DataObject) -> None:
    drawn = Drawn(data)
    dy, x, k = drawn.map(), drawn.map(), drawn.coefficients()[0]
    a, b = drawn.coefficients(), drawn.coefficients()
    y = drawn.map() if data.draw(st.booleans()) else None
    scaled, kept = data.draw(st.booleans()), data.draw(st.booleans())
    one = drawn.map(torch.float32 if scaled and data.draw(st.booleans()) else drawn.dtype)
    other = one.clone()
    ours = passes.gradient_sums(
        dy, x, k, a, b, y=y, relu=drawn.relu, into=one if kept else None, scaled=scaled
    )
    theirs = reference.gradient_sums(
        dy, x, k, a, b, y=y, relu=drawn.relu, into=other if kept else None, scaled=scaled
    )
    for mine, its in zip(ours, theirs, strict=True):
        same(mine, its, 1e-5)
    same(one, other, ROUNDING[one.dtype])


@few
@given(st.data())
def test_gradient(data: st.DataObject) -> None:
    drawn = Drawn(data)
    dy, x = drawn.map(), drawn.map()
    a, b, p, q = (drawn.coefficients() for _ in range(4))
    one, other = drawn.map(), drawn.map()
    passes.gradient(dy, x, a, b, p, q, relu=drawn.relu, out=one)
    reference.gradient(dy, x, a, b, p, q, relu=drawn.relu, out=other)
    same(one, other, ROUNDING[drawn.dtype])


def test_what_is_no_number_stays_none() -> None:
    x = torch.tensor([[[math.nan, -1.0, 1.0]]])
    out, ones = torch.empty(1, 1, 3), torch.ones(1, 3)
    passes.scale(x, ones, 0 * ones, None, True, out)
    torch.testing.assert_close(out[0, 0], torch.tensor([math.nan, 0.0, 1.0]), equal_nan=True)


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((2, 3, 16), (1 << 31, 16, 1)), ((1, 520, 16), (0, 1 << 22, 1))],
    ids=["an image", "rows"],
)
def test_maps_of_more_numbers_than_32_bits_count(shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    assert last >= 1 << 31
    x = torch.empty(last + 1, dtype=torch.bfloat16).as_strided(shape, strides)  # most of it never touched
    x.copy_(coefficients(*shape))
    a, k = torch.ones(1, 16), torch.zeros(16)
    for one, other in zip(passes.sums(x, k), reference.sums(x, k), strict=True):
        same(one, other, 1e-5)
    for one, other in zip(
        passes.gradient_sums(x, x, k, a, a), reference.gradient_sums(x, x, k, a, a), strict=True
    ):
        same(one, other, 1e-5)
    one, other = torch.empty(shape), torch.empty(shape)
    passes.scale(x, a, 0 * a, None, False, one)
    assert torch.equal(one, x.float())
    passes.gradient(x, x, a, a, a, a, relu=True, out=one)
    reference.gradient(x, x, a, a, a, a, relu=True, out=other)
    same(one, other, 1e-5)
    passes.scale(one, 2 * a, a, None, False, x)  # and written there
    same(x.float(), 2 * other + 1, 2**-6)
    if shape[0] == 1:
        w = coefficients(16, 16).to(x.dtype)
        z, *_ = matmul.normalized_matmul(x[0], a[0], k, w, k)
        same(z, reference.normalized_matmul(x[0], a[0], k, w, k)[0], 2**-6)


@few
@given(st.sampled_from([1, 17, 300]), st.sampled_from([16, 33, 70]), st.sampled_from([12, 40, 150]), DTYPES)
def test_a_normalized_product(m: int, c: int, j: int, dtype: torch.dtype) -> None:
    x, w = slice_of_a_buffer(m, c, dtype=dtype), slice_of_a_buffer(j, c, dtype=dtype, seed=1)
    a, b, k = coefficients(c), coefficients(c, seed=1), coefficients(j, seed=2)
    z, sums = matmul.normalized_matmul(x, a, b, w, k)
    same(z, reference.normalized_matmul(x, a, b, w, k)[0], ROUNDING[dtype])
    for one, other in zip(sums, reference.sums(z[None], k), strict=True):
        same(one, other[0], 1e-5)


@few
@given(
    st.sampled_from([1, 17, 300]),
    st.sampled_from([16, 33, 70]),
    st.sampled_from([12, 40, 150, 300]),
    DTYPES,
    st.booleans(),
)
def test_the_gradient_of_a_product(m: int, c: int, j: int, dtype: torch.dtype, wide: bool) -> None:
    x, w = slice_of_a_buffer(m, c, dtype=dtype), slice_of_a_buffer(j, c, dtype=dtype, seed=1)
    dz = slice_of_a_buffer(m, j, dtype=dtype, seed=2)
    a, b, k = coefficients(3, c)
    one = slice_of_a_buffer(m, c, dtype=torch.float32 if wide else dtype, seed=3)
    other = one.clone()
    ours = matmul.matmul_gradient(dz, x, a, b, w, k, one)
    theirs = reference.matmul_gradient(dz, x, a, b, w, k, other)
    for mine, its in zip((ours[0], *ours[1], one), (theirs[0], *theirs[1], other), strict=True):
        same(mine, its, ROUNDING[dtype])


def test_a_dense_block_of_kernels_is_the_block() -> None:
    torch.manual_seed(0)
    layers = [DenseLayer(channels, 8, 2, 0.0, None) for channels in (16, 24, 32)]
    for layer in layers:
        for norm in (layer.norm1, layer.norm2):
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            torch.nn.init.normal_(norm.bias)
    given = torch.randn(2, 16, 6, 6).contiguous(memory_format=torch.channels_last)

    def ran(backend: ModuleType) -> list[Tensor]:
        block, x = copy.deepcopy(layers), given.clone().requires_grad_()
        parameters = [p for layer in block for p in forward._parameters(layer)]
        assert select_matmul_backend(backend) in (reference, matmul)
        out = forward._DenseBlock.apply(x, block, backend, *parameters)
        out.float().sin().sum().backward()
        buffers = [buffer for layer in block for buffer in layer.buffers() if buffer.is_floating_point()]
        return [out.detach(), x.grad, *(p.grad for p in parameters), *buffers]

    for one, other in zip(ran(passes), ran(reference), strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()
