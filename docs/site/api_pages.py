"""Pages of the public names of a package, for mkdocstrings: their docstrings are the text."""

from __future__ import annotations

import ast
from pathlib import Path

# Page of the reference -> (its title, the public names on it). Names that are not here have their own page.
PAGES = {
    "commands-in-python": (
        "Commands as functions",
        ["train", "evaluate", "compare", "audit", "split", "explain", "study"],
    ),
    "runs-and-classifiers": ("Runs and classifiers", ["Run", "Classifier", "TrainConfig", "ExciteError"]),
    "attention-in-python": ("Attention", ["SqueezeExcitation", "insert", "remove", "sites", "measure_gates"]),
    "own-parts-in-python": ("Parts of one's own", ["register", "Hook"]),
    "networks": ("Networks", ["create_model", "list_models", "optimize_for_inference"]),
}


def public_names(file: Path) -> dict[str, str]:
    """Public names of a package and the modules that define them, from ``from .x import name as name``."""
    found = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            prefix = "excite." if node.level else ""
            for alias in node.names:
                if alias.asname == alias.name:
                    found[alias.name] = f"{prefix}{node.module}.{alias.name}"
    return found


def page(title: str, introduction: str, paths: list[str]) -> str:
    return "\n\n".join([f"# {title}", introduction, *(f"::: {path}" for path in paths)]) + "\n"


def api_pages(package: Path) -> dict[str, str]:
    """Each page of the reference with its text.

    Raises:
        ValueError: a page lists a name that is not public.
    """
    where = public_names(package / "__init__.pyi")
    where.pop("__version__", None)
    listed = [name for _, names in PAGES.values() for name in names]
    if gone := set(listed) - set(where):
        raise ValueError(f"these names are on a page but not public: {sorted(gone)}")
    others = [name for name in where if name not in listed]
    shown = PAGES | ({"further-names": ("Further names", others)} if others else {})
    pages = {
        f"reference/python/{uri}.md": page(title, "Each is `excite.NAME`.", [where[name] for name in names])
        for uri, (title, names) in shown.items()
    }
    keras = list(public_names(package / "keras" / "__init__.py").values())
    pages["reference/python/keras.md"] = page("Keras", "Each is `excite.keras.NAME`.", keras)
    return pages
