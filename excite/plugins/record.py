"""What a run notes about the plug-ins that it was trained with, and whether they are there later."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from excite.errors import ExciteError, ExciteWarning
from excite.plugins.loading import GROUP
from excite.plugins.registry import KINDS, Plugin, find


def describe(plugin: Plugin) -> dict[str, Any]:
    """Kind, name, module, file and its SHA-256, and the installed package with its version, if any."""
    package, version = _package(plugin.module)
    return {
        "kind": plugin.kind,
        "name": plugin.name,
        "module": plugin.module,
        "file": None if plugin.file is None else str(plugin.file),
        "sha256": plugin.sha256,
        "package": package,
        "version": version,
    }


def require_plugins(noted: Iterable[Mapping[str, Any]], where: Path, kinds: Iterable[str] = KINDS) -> None:
    """Check the plug-ins that a run was trained with; a source that has changed is a warning.

    Args:
        noted: as ``describe``, read from the run.
        where: the run.
        kinds: those that are needed; the others are not looked at.

    Raises:
        ExciteError: for one that is missing, with the option or the package that brings it.
    """
    for each in noted:
        kind, name = str(each.get("kind")), str(each.get("name"))
        if kind not in KINDS or kind not in kinds:
            continue
        plugin = find(kind, name)
        if plugin is None:
            what = f"was trained with the {kind} {name!r} of {_origin(each)}, which is not loaded"
            raise ExciteError(what, where=where, hint=_remedy(each))
        if each.get("sha256") != plugin.sha256:
            text = f"{where}: the source of the {kind} {name!r}, {plugin.file or plugin.module}, "
            text += "is not the one that this run was trained with"
            warnings.warn(text, ExciteWarning, stacklevel=2)


def _origin(noted: Mapping[str, Any]) -> str:
    module, package = noted.get("module"), noted.get("package")
    return f"{module} (package {package} {noted.get('version')})" if package else f"{module}"


def _remedy(noted: Mapping[str, Any]) -> str:
    """How to bring a plug-in: an installed package, a module within reach, or the file that it was."""
    module, file = str(noted.get("module")), noted.get("file")
    if noted.get("package"):
        return f"pip install {noted['package']}"
    if module == "__main__":
        script = file or "a session"
        return f"move it from {script} into a module, and add --import MODULE; in Python, import that module"
    name = module
    if "." not in module and file and Path(str(file)).stem == module and not Path(f"{module}.py").is_file():
        name = str(file)
    return f"add --import {name}; in Python, import {module} first"


def _package(module: str) -> tuple[str | None, str | None]:
    """The installed package that a module belongs to, and its version."""
    top = module.partition(".")[0]
    for entry in metadata.entry_points(group=GROUP):
        if entry.module.partition(".")[0] == top and entry.dist is not None:
            return entry.dist.name, entry.dist.version
    with suppress(metadata.PackageNotFoundError, LookupError):
        name = metadata.packages_distributions()[top][0]
        return name, metadata.version(name)
    return None, None
