"""The networks of an ensemble; networks that differ only in their heads are loaded as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from excite.models.head import head_path, replace_head
from excite.runs.classifier_file import load_network
from excite.runs.run import Run


def member_networks(members: Sequence[Run], known: Sequence[Mapping[str, Any]]) -> list[nn.Module]:
    """The members' networks; one with all heads if they differ only in these, as linear probes do."""
    first = load_network(members[0], known[0])
    if len(members) > 1 and all(own["architecture"] == known[0]["architecture"] for own in known):
        heads = _heads(first, members)
        if heads is not None:
            return [_with_heads(first, heads)]
    return [first, *(load_network(*each) for each in zip(members[1:], known[1:], strict=True))]


def _heads(first: nn.Module, members: Sequence[Run]) -> list[dict[str, Tensor]] | None:
    """The tensors of each member's head, by name; None if the members differ in others, too."""
    path = head_path(first)
    if not isinstance(first.get_submodule(path), nn.Linear):
        return None
    trunk = {name: value for name, value in first.state_dict().items() if not name.startswith(f"{path}.")}
    heads = []
    for member in members:
        tensors = load_file(member.weights)
        if not all(name in tensors and torch.equal(value, tensors[name]) for name, value in trunk.items()):
            return None
        heads.append({name: value for name, value in tensors.items() if name not in trunk})
    return heads


def _with_heads(model: nn.Module, heads: Sequence[Mapping[str, Tensor]]) -> nn.Module:
    """The network with the heads of all members stacked in one layer."""
    path = head_path(model)
    stacked = {name: torch.cat([head[name] for head in heads]) for name in heads[0]}
    replace_head(model, len(stacked[f"{path}.weight"]))
    model.load_state_dict(stacked, strict=False)
    return model
