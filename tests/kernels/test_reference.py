"""The compiled passes equal their references in PyTorch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from excite.kernels import reference
from excite.kernels.cpu.openmp import openmp

cpu = pytest.importorskip("excite.kernels.cpu.passes")

pytestmark = pytest.mark.skipif(openmp() is None, reason="PyTorch's OpenMP library was not found")

SIZES = st.tuples(st.integers(1, 3), st.integers(1, 70), st.integers(1, 40))
DTYPES = st.sampled_from([torch.float32, torch.bfloat16])


def rows(generator: torch.Generator, size: tuple[int, int, int], dtype: torch.dtype, spare: int) -> Tensor:
    """Rows that are some channels of a wider map; values are multiples of 1/8, so that sums are exact."""
    n, p, c = size
    wide = torch.randint(-16, 17, (n, p, c + spare), generator=generator) / 8
    return wide.to(dtype)[:, :, spare // 2 : spare // 2 + c]


def numbers(generator: torch.Generator, many: int, c: int) -> Tensor:
    return torch.randint(-8, 9, (many, c), generator=generator) / 4


@settings(deadline=None, max_examples=60)
@given(size=SIZES, dtype=DTYPES, spare=st.integers(0, 5), seed=st.integers(0, 2**16), own=st.booleans())
def test_each_pass_equals_its_reference(
    size: tuple[int, int, int], dtype: torch.dtype, spare: int, seed: int, own: bool
) -> None:
    draw = torch.Generator().manual_seed(seed)
    n, p, c = size
    x, dy, y, shortcut = (rows(draw, size, dtype, spare) for _ in range(4))
    a, b = (numbers(draw, n if own else 1, c) for _ in range(2))
    by, to, k = numbers(draw, n, c), numbers(draw, n, c), numbers(draw, 1, c)[0]
    torch.testing.assert_close(cpu.sums(x, k), reference.sums(x, k), rtol=0, atol=0)
    torch.testing.assert_close(cpu.means(x), reference.means(x), rtol=1e-6, atol=1e-6)

    def both(call: str, *given: object, **options: object) -> None:
        outs = []
        for module in (cpu, reference):
            out = torch.zeros(n, p, c + spare, dtype=dtype)[:, :, :c]
            getattr(module, call)(*given, **options, out=out)
            outs.append(out)
        torch.testing.assert_close(*outs, rtol=0, atol=0)

    for relu in (True, False):
        both("scale", x, a, b, None, relu)
        both("scale", x, a, b, shortcut, relu)
        both("gradient", dy, x, a, b, by, to, relu=relu)
        sums = [module.gradient_sums(dy, x, k, a, b, relu=relu) for module in (cpu, reference)]
        torch.testing.assert_close(*sums, rtol=0, atol=0)
    for options in ({"y": y}, {"scaled": True}):
        found = []
        for module in (cpu, reference):
            into = torch.ones(n, p, c, dtype=dtype)
            found.append((into, module.gradient_sums(dy, x, k, a, b, into=into, **options)))
        torch.testing.assert_close(*found, rtol=0, atol=0)


@settings(deadline=None, max_examples=40)
@given(
    p=st.integers(1, 700), c=st.integers(1, 70), hidden=st.integers(1, 9), dtype=DTYPES,
    spare=st.integers(0, 5), relu=st.booleans(), added=st.booleans(), factor=st.sampled_from([1, 2]),
    seed=st.integers(0, 2**16),
)  # fmt: skip
def test_squeeze_and_excitation_of_one_image_in_one_call(
    p: int,
    c: int,
    hidden: int,
    dtype: torch.dtype,
    spare: int,
    relu: bool,
    added: bool,
    factor: int,
    seed: int,
) -> None:
    draw = torch.Generator().manual_seed(seed)
    x, shortcut = (rows(draw, (1, p, c), dtype, spare) for _ in range(2))
    of = reference.Excitation(
        torch.randn(c, hidden, generator=draw), torch.randn(hidden, generator=draw),
        torch.randn(hidden, c, generator=draw), torch.randn(c, generator=draw), factor,
    )  # fmt: skip
    found = []
    for module in (cpu, reference):
        out = torch.zeros(1, p, c + spare, dtype=dtype)[:, :, :c]
        module.squeeze_excite(x, of, shortcut if added else None, relu, out)
        found.append(out.float())
    rounding = 1e-5 if dtype == torch.float32 else 2**-7
    torch.testing.assert_close(*found, rtol=rounding, atol=rounding)


@settings(deadline=None, max_examples=30)
@given(m=st.integers(1, 200), c=st.integers(1, 70), j=st.integers(1, 40), dtype=DTYPES)
def test_the_product(m: int, c: int, j: int, dtype: torch.dtype) -> None:
    x, w = torch.randn(m, c, dtype=dtype), torch.randn(j, c, dtype=dtype)
    found = cpu.product(x, w, torch.empty(m, j, dtype=dtype))
    exact = x.double() @ w.double().t()
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found.double(), exact, rtol=tolerance, atol=tolerance * 10)


def test_bfloat16_is_rounded_as_pytorch_rounds_it() -> None:
    bits = torch.randint(-(2**31), 2**31 - 1, (1, 4096, 16), dtype=torch.int64).to(torch.int32)
    values = bits.view(torch.float32).nan_to_num(0.0)  # all magnitudes, subnormal to almost infinite
    x = torch.ones(1, 4096, 16, dtype=torch.bfloat16)
    one, out = torch.ones(1, 16), torch.empty_like(x)
    # x 0 + b, with b any float32: a row at a time, for b is one a channel.
    for i in range(0, 4096, 64):
        cpu.scale(x[:, :1], one * 0, values[:, i], None, False, out[:, i : i + 1])
    assert torch.equal(out[0, ::64], values[0, ::64].bfloat16())
    extremes = torch.tensor([[float("inf"), float("-inf"), float("nan"), 3.4e38]])
    cpu.scale(x[:, :1, :4], one[:, :4] * 0, extremes, None, False, out[:, :1, :4])
    assert torch.equal(out[0, 0, :4].isnan(), torch.tensor([False, False, True, False]))
    assert out[0, 0, [0, 1, 3]].tolist() == [float("inf"), float("-inf"), float("inf")]


def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    x, k = torch.randn(3, 5000, 48), torch.zeros(48)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(cpu.sums(x, k))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
