"""Checkpoints: tensors and metadata in one file with a hash; the last two are on disk."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from excite.errors import ExciteError, ExciteWarning
from excite.models.weights import save_tensors
from excite.system.files import sync_folder

LAST, PREVIOUS = "last.safetensors", "previous.safetensors"


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON facts to ``last.safetensors``, which becomes ``previous.safetensors`` first."""
    text = json.dumps(facts)
    fresh = folder / f"next-{LAST}"
    save_tensors(fresh, tensors, {"facts": text, "sha256": _digest(tensors, text)})
    if (folder / LAST).exists():  # a crash between these two renames leaves the previous one
        (folder / LAST).replace(folder / PREVIOUS)
    fresh.replace(folder / LAST)
    sync_folder(folder)
    for leftover in folder.glob(f".{fresh.name}.*.tmp"):  # of a process that was killed while writing
        leftover.unlink(missing_ok=True)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is a checkpoint, intact or not."""
    return any((folder / name).exists() for name in (LAST, PREVIOUS))


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest intact checkpoint; None if there is none. A damaged one is skipped with a warning.

    Raises: ExciteError if there are checkpoints and all are damaged.
    """
    paths = [path for path in (folder / LAST, folder / PREVIOUS) if path.exists()]
    for path in paths:
        try:
            return _read(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            warnings.warn(f"{path}: damaged checkpoint skipped ({error})", ExciteWarning, stacklevel=2)
    if paths:
        raise ExciteError("every checkpoint is damaged", where=folder, hint="start again without --resume")
    return None


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    if _digest(tensors, header["facts"]) != header["sha256"]:
        raise ValueError("the content does not match the hash")
    return tensors, json.loads(header["facts"])


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
