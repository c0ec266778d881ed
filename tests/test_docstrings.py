"""The examples in docstrings run, and every public name has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import excite
from tests.conftest import make_pictures

PACKAGE = Path(excite.__file__).parent
MODULES = [
    ".".join(("excite", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
    and path.parent.name != "keras"  # in a process of its own: tests/keras/test_examples.py
]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"photos": make_pictures(tmp_path / "photos")}  # a folder of class folders
    result = doctest.testmod(importlib.import_module(name), extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in vars(excite)["__all__"] if name != "__version__"])
def test_every_public_name_has_an_example(name: str) -> None:
    public = getattr(excite, name)
    texts = [inspect.getdoc(public) or ""]
    if inspect.isclass(public):
        texts += [inspect.getdoc(method) or "" for _, method in inspect.getmembers(public, callable)]
    assert any(">>>" in text for text in texts)
