"""Modules are imported when the user names them or an installed package declares them, and only then."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from excite.attention.registry import create_attention
from excite.errors import ExciteError, ExciteWarning
from excite.plugins import loading
from excite.plugins.loading import import_flags, load_modules
from excite.plugins.registry import find, names
from tests.plugins.test_registry import write_module

pytestmark = pytest.mark.usefixtures("own_names")


def install(site: Path, package: str, module: str, version: str = "1.2") -> None:
    """What an installer leaves of a package that declares a plug-in, beside its module."""
    folder = site / f"{package.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (folder / "entry_points.txt").write_text(f"[excite.plugins]\n{package} = {module}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(loading, "_searched", False)
    return folder


def test_a_module_or_a_file_in_the_folder_is_imported_once(tmp_path: Path) -> None:
    write_module(tmp_path, "my_module", registered="of-module")
    (tmp_path / "parts").mkdir()
    file = write_module(tmp_path / "parts", "my_file", registered="of-file")
    for _ in range(2):
        load_modules(["my_module", "parts/my_file.py", str(file)], tmp_path)
    assert find("loss", "of-module") is not None
    assert find("loss", "of-file") is not None
    assert sys.modules["my_file"].__file__ == str(file)


def test_a_file_finds_the_modules_beside_it(tmp_path: Path) -> None:
    (tmp_path / "my_helper.py").write_text("NAME = 'helped'\n")
    (tmp_path / "my_user.py").write_text(
        "import excite, my_helper\nexcite.register('loss', my_helper.NAME)(lambda: 1)"
    )
    load_modules([str(tmp_path / "my_user.py")])
    assert find("loss", "helped") is not None


def test_the_folder_hides_no_installed_module(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise AssertionError('this file was imported')")
    (tmp_path / "my_reader.py").write_text("import json\nassert json.loads('1') == 1")
    load_modules(["my_reader"], tmp_path)
    with pytest.raises(ExciteError, match="another module is called json"):
        load_modules(["json.py"], tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("my_missing", None, "--import my_missing: there is no module my_missing"),
        ("my_missing.py", None, "there is no such file"),
        ("my_broken", "1 / 0", "--import my_broken: ZeroDivisionError: division by zero"),
        ("my_typo.py", "def", "SyntaxError"),
        ("my_needy", "import my_absent", "there is no module my_absent"),
        ("my_clash", "import excite\nexcite.register('loss', 'cross_entropy')(int)", "registered already"),
    ],
)
def test_a_module_that_cannot_be_imported_is_an_error_of_one_line(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / f"{name.removesuffix('.py')}.py").write_text(content)
    with pytest.raises(ExciteError, match=message) as raised:
        load_modules([name], tmp_path)
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)


def test_an_installed_package_is_found_by_its_entry_point(site: Path) -> None:
    write_module(site, "my_installed")
    install(site, "my-package", "my_installed")
    assert find("loss", "mine") is not None


def test_a_built_in_name_searches_no_package_and_a_list_of_names_does(site: Path) -> None:
    write_module(site, "my_installed", kind="attention")
    install(site, "my-package", "my_installed")
    create_attention("se", 16)
    assert "my_installed" not in sys.modules
    assert "mine" in names("attention")
    assert "my_installed" in sys.modules


def test_a_package_that_fails_is_a_warning_and_the_others_work(site: Path) -> None:
    (site / "my_bad.py").write_text("raise ValueError('no license\\nfile')")
    install(site, "a-bad-package", "my_bad")
    write_module(site, "my_good")
    install(site, "good-package", "my_good")
    with pytest.warns(ExciteWarning, match="a-bad-package is left out: ValueError: no license file"):
        assert find("loss", "mine") is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find("loss", "other") is None  # searched once


def test_the_help_of_excite_searches_nothing() -> None:
    code = "import sys; from excite.cli.app import run; run(['train', '--help-all']);"
    code += "from excite.plugins import loading as l;"
    code += "print(l._searched, *(name in sys.modules for name in ('excite.plugins.record', 'torch')))"
    done = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert done.splitlines()[-1] == "False False False"


def test_flags_repeat_the_modules() -> None:
    assert import_flags(["a", "b.py"]) == ["--import", "a", "--import", "b.py"]
