"""What a run notes about its plug-ins is what was used; what is missing later is named with its remedy."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import pytest

import excite
from excite.errors import ExciteError, ExciteWarning
from excite.plugins import loading
from excite.plugins.loading import load_modules
from excite.plugins.record import describe, require_plugins
from excite.plugins.registry import get
from tests.plugins.test_loading import install, site
from tests.plugins.test_registry import write_module

__all__ = ["site"]
pytestmark = pytest.mark.usefixtures("own_names")
NOTED: dict[str, Any] = {
    "kind": "loss",
    "name": "mine",
    "module": "my_parts",
    "file": None,
    "sha256": "0",
    "package": None,
    "version": None,
}


def test_an_installed_plugin_is_described_with_its_package_and_hash(site: Path) -> None:
    file = write_module(site, "my_installed")
    install(site, "my-package", "my_installed", version="3.4")
    assert describe(get("loss", "mine")) == {
        "kind": "loss",
        "name": "mine",
        "module": "my_installed",
        "file": str(file),
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "package": "my-package",
        "version": "3.4",
    }


def test_a_plugin_of_a_session_has_neither_file_nor_package() -> None:
    exec("r('loss', 'typed')(int)", {"r": excite.register, "__name__": "__main__"})
    described = describe(get("loss", "typed"))
    assert (described["module"], described["file"], described["sha256"]) == ("__main__", None, None)


@pytest.mark.parametrize(
    ("noted", "hint"),
    [
        ({"package": "my-package", "version": "1"}, "pip install my-package"),
        ({}, "add --import my_parts; in Python, import my_parts first"),
        ({"file": "/elsewhere/my_parts.py"}, "add --import /elsewhere/my_parts.py"),
        ({"module": "lab.parts", "file": "/elsewhere/lab/parts.py"}, "add --import lab.parts"),
        (
            {"module": "__main__", "file": "/elsewhere/train.py"},
            "move it from /elsewhere/train.py into a module",
        ),
        ({"module": "__main__"}, "move it from a session into a module"),
    ],
)
def test_a_missing_plugin_is_named_with_the_run_and_the_way_to_bring_it(
    noted: dict[str, Any], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExciteError) as raised:
        require_plugins([NOTED | noted], Path("runs/photos"))
    assert raised.value.where == "runs/photos"
    assert "was trained with the loss 'mine'" in raised.value.what
    assert (raised.value.hint or "").startswith(hint)


def test_a_file_in_the_working_directory_is_named_as_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_module(tmp_path, "my_parts")
    with pytest.raises(ExciteError, match=r"add --import my_parts;"):
        require_plugins([NOTED | {"file": "/elsewhere/my_parts.py"}], Path("run"))


def test_what_a_run_says_is_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even from the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(loading, "_searched", False)
    (tmp_path / "my_parts.py").write_text("raise AssertionError('imported')")
    with pytest.raises(ExciteError, match="which is not loaded"):
        require_plugins([NOTED | {"file": str(tmp_path / "my_parts.py")}], Path("run"))


def test_a_changed_source_is_a_warning_and_an_unchanged_one_is_none(tmp_path: Path) -> None:
    file = write_module(tmp_path, "my_parts")
    load_modules(["my_parts"], tmp_path)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        require_plugins([NOTED | {"sha256": digest}], Path("run"))
        require_plugins([NOTED | {"name": "absent"}], Path("run"), kinds=["attention"])
    with pytest.warns(
        ExciteWarning, match=r"run: the source of the loss 'mine', .*my_parts.py, is not the one"
    ):
        require_plugins([NOTED | {"sha256": "f" * 64}], Path("run"))


def test_a_damaged_note_names_nothing() -> None:
    require_plugins([{"kind": "os", "name": "system"}, {}], Path("run"))
