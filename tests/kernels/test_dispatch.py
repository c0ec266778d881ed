"""Which inputs use the fused operators, and the environment variable that selects the mode."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from excite.errors import ExciteError
from excite.kernels import reference
from excite.kernels.dispatch import MIN_SIZES, select_backend, use_kernels

cpu = pytest.importorskip("excite.kernels.cpu.passes")


def test_supported_inputs_use_the_fused_operators() -> None:
    x = torch.randn(2, 8, 5, 5).contiguous(memory_format=torch.channels_last)
    assert select_backend(x) is cpu
    assert select_backend(x.contiguous()) is None  # another memory
    assert select_backend(x.double()) is None
    assert select_backend(x.to("meta")) is None
    with use_kernels("off"):
        assert select_backend(x) is None
    with use_kernels("plain"):
        assert select_backend(x) is reference
    assert select_backend(x) is cpu


@pytest.mark.slow
def test_the_environment_variable_selects_the_mode() -> None:
    code = (
        "import torch; from excite.kernels.dispatch import select_backend;"
        "x = torch.randn(2, 8, 5, 5).contiguous(memory_format=torch.channels_last);"
        "print(select_backend(x))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"EXCITE_KERNELS": "off"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "None"
    with (
        use_kernels("of"),
        pytest.raises(ExciteError, match="EXCITE_KERNELS: must be one of auto, on, off, plain"),
    ):
        select_backend(torch.randn(1, 1, 1, 1))


def test_small_maps_are_left_to_pytorch() -> None:
    small, large = (torch.randn(1, 8, s, s).contiguous(memory_format=torch.channels_last) for s in (8, 1024))
    with use_kernels("auto"):
        for task in set(MIN_SIZES) - {"always"}:
            assert select_backend(small, task) is None
            assert select_backend(large, task) is not None
    assert select_backend(small, "norm") is not None
