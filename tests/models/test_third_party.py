"""timm and torchvision: errors in one line, an unreachable hub, and no import of the compiler."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from huggingface_hub import constants

from excite.errors import BAD_USAGE, ExciteError
from excite.models.catalog import create_model
from excite.models.third_party import library_errors

PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture
def closed_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's address becomes one where nobody answers."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")


def test_a_hub_out_of_reach_is_not_waited_for_and_the_setting_is_put_back(closed_port: None) -> None:
    with library_errors("x", fetching=True):
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE
    with library_errors("x"):
        assert not constants.HF_HUB_OFFLINE


def test_a_hub_that_answers_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with library_errors("x", fetching=True):
            assert not constants.HF_HUB_OFFLINE


@pytest.mark.parametrize("name", ["densenet121", "timm:resnet18"])
def test_unreachable_pretrained_weights_are_an_error_with_a_solution(
    closed_port: None, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The real libraries, the real error."""
    with pytest.raises(ExciteError, match=r"could not download .*--weights FILE\.safetensors"):
        create_model(name, pretrained=True)
    assert capfd.readouterr().err.count("\n") <= 1


def test_other_errors_are_wrong_usage() -> None:
    with (
        pytest.raises(ExciteError, match="could not build the model: no such thing") as raised,
        library_errors("x"),
    ):
        raise TypeError("no such thing\nand much more")
    assert raised.value.exit_code == BAD_USAGE


def printed(code: str) -> str:
    """What a new Python process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("names", [["mobilenetv1_100", "torchvision:mobilenet_v3_small"], ["resnet50_v1"]])
def test_networks_are_built_and_run_without_the_compiler(names: list[str]) -> None:
    code = f"""
import sys, torch, excite
for name in {names}:
    model = excite.create_model(name, num_classes=2).eval()
    with torch.inference_mode():
        model(torch.zeros(1, 3, 64, 64))
print([name for name in ("torch._dynamo", "torch._dynamo.utils", "triton", "sympy") if name in sys.modules])
"""
    assert printed(code) == "[]"


@pytest.mark.slow
def test_deferred_functions_return_what_the_compiler_does_and_leave_it_complete() -> None:
    code = """
import excite
excite.create_model("mobilenetv1_100", num_classes=2)
import torch
from torchvision.ops import roi_align
boxes = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])
assert roi_align(torch.ones(1, 1, 8, 8), boxes, 2).tolist() == [[[[1.0, 1.0], [1.0, 1.0]]]]
import sys
deferred = sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu")
import torch._dynamo.utils as utils
assert deferred == utils.is_compile_supported("cpu")
assert type(utils.counters).__name__ == "defaultdict"
print(torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)).item())
"""
    assert printed(code) == "2.0"


@pytest.mark.slow
def test_the_compiler_can_be_imported_meanwhile() -> None:
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
