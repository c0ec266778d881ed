"""Compiles every Triton kernel for GPUs that need not be present, and prints its resources as JSON lines.

Run by ``test_gpu``, in a process of its own. The kernels are those that the functions would launch for such
arguments: they are called as they are, with a driver that knows its target and nothing else.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from excite.kernels.gpu import matmul, passes

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


class Target:
    """The target of a compilation."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_device(self) -> int:
        return self.capability

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)


def needs(cubin: bytes) -> dict[str, int]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run(
            [CUOBJDUMP, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        )
    found = re.search(r"REG:(\d+) STACK:(\d+)", done.stdout)
    assert found
    return {"registers": int(found[1]), "stack": int(found[2])}


launch = JITFunction.run


def compile_only(self: JITFunction, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
    kernel = launch(self, *arguments, grid=grid, warmup=True, **options)
    found = {"kernel": self.__name__, "target": kernel.metadata.target.arch, "dtype": str(dtype)}
    found |= {"shared": kernel.metadata.shared, "tensor_cores": "mma" in kernel.asm["ptx"]}
    print(json.dumps(found | needs(kernel.asm["cubin"])), flush=True)


def compile_passes(dtype: torch.dtype, c: int) -> None:
    x, a, k = torch.empty(4, 3136, c, dtype=dtype), torch.empty(4, c), torch.empty(c)
    passes.sums(x, k)
    passes.scale(x, a, a, x, True, x)
    passes.gradient(x, x, a, a, a, a, relu=True, out=x)
    passes.gradient_sums(x, x, k, a, a, y=x, into=x)
    passes.gradient_sums(x, x, k, a, a, into=torch.empty(4, 3136, c), scaled=True)


def compile_products(dtype: torch.dtype, c: int, j: int) -> None:
    x, dz, w = (
        torch.empty(512, c, dtype=dtype),
        torch.empty(512, j, dtype=dtype),
        torch.empty(j, c, dtype=dtype),
    )
    a, k = torch.empty(c), torch.empty(j)
    matmul.normalized_matmul(x, a, a, w, k)
    if dtype != torch.float32:  # of float32 it is the passes
        matmul.matmul_gradient(dz, x, a, a, w, a, torch.empty(512, c))


if __name__ == "__main__":
    JITFunction.run = compile_only
    matmul._wide = lambda x: x.dtype == torch.float32
    for capability in (90, 80):
        triton.runtime.driver.set_active(Target(capability))
        matmul._is_hopper = lambda x: capability == 90  # noqa: B023
        # An A100 gets the products alone, and of the 16-bit formats one: registers and memory are the same.
        for dtype in (torch.bfloat16, torch.float16, torch.float32)[:: 1 if capability == 90 else 2]:
            if capability == 90:
                compile_passes(dtype, 256)
            compile_products(dtype, 256, 128)  # DenseNet-121
        dtype = torch.bfloat16
        compile_products(dtype, 144, 192)  # DenseNet-161
