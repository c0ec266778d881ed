"""Classifiers of others: a folder written by ``excite export --format hub``, or a repository on the hub.

Nothing in such a folder is trusted: it names the arguments that build the network and the files of weights.
Weights are safetensors; nothing is unpickled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from excite.errors import ExciteError
from excite.runs.hub import PREFIX, download
from excite.runs.run import Run

# Arguments of create_model with which a library reads other files, or downloads them.
_REFUSED = (
    "pretrained",
    "weights",
    "checkpoint_path",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "cache_dir",
)
_MEMBER = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)


def open_classifier(path: str | Path) -> Run:
    """The folder with the classifier: a run, an exported folder, or ``hub:owner/name``, which is downloaded.

    Raises:
        ExciteError: if there is none, or a folder that was exported names what no classifier needs.
    """
    if str(path).startswith(PREFIX):
        return _checked(download(str(path).removeprefix(PREFIX)))
    folder = Path(path)
    if (folder / "classifier.json").is_file() and not (folder / "config.yaml").is_file():
        return _checked(folder)
    return Run.open(folder)


def _checked(folder: Path) -> Run:
    run = Run(folder)
    facts = run.read_json("classifier.json")
    where = folder / "classifier.json"
    _check_architecture(facts, where)
    for member in facts.get("members", ()):
        name = str(member.get("run")) if isinstance(member, Mapping) else ""
        if not _MEMBER.fullmatch(name) or ".." in name.split("/"):
            raise ExciteError(f"is refused: it names the folder {name!r}", where=where)
        inner = Run(folder / name)
        _check_architecture(inner.read_json("classifier.json"), inner.path / "classifier.json")
    return run


def _check_architecture(facts: Mapping[str, Any], where: Path) -> None:
    """Raises: ExciteError for arguments with which a library would read or download other files."""
    architecture = facts.get("architecture", {})
    if not isinstance(architecture, Mapping):
        raise ExciteError("is damaged: its architecture is not a mapping", where=where)
    for name in _REFUSED:
        if architecture.get(name):
            raise ExciteError(f"is refused: its architecture sets {name}", where=where)
