"""Devices and precisions by name, on machines with and without a GPU."""

from __future__ import annotations

import pytest
import torch

from excite.config.train_config import TrainConfig
from excite.errors import BAD_USAGE, FAILED, ExciteError
from excite.system import devices
from excite.system.devices import autocast, choose_device, choose_precision

CPU = torch.device("cpu")


def machine(monkeypatch: pytest.MonkeyPatch, *, gpus: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("gpus", "mps", "rank", "expected"),
    [(0, False, 0, "cpu"), (0, True, 0, "mps"), (2, False, 0, "cuda:0"), (2, True, 1, "cuda:1")],
)
def test_auto_is_the_fastest_available_device(
    monkeypatch: pytest.MonkeyPatch, gpus: int, mps: bool, rank: int, expected: str
) -> None:
    machine(monkeypatch, gpus=gpus, mps=mps)
    assert choose_device("auto", rank) == torch.device(expected)


@pytest.mark.parametrize(("name", "expected"), [("cpu", "cpu"), ("cuda", "cuda:1"), ("cuda:0", "cuda:0")])
def test_a_device_by_name_where_each_process_has_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    machine(monkeypatch, gpus=2)
    assert choose_device(name, local_rank=1) == torch.device(expected)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:-1", "CPU"])
def test_an_unknown_device_is_bad_usage(name: str) -> None:
    with pytest.raises(
        ExciteError, match=r"device: unknown device .*use cpu, cuda, cuda:1, or mps"
    ) as raised:
        choose_device(name)
    assert raised.value.exit_code == BAD_USAGE


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "xpu", "meta"])
def test_a_missing_device_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    machine(monkeypatch)
    with pytest.raises(
        ExciteError, match=f"{name.split(':')[0]} is not available: .*use --device cpu"
    ) as raised:
        choose_device(name)
    assert raised.value.exit_code == FAILED


@pytest.mark.parametrize(("name", "rank"), [("cuda:2", 0), ("cuda", 2), ("auto", 2)])
def test_more_gpus_than_there_are_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, rank: int) -> None:
    """Also where more processes are started than there are GPUs."""
    machine(monkeypatch, gpus=2)
    with pytest.raises(ExciteError, match="cuda:2: there are 2 GPUs"):
        choose_device(name, local_rank=rank)


@pytest.mark.parametrize(
    ("unit", "there", "expected"),
    [("amx_tile", True, "bfloat16"), ("avx512_bf16", True, "bfloat16"), ("amx_tile", False, "float32")],
)
def test_auto_precision_on_a_cpu_depends_on_its_matrix_unit(
    monkeypatch: pytest.MonkeyPatch, unit: str, there: bool, expected: str
) -> None:
    for name in ("amx_tile", "avx512_bf16"):
        supported = there and name == unit
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda it=supported: it, raising=False)
    assert choose_precision("auto", CPU) == expected


def test_auto_precision_is_float32_if_pytorch_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("amx_tile", "avx512_bf16"):
        monkeypatch.delattr(torch.cpu, f"_is_{name}_supported", raising=False)
    assert choose_precision("auto", CPU) == "float32"


@pytest.mark.parametrize(("fast", "expected"), [(True, "bfloat16"), (False, "float16")])
def test_auto_precision_on_a_gpu_depends_on_bfloat16_support(
    monkeypatch: pytest.MonkeyPatch, fast: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: fast)
    assert choose_precision("auto", torch.device("cuda", 0)) == expected


def test_a_precision_by_name_is_taken_except_float16_without_cuda() -> None:
    assert choose_precision("bfloat16", CPU) == "bfloat16"
    assert choose_precision("float32", torch.device("cuda", 0)) == "float32"
    assert choose_precision("float16", torch.device("cuda", 0)) == "float16"
    for device in ("cpu", "mps"):
        with pytest.raises(ExciteError, match="precision: float16 training needs a CUDA GPU") as raised:
            choose_precision("float16", torch.device(device))
        assert raised.value.exit_code == BAD_USAGE
    assert choose_precision("auto", torch.device("mps")) == "float32"


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_the_forward_pass_has_the_chosen_precision(name: str) -> None:
    layer = torch.nn.Linear(4, 4)
    with autocast(CPU, name):
        assert layer(torch.randn(2, 4)).dtype == getattr(torch, name)
    assert layer(torch.randn(2, 4)).dtype == torch.float32


def test_the_names_are_those_of_the_configuration() -> None:
    limits = TrainConfig.__dataclass_fields__["precision"].metadata["limits"]
    assert {"auto", *devices.DTYPES} == set(limits.choices)
