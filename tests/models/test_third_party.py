"""What other libraries fail at, in one line; and a hub out of reach."""

from __future__ import annotations

import socket

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
def test_pretrained_weights_out_of_reach_name_the_way_out(
    closed_port: None, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The real libraries, the real error."""
    with pytest.raises(ExciteError, match=r"could not fetch .*--weights FILE\.safetensors"):
        create_model(name, pretrained=True)
    assert capfd.readouterr().err.count("\n") <= 1


def test_other_errors_are_wrong_usage() -> None:
    with (
        pytest.raises(ExciteError, match="could not build the model: no such thing") as raised,
        library_errors("x"),
    ):
        raise TypeError("no such thing\nand much more")
    assert raised.value.exit_code == BAD_USAGE
