"""Which plug-ins a run uses, and whether they are there when it is used later."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from excite.config.train_config import TrainConfig
from excite.errors import ExciteError
from excite.models.catalog import find_library
from excite.models.plugin_network import PLUGIN
from excite.plugins.record import describe, require_plugins
from excite.plugins.registry import registered
from excite.runs.run import CLAIM, Run

OF_NETWORK = ("attention", "model")


def used_plugins(config: TrainConfig) -> list[dict[str, Any]]:
    """The plug-ins that a resolved configuration names, as ``excite.plugins.record.describe``."""
    named = [
        *_network_names(config.model, config.attention),
        ("augmentation", config.augment),
        ("loss", config.loss),
        *(("hook", name) for name in config.track),
    ]
    return _described(named)


def network_plugins(architecture: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The plug-ins that the arguments of ``create_model`` name, without the places of their files.

    A classifier may be given to others, who have no use for them.
    """
    if "name" not in architecture:
        return []
    found = _described(_network_names(architecture["name"], architecture.get("attention") or "none"))
    return [{name: value for name, value in each.items() if name != "file"} for each in found]


def require_run_plugins(run: Run) -> None:
    """Raises: ExciteError if a plug-in that a run was begun with is missing, with the way to bring it."""
    require_plugins(run.read_json(CLAIM).get("plugins", ()), run.path)


def require_network_plugins(run: Run, facts: Mapping[str, Any]) -> None:
    """The same for what the network of a finished run takes.

    Args:
        facts: its ``classifier.json``.

    Raises:
        ExciteError: if a plug-in is missing.
    """
    noted = facts.get("plugins", ())
    with suppress(ExciteError):  # a classifier of others has no such file
        noted = run.read_json(CLAIM).get("plugins", noted)
    require_plugins(noted, run.path, OF_NETWORK)


def _network_names(model: str, attention: str) -> list[tuple[str, str]]:
    if model == "auto":
        return [("attention", attention)]
    library, bare = find_library(model)
    return [("attention", attention), *([("model", bare)] if library == PLUGIN else [])]


def _described(named: list[tuple[str, str]]) -> list[dict[str, Any]]:
    found = [registered(kind, name) for kind, name in named]
    return [describe(plugin) for plugin in found if plugin is not None and not plugin.built_in]
