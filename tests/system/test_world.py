"""Values that processes of one training exchange; a single process keeps its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from excite.errors import BAD_USAGE, ExciteError
from excite.system.world import World, first_process, process_group


def test_alone_every_value_is_the_processs_own() -> None:
    with process_group("cpu") as world:
        assert (world, world.first) == (World(0, 1, 0), True)
        assert world.broadcast("value") == "value"
        assert world.gather(3) == [3]
        assert world.all_reduce_max([1, 2]) == [1, 2]
        assert world.all_reduce_sum(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]
        world.barrier()
        world.broadcast_buffers(nn.BatchNorm2d(2))
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(("rank", "first"), [(None, True), ("0", True), ("1", False)])
def test_the_first_process_is_known_before_they_are_joined(
    rank: str | None, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert first_process() is first


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("mps", "--device: training with several processes supports cpu and cuda, not mps"),
        ("cuda", "99 processes need a GPU each, but there are"),
    ],
)
def test_processes_that_cannot_train_together_are_refused(
    device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": "99", "LOCAL_WORLD_SIZE": "99", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ExciteError, match=message) as raised, process_group(device):
        pass
    assert raised.value.exit_code == BAD_USAGE
    assert not torch.distributed.is_initialized()


EXCHANGE = """
import json, sys, torch
from torch import nn
from excite.system.world import process_group

norm = nn.BatchNorm2d(2)
with process_group("cpu") as world:
    norm.running_mean.fill_(world.rank + 5)
    world.broadcast_buffers(norm)
    found = {
        "first": world.first,
        "broadcast": world.broadcast(["from", world.rank]),
        "gather": world.gather({"rank": world.rank}),
        "max": world.all_reduce_max([world.rank, 9 - world.rank]),
        "sum": world.all_reduce_sum(torch.tensor([1.0, world.rank])).tolist(),
        "buffer": norm.running_mean.tolist(),
    }
    world.barrier()
print(json.dumps(found | {"left": not torch.distributed.is_initialized()}))
"""


def together(script: str, processes: int) -> list[str]:
    """The output of each process; as under torchrun, the parent owns their rendezvous store."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(processes)}
    meeting["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, **meeting, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * processes
    return outputs


@pytest.fixture(scope="module")
def exchanged() -> list[dict[str, Any]]:
    """The values of three processes."""
    return [json.loads(text) for text in together(EXCHANGE, 3)]


@pytest.mark.slow
def test_every_process_has_the_same_value(exchanged: list[dict[str, Any]]) -> None:
    assert [found.pop("first") for found in exchanged] == [True, False, False]
    assert exchanged[0] == exchanged[1] == exchanged[2] == {
        "broadcast": ["from", 0],
        "gather": [{"rank": 0}, {"rank": 1}, {"rank": 2}],
        "max": [2, 9],
        "sum": [3.0, 3.0],
        "buffer": [5.0, 5.0],
        "left": True,
    }  # fmt: skip


TWICE = """
import os, time
from excite.system.world import process_group

for number in range(3):
    if os.environ["RANK"] == "0":
        time.sleep(0.3)  # the other one looks for this process first, and must not find where it was before
    with process_group("cpu") as world:
        values = world.gather(number + world.rank)
    print(*values)
"""


@pytest.mark.slow
def test_processes_can_join_again() -> None:
    first, second = together(TWICE, 2)
    assert first == second == "0 1\n1 2\n2 3\n"
