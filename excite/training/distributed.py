"""Networks of trainings on several processes: batch norm and gradients across them."""

from __future__ import annotations

import torch
from torch import nn

from excite.insertion.insert import convert
from excite.system.world import World


def synchronize_batch_norm(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """On several GPUs, replace batch norms by SyncBatchNorm.

    On CPUs, for which there is none, each process normalizes with its own part of the batch, and the running
    statistics of the first process are saved.
    """
    if world.size == 1 or device.type != "cuda":
        return model
    from timm.layers import convert_sync_batchnorm  # unlike torch's, it converts timm's norms

    return convert(model, convert_sync_batchnorm)


def wrap(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """The model as it is trained: on several processes DistributedDataParallel averages its gradients."""
    if world.size == 1:
        return model
    return nn.parallel.DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)
