"""The processes of a distributed training, and their communication."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from excite.errors import BAD_USAGE, ExciteError

T = TypeVar("T")


def first_process() -> bool:
    """Whether this is the process that writes and prints; also valid before the process group exists."""
    return os.environ.get("RANK", "0") == "0"


# One process compares the images of the audit, and writes the run folder, while the others wait for it.
PROCESS_GROUP_TIMEOUT = timedelta(hours=12)


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Args:
        rank: number of this process, from 0.
        size: number of processes.
        local_rank: number of this process on its machine; chooses the GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    def broadcast(self, value: T) -> T:
        """The value of the first process, on every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """The values of all processes by rank, on every process."""
        if self.size == 1:
            return [value]
        boxes: list[Any] = [None] * self.size
        dist.all_gather_object(boxes, value)
        return boxes

    def barrier(self) -> None:
        """Wait until all processes have reached this call."""
        if self.size > 1:
            dist.barrier()

    def all_reduce_max(self, values: list[int]) -> list[int]:
        """The maximum of each value over all processes; on the CPU, so that no accelerator is waited for."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=_control_group())
        return tensor.tolist()

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Copy the buffers of the first process, such as running statistics, to all processes."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values


_CONTROL: list[dist.ProcessGroup] = []
_JOINS = count()


@cache
def _store() -> dist.Store:
    """The store in which the processes find one another; the first one may host it, so it is opened once."""
    store, _, _ = next(rendezvous("env://", timeout=PROCESS_GROUP_TIMEOUT))
    return store


def _control_group() -> dist.ProcessGroup:
    return _CONTROL[0]


@contextmanager
def process_group(device: str) -> Iterator[World]:
    """Join the processes that torchrun started; without torchrun, there is one process.

    Args:
        device: ``cpu``, which uses gloo, or ``cuda``, which uses NCCL.

    Raises:
        ExciteError: for another device, or if a process has no GPU.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    if device not in ("cpu", "cuda"):
        raise ExciteError(
            f"training with several processes supports cpu and cuda, not {device}",
            where="--device",
            hint="use --device cpu, or one process",
            exit_code=BAD_USAGE,
        )
    world = World(int(os.environ["RANK"]), size, int(os.environ.get("LOCAL_RANK", "0")))
    if device == "cuda":
        needed, available = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
        if needed > available:
            what = f"{needed} processes need a GPU each, but there are {available}"
            hint = f"start torchrun with --nproc-per-node {available or 1}"
            raise ExciteError(what, hint=hint, exit_code=BAD_USAGE)
        torch.cuda.set_device(world.local_rank)
    # Each time under keys of its own: the store still has the addresses of an earlier group of processes.
    store = dist.PrefixStore(f"excite/{next(_JOINS)}", _store())
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(
        backend, store=store, rank=world.rank, world_size=world.size, timeout=PROCESS_GROUP_TIMEOUT
    )
    _CONTROL[:] = [cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=PROCESS_GROUP_TIMEOUT))]
    try:
        yield world
    finally:
        _CONTROL.clear()
        dist.destroy_process_group()
