"""Weights that cannot be had are named within a second."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from excite.errors import ExciteError
from excite.models import third_party
from excite.models.weights_source import require_weights

PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)

    def unreachable(*_: object, **__: object) -> socket.socket:
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("resnet18", "huggingface.co"),
        ("torchvision:resnet18", "download.pytorch.org"),
        ("densenet121", "hugging"),
    ],
)
def test_a_server_that_is_needed_and_out_of_reach_is_named(no_network: None, name: str, host: str) -> None:
    with pytest.raises(ExciteError, match=f"no connection to {host}") as raised:
        require_weights(name)
    assert "--weights FILE.safetensors" in str(raised.value)


def test_weights_on_this_machine_need_no_server(no_network: None, tmp_path: Path) -> None:
    require_weights("auto")
    require_weights("tf_efficientnet_lite0")
    file = tmp_path / "torch" / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    require_weights("torchvision:resnet18")


def test_an_unknown_name_is_unknown(no_network: None) -> None:
    with pytest.raises(ExciteError, match="resnet18"):
        require_weights("resnet188")


def test_a_name_server_that_does_not_answer_is_waited_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up of a name takes no timeout, so that it runs beside a clock."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(third_party, "CONNECT_TIMEOUT", 0.05)
    answer = threading.Event()

    def connect(*_: object, **__: object) -> contextlib.AbstractContextManager[None]:
        answer.wait()
        return contextlib.nullcontext()

    monkeypatch.setattr(socket, "create_connection", connect)
    before = set(threading.enumerate())
    assert not third_party.is_reachable("https://huggingface.co")  # although the look-up goes on
    answer.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()
