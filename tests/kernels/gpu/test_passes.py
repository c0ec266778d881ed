"""The Triton kernels do what their twins in PyTorch define, and compile for GPUs, though none is at hand.

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
HOUSE = Path(excite.__file__).parent / "kernels"
FOUND = importlib.util.find_spec("triton")
TOOLS = Path(str(FOUND.origin)).parent / "backends/nvidia/bin" if FOUND else Path()

pytestmark = pytest.mark.skipif(FOUND is None, reason="Triton is not installed")


def alone(folder: Path, *arguments: str, interpret: bool) -> subprocess.CompletedProcess[str]:
    chosen = {"TRITON_INTERPRET": str(int(interpret)), "TRITON_CACHE_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=HERE.parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1", **chosen},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def functions(module: str) -> dict[str, str]:
    """The public functions of a module, with their signatures."""
    body = ast.parse((HOUSE / f"{module}.py").read_text()).body
    found = [node for node in body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]
    return {
        node.name: f"({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"
        for node in found
        if node.returns
    }


@pytest.mark.parametrize(("twin", "ours"), [("passes", "gpu"), ("product", "gpu_product")])
def test_each_pass_has_a_kernel_of_the_same_signature(twin: str, ours: str) -> None:
    wanted, found = functions(twin), functions(ours)
    for name in ("rows", "excitation_gates"):  # a view, arithmetic on (N, C) numbers: no pass
        wanted.pop(name, None)
    assert wanted
    assert {name: found.get(name) for name in wanted} == wanted


@pytest.mark.slow
def test_kernels_are_their_twins_in_tritons_interpreter(tmp_path: Path) -> None:
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
