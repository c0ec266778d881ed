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
    "attention": 0,
    "errors": 0,
    "files": 0,
    "inference": 0,
    "text": 0,
    "kernels": 0,
    "system": 0,
    "insertion": 1,
    "keras": 1,
    "models": 1,
    "data": 1,
    "training": 2,
    "evaluation": 2,
    "runs": 3,
    "reporting": 4,
    "export": 4,
    "study": 5,
    "api": 5,
    "cli": 6,
    "__main__": 7,
}
STRANGERS = [("training", "evaluation"), ("models", "data")]  # on one floor, and not to import each other


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
    assert rooms - {"__init__"} <= set(FLOORS)
    for file, room, other in imports():
        if "__init__" not in (room, other):  # the front door names everybody
            assert FLOORS[other] <= FLOORS[room], f"{file} imports {other}"


@pytest.mark.parametrize(("one", "other"), STRANGERS)
def test_neighbours_do_not_import_each_other(one: str, other: str) -> None:
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
