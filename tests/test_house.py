"""The plan of the house: what may import what, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import excite

HOUSE = Path(excite.__file__).parent
FLOORS = {
    "errors": 0,
    "version": 0,
    "system": 1,
    "config": 1,
    "attention": 1,
    "kernels": 1,
    "data": 2,
    "insertion": 2,
    "models": 3,
    "evaluation": 3,
    "audit": 3,
    "inference": 4,
    "keras": 4,
    "training": 5,
    "runs": 5,
    "pipeline": 6,
    "export": 6,
    "reporting": 7,
    "study": 8,
    "api": 8,
    "cli": 9,
    "__main__": 10,
    "__init__": 10,  # the front door names everybody, and nobody goes through it from inside
}
# Pairs that never import each other, whatever their floors: an oracle of one is the other's input.
APART = [("training", "evaluation"), ("models", "data"), ("export", "training"), ("export", "pipeline")]


def room_of(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def imports() -> list[tuple[str, str, str]]:
    """(file, its room, room that it imports) for every import inside the package."""
    found = []
    for path in sorted(HOUSE.rglob("*.py")):
        inside = path.relative_to(HOUSE)
        room = inside.parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            found += [(str(inside), room, room_of(name)) for name in names if name.split(".")[0] == "excite"]
    return found


def test_no_floor_imports_a_higher_one() -> None:
    rooms = {room for _, room, _ in imports()}
    assert rooms <= set(FLOORS)
    for file, room, other in imports():
        assert FLOORS[other] <= FLOORS[room], f"{file} imports {other}"


def test_no_files_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in sorted(HOUSE.rglob("*.py")):
        name = ".".join(("excite", *path.relative_to(HOUSE).with_suffix("").parts)).removesuffix(".__init__")
        graph[name] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                graph[name] |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    graph = {name: {other for other in others if other in graph} for name, others in graph.items()}
    while leaves := {name for name, others in graph.items() if not others}:
        graph = {name: others - leaves for name, others in graph.items() if name not in leaves}
    assert not graph, f"in or behind a circle: {sorted(graph)}"


@pytest.mark.parametrize(("one", "other"), APART)
def test_neighbors_do_not_import_each_other(one: str, other: str) -> None:
    for file, room, imported in imports():
        assert {room, imported} != {one, other}, f"{file} imports {imported}"


def test_importing_the_package_imports_nothing_slow() -> None:
    code = "import sys, excite; print(sorted({'torch', 'numpy', 'pandas', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in excite.__all__:
        assert getattr(excite, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        excite.trian  # noqa: B018
