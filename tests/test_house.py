"""The layers of the package: allowed imports, and the cost of importing it."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import excite
from excite import api

PACKAGE = Path(excite.__file__).parent
LAYERS = {
    "errors": 0,
    "version": 0,
    "system": 1,
    "config": 1,
    "attention": 1,
    "kernels": 1,
    "plugins": 1,
    "data": 2,
    "insertion": 2,
    "models": 3,
    "evaluation": 3,
    "audit": 3,
    "bundle": 3,
    "inference": 4,
    "keras": 4,
    "serving": 4,
    "training": 5,
    "runs": 5,
    "tracking": 5,
    "pipeline": 6,
    "explain": 6,
    "export": 6,
    "reporting": 7,
    "study": 8,
    "api": 8,
    "cli": 9,
    "__main__": 10,
    "__init__": 10,  # names all public functions; nothing inside the package imports it
}
# Package -> packages that it never imports, whatever their layers.
NEVER = {
    "training": {"evaluation"},
    "evaluation": {"training"},
    "models": {"data"},
    "data": {"models"},
    "export": {"training", "pipeline"},
    "explain": {"training", "pipeline"},
    "bundle": {"attention", "kernels", "insertion", "models", "inference", "training", "runs"},
    "serving": {"attention", "kernels", "insertion", "models", "inference", "training", "runs"},
}


@cache
def trees() -> dict[Path, ast.Module]:
    """Every file of the package, parsed."""
    return {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def package_of(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def imports() -> list[tuple[str, str, str]]:
    """(file, its package, the package that it imports) for every import inside the package."""
    found = []
    for path, tree in trees().items():
        inside = path.relative_to(PACKAGE)
        package = inside.parts[0].removesuffix(".py")
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            found += [
                (str(inside), package, package_of(name)) for name in names if name.split(".")[0] == "excite"
            ]
    return found


@pytest.mark.slow
def test_no_layer_imports_a_higher_one() -> None:
    packages = {package for _, package, _ in imports()}
    assert packages <= set(LAYERS)
    for file, package, other in imports():
        assert LAYERS[other] <= LAYERS[package], f"{file} imports {other}"


@pytest.mark.slow
def test_no_files_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path, tree in trees().items():
        name = ".".join(("excite", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
            ".__init__"
        )
        graph[name] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                graph[name] |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    graph = {name: {other for other in others if other in graph} for name, others in graph.items()}
    while leaves := {name for name, others in graph.items() if not others}:
        graph = {name: others - leaves for name, others in graph.items() if name not in leaves}
    assert not graph, f"in or behind a circle: {sorted(graph)}"


@pytest.mark.slow
def test_no_package_imports_what_it_never_may() -> None:
    assert NEVER["training"] <= set(LAYERS)
    for file, package, other in imports():
        assert other not in NEVER.get(package, set()), f"{file} imports {other}"


TORCH_FREE = ("bundle", "serving")  # packages that no import chain leads to these libraries
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "safetensors",
    "pandas",
    "scipy",
    "sklearn",
    "matplotlib",
    "numba",
    "cv2",
}


# Imported only where a DataFrame is asked for, PredictionList.table.
OPTIONAL = {("bundle", "prediction.py"): {"pandas"}}


def runtime_imports(path: Path) -> set[str]:
    """The modules that a file imports when it runs, in functions too, but not for types only."""
    tree = trees()[path]
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def import_chain(path: Path) -> set[str]:
    """All modules that importing a file leads to: excite's by their file, and libraries by name."""
    files = {
        ".".join(("excite", *each.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): each
        for each in trees()
    }
    found: set[str] = set()
    waiting = [path]
    seen: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in runtime_imports(file) - OPTIONAL.get(file.relative_to(PACKAGE).parts[-2:], set()):
            found.add(name.split(".")[0])
            if name in files:
                waiting.append(files[name])
    return found


@pytest.mark.parametrize("package", TORCH_FREE)
def test_no_import_chain_of_a_bundle_leads_to_the_libraries_of_the_training(package: str) -> None:
    for path in trees():
        if path.relative_to(PACKAGE).parts[0] == package:
            assert not import_chain(path) & HEAVY, path


def test_import_chains_are_followed() -> None:
    assert {"torch", "scipy", "pandas"} <= import_chain(PACKAGE / "runs" / "classifier.py")
    assert {"numpy", "PIL", "onnxruntime"} <= import_chain(PACKAGE / "bundle" / "predictor.py")


def test_no_function_is_longer_than_a_screen() -> None:
    """At most 60 lines of body, without the docstring."""
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                start = node.body[ast.get_docstring(node) is not None :] or node.body
                lines = (node.end_lineno or 0) - start[0].lineno + 1
                assert lines <= 60, f"{path.relative_to(PACKAGE)}: {node.name} has {lines} lines"


def test_importing_the_package_imports_nothing_slow() -> None:
    code = "import sys, excite; print(sorted({'torch', 'numpy', 'pandas', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists_and_no_package_hides_it() -> None:
    """Importing ``excite.<name>`` replaces the name by the package, which then can be called."""
    names = vars(excite)["__all__"]
    assert len(names) == len(set(names)) > 10
    for name in names:
        public = getattr(excite, name)
        assert public is not None
        if (PACKAGE / name).is_dir():
            assert importlib.import_module(f"excite.{name}") is public
            assert inspect.signature(public) == inspect.signature(getattr(api, name))
    with pytest.raises(AttributeError, match="trian"):
        excite.trian  # type: ignore[attr-defined]  # noqa: B018
