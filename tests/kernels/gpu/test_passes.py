"""The Triton kernels equal their references in PyTorch, and compile for GPUs.

Triton runs in processes of its own: its interpreter is chosen before it is imported.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import excite

HERE = Path(__file__).parent
KERNELS = Path(excite.__file__).parent / "kernels"
ROOT = KERNELS.parents[1]
TRITON = importlib.util.find_spec("triton")
TOOLS = Path(str(TRITON.origin)).parent / "backends/nvidia/bin" if TRITON else Path()

pytestmark = pytest.mark.skipif(TRITON is None, reason="Triton is not installed")


def alone(folder: Path, *arguments: str, interpret: bool) -> subprocess.CompletedProcess[str]:
    chosen = {"TRITON_INTERPRET": str(int(interpret)), "TRITON_CACHE_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **chosen},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def functions(module: str) -> dict[str, str]:
    """The public functions of a module of ``excite.kernels``, with their signatures."""
    body = ast.parse((KERNELS / f"{module}.py").read_text(encoding="utf-8")).body
    return {
        node.name: f"({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"
        for node in body
        if isinstance(node, ast.FunctionDef) and node.name[0] != "_" and node.returns
    }


def test_each_function_of_the_reference_has_a_kernel_of_the_same_signature() -> None:
    kernels = functions("gpu/passes") | functions("gpu/matmul")
    expected = functions("reference")
    for name in ("rows", "excitation_gates"):  # a view, and arithmetic on (N, C) numbers: no pass over a map
        del expected[name]
    assert {"sums", "normalized_matmul"} <= expected.keys()
    assert {name: kernels.get(name) for name in expected} == expected


def test_each_pass_has_a_compiled_loop_of_the_same_signature() -> None:
    loops, reference = functions("cpu/passes"), functions("reference")
    del loops["check"]
    assert loops
    assert {name: reference.get(name) for name in loops} == loops


@pytest.mark.slow
def test_kernels_equal_their_references_in_tritons_interpreter(tmp_path: Path) -> None:
    inner = ["-m", "pytest", "-n", "0", "-p", "no:cacheprovider", str(HERE / "interpreted.py")]
    done = alone(tmp_path, *inner, interpret=True)
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    if not all((TOOLS / tool).is_file() for tool in ("ptxas", "cuobjdump")):
        pytest.skip("Triton came without NVIDIA's assembler")
    script = [str(HERE / "compiled.py")]
    done = alone(tmp_path_factory.mktemp("triton"), *script, interpret=False)
    assert done.returncode == 0, done.stderr[-6000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_every_kernel_compiles_and_spills_no_register(compiled: list[dict[str, Any]]) -> None:
    kernels = {"_sums", "_scale", "_gradient", "_gradient_sums", "_matmul", "_matmul_gradient"}
    assert {each["kernel"] for each in compiled if each["target"] == 90} == kernels
    for each in compiled:
        assert each["stack"] == 0, each
        # What a program may use of an A100's and an H100's shared memory.
        assert each["shared"] <= (227 if each["target"] == 90 else 163) * 1024, each


@pytest.mark.slow
def test_products_of_short_numbers_run_on_tensor_cores(compiled: list[dict[str, Any]]) -> None:
    for each in compiled:
        product = each["kernel"] in ("_matmul", "_matmul_gradient")
        assert each["tensor_cores"] == (product and each["dtype"] != "torch.float32"), each
