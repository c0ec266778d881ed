"""The environment of a run: versions, device, command, commit."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from excite.config.train_config import TrainConfig
from excite.models.packaged_weights import describe_source
from excite.runs.used_plugins import used_plugins
from excite.version import __version__

# The packages that reports name.
LIBRARIES = ("torch", "torchvision", "timm", "safetensors", "Pillow", "numpy", "pandas", "scikit-learn")


def environment(config: TrainConfig, processes: int) -> dict[str, Any]:
    """The content of ``environment.json``, for a training by this number of processes."""
    return {
        "excite": __version__,
        "git": _git_state(),
        "command": sys.argv,
        "working_directory": os.getcwd(),  # noqa: PTH109
        "python": platform.python_version(),
        "system": platform.platform(),
        "packaged_weights": describe_source(config.model) if config.pretrained else None,
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "packages": _packages(),
        "plugins": used_plugins(config),
        "device": config.device,
        "threads": torch.get_num_threads(),
        "processes": processes,
        "seed": config.seed,
    }


def _packages() -> dict[str, str]:
    """Name -> version of all installed packages, by name."""
    found = {each.name: each.version for each in metadata.distributions() if each.name}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _git_state() -> dict[str, Any] | None:
    """The commit of the code, and whether files differ from it; None for an installed package."""
    home, git = Path(__file__).parents[1], shutil.which("git")
    if git is None or not (home.parent / ".git").exists():
        return None
    call = [git, "-C", str(home)]
    commit = subprocess.run([*call, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    status = subprocess.run([*call, "status", "--porcelain"], capture_output=True, text=True, check=False)
    if commit.returncode != 0:
        return None
    return {"commit": commit.stdout.strip(), "changed": bool(status.stdout.strip())}
