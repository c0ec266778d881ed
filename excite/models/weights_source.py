"""Whether the pretrained weights of a network can be had, checked before anything else is done."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import torch

from excite.errors import ExciteError
from excite.models.catalog import find_library
from excite.models.packaged_weights import find_packaged, is_local, local_networks
from excite.models.plugin_network import PLUGIN
from excite.models.third_party import alternatives, is_reachable

FILES = ("model.safetensors", "pytorch_model.bin")  # of the weights in a repository of the hub


def require_weights(name: str) -> None:
    """Refuse weights that are neither on this machine nor on a server that answers, within a second.

    Args:
        name: of a network, as ``create_model`` takes it; ``auto`` is the default network, whose weights a
            package has.

    Raises:
        ExciteError: for an unknown name, and for weights out of reach, with what can be done.
    """
    if name == "auto":
        if local_networks():
            return
        name = "densenet121"
    library, bare = find_library(name)
    if library == PLUGIN:  # building the network says whether it has any
        return
    packaged = find_packaged(name)
    if packaged is not None and is_local(packaged):
        return
    cached, server = _torchvision(bare) if library == "torchvision" else _hub(bare)
    if cached or not server or is_reachable(server):
        return
    what = f"could not download the pretrained weights: no connection to {urlsplit(server).hostname}"
    raise ExciteError(what, where=name, hint=alternatives(name))


def _hub(name: str) -> tuple[bool, str]:
    """Whether the weights are in the hub's cache, and its address; "" if building the network says more."""
    import timm
    from huggingface_hub import constants, try_to_load_from_cache

    try:
        declared = timm.models.get_pretrained_cfg(name)
    except RuntimeError:  # a tag that the network does not have
        return False, ""
    if declared is None or not declared.hf_hub_id:
        return False, ""
    files = (try_to_load_from_cache(declared.hf_hub_id, file) for file in FILES)
    return any(isinstance(file, str) for file in files), constants.ENDPOINT


def _torchvision(name: str) -> tuple[bool, str]:
    """Whether the weights are in torch's cache, and the address of their server."""
    import torchvision

    url = torchvision.models.get_model_weights(name).DEFAULT.url
    file = PurePosixPath(urlsplit(url).path).name
    return (_torch_cache() / file).is_file(), url


def _torch_cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"
