"""The passes of ``excite.kernels.reference`` on a CPU, by loops compiled with numba."""

from __future__ import annotations

import torch
from torch import Tensor

from excite.kernels.cpu import gate_loops, norm_loops
from excite.kernels.cpu.openmp import openmp, run, threads_for
from excite.kernels.reference import Excitation

BLOCK = 1 << 15  # elements of a block of rows, the unit of work of a thread; small, to balance the load


def means(x: Tensor) -> Tensor:
    """As ``reference.means``."""
    parts, shape = _shape(x)
    ones = x.new_empty((len(x), parts, x.shape[2]), dtype=torch.float32)
    run(norm_loops.means.address, [*shape, *_map(x), ones.data_ptr()], numbers=x.numel())
    return ones.sum(1).div_(x.shape[1])


def sums(x: Tensor, k: Tensor) -> Tensor:
    """As ``reference.sums``."""
    parts, shape = _shape(x)
    both = x.new_empty((2, len(x), parts, x.shape[2]), dtype=torch.float32)
    run(norm_loops.sums.address, [*shape, *_map(x), k.data_ptr(), *_halves(both)], numbers=x.numel())
    return both.sum(2)


def scale(x: Tensor, a: Tensor, b: Tensor, shortcut: Tensor | None, relu: bool, out: Tensor) -> None:
    """As ``reference.scale``."""
    _, shape = _shape(x)
    arguments = [*shape, *_map(x), *_addresses(a, b), _step(a), *_map(shortcut), *_map(out), int(relu)]
    run(norm_loops.scale.address, arguments, numbers=x.numel())


def squeeze_excite(
    x: Tensor, excitation: Excitation, shortcut: Tensor | None, relu: bool, out: Tensor
) -> None:
    """As ``reference.squeeze_excite``."""
    _, p, c = x.shape
    hidden, threads = len(excitation.b1), threads_for(x.numel())
    workspace = x.new_empty((threads + 2) * c + 2 * threads * hidden, dtype=torch.float32)
    sums = workspace.data_ptr()
    z = sums + 4 * threads * c
    s, h = z + 4 * c, z + 8 * c
    map_arguments = [int(x.dtype == torch.bfloat16), p, c, hidden, x.data_ptr(), x.stride(1)]
    gate_arguments = [*_addresses(*excitation[:4]), excitation.factor, sums, z, h, s]
    added = [0, 0] if shortcut is None else [shortcut.data_ptr(), shortcut.stride(1)]
    arguments = [*map_arguments, *gate_arguments, *added, out.data_ptr(), out.stride(1), int(relu)]
    run(gate_loops.squeeze_excite.address, arguments, numbers=x.numel())


def gradient_sums(
    dy: Tensor,
    x: Tensor,
    k: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    y: Tensor | None = None,
    relu: bool = True,
    into: Tensor | None = None,
    scaled: bool = False,
) -> Tensor:
    """As ``reference.gradient_sums``."""
    parts, shape = _shape(x)
    if not relu:
        mode = norm_loops.ALL
    elif into is None:
        mode = norm_loops.SCALED_MASK
    else:
        mode = norm_loops.SCALED_MASK_ADDED if scaled else norm_loops.OUTPUT_MASK
    both = x.new_empty((2, len(x), parts, x.shape[2]), dtype=torch.float32)
    arguments = [*shape, *_map(dy), *_map(x), *_addresses(k, a, b), _step(a), *_map(y), *_map(into), mode]
    run(norm_loops.gradient_sums.address, [*arguments, *_halves(both)], numbers=x.numel())
    return both.sum(2)


def gradient(
    dy: Tensor, x: Tensor, a: Tensor, b: Tensor, p: Tensor, q: Tensor, *, relu: bool, out: Tensor
) -> None:
    """As ``reference.gradient``."""
    _, shape = _shape(x)
    coefficients = [*_addresses(a, b, p, q), _step(a), _step(p)]
    arguments = [*shape, *_map(dy), *_map(x), *_map(out), *coefficients, int(relu)]
    run(norm_loops.gradient.address, arguments, numbers=x.numel())


def product(x: Tensor, w: Tensor, out: Tensor) -> Tensor:
    """As ``reference.product``."""
    if x.dtype == torch.float32 and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        # oneDNN's matrix product, which PyTorch uses in compiled code. torch.mm uses MKL, which reaches half
        # the speed on AMD in float32 (Zen 5: 108 against 244 GFLOP/s per core).
        return torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")
    return torch.mm(x, w.t(), out=out)


def _shape(x: Tensor) -> tuple[int, list[int]]:
    """Blocks of rows per image, and the arguments of a task for the shape: is bfloat16, n, p, c, parts."""
    n, p, c = x.shape
    parts = min(p, -(-p * c // BLOCK))
    rows = -(-p // parts)
    parts = -(-p // rows)  # so that no block is empty
    return parts, [int(x.dtype == torch.bfloat16), n, p, c, parts]


def _map(x: Tensor | None) -> list[int]:
    return [0, 0, 0] if x is None else [x.data_ptr(), x.stride(0), x.stride(1)]


def _addresses(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


def _halves(both: Tensor) -> list[int]:
    return [both.data_ptr(), both.data_ptr() + both.nbytes // 2]


def _step(a: Tensor) -> int:
    return 0 if len(a) == 1 else a.shape[1]


def check() -> None:
    """Raises: RuntimeError if PyTorch's OpenMP threads cannot be used."""
    if openmp() is None:
        raise RuntimeError("PyTorch's OpenMP library was not found")
