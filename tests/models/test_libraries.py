"""timm and torchvision come without torch's compiler, and whoever wants it has it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def printed(code: str) -> str:
    """What a fresh Python says."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["mobilenetv1_100", "torchvision:mobilenet_v3_small", "resnet50_v1"])
def test_a_network_is_built_and_asked_without_the_compiler(name: str) -> None:
    code = f"""
import sys, torch, excite
model = excite.create_model({name!r}, num_classes=2).eval()
with torch.inference_mode():
    model(torch.zeros(1, 3, 64, 64))
print([name for name in ("torch._dynamo", "torch._dynamo.utils", "triton", "sympy") if name in sys.modules])
"""
    assert printed(code) == "[]"


def test_what_was_put_off_answers_as_the_compiler_does_and_the_compiler_is_whole_afterwards() -> None:
    code = """
import excite
excite.create_model("mobilenetv1_100", num_classes=2)
import torch
from torchvision.ops import roi_align
boxes = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])
assert roi_align(torch.ones(1, 1, 8, 8), boxes, 2).tolist() == [[[[1.0, 1.0], [1.0, 1.0]]]]
import sys
answered = sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu")
import torch._dynamo.utils as utils
assert answered == utils.is_compile_supported("cpu")
assert type(utils.counters).__name__ == "defaultdict"
print(torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)).item())
"""
    assert printed(code) == "2.0"


def test_who_imports_the_compiler_meanwhile_gets_it() -> None:
    code = """
from excite.models.third_party import without_compiler
with without_compiler():
    from torch._dynamo.utils import is_compile_supported
    import torch._dynamo
    import torch._dynamo.utils
    assert type(torch._dynamo.utils.counters).__name__ == "defaultdict"
    assert is_compile_supported is not torch._dynamo.utils.is_compile_supported
    assert is_compile_supported("cpu") == torch._dynamo.utils.is_compile_supported("cpu")
import sys
print(any(type(finder).__module__.startswith("excite") for finder in sys.meta_path))
"""
    assert printed(code) == "False"
