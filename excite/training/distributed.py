"""One process or many: torchrun's environment decides, the rest of the code asks here."""

from __future__ import annotations

import torch
from torch import nn

from excite.insertion.insert import convert
from excite.system.world import World


def synchronize_batch_norm(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """On several GPUs, batch norm over all of them (SyncBatchNorm). On CPUs, which have no such module, each
    process normalizes with its own share of the batch and the running statistics are the first process's."""
    if world.size == 1 or device.type != "cuda":
        return model
    from timm.layers import convert_sync_batchnorm  # unlike torch's own it knows timm's norms

    return convert(model, convert_sync_batchnorm)


def wrap(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """The model as the processes train it together; gradients are averaged over them."""
    if world.size == 1:
        return model
    return nn.parallel.DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)
