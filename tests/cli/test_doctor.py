"""excite doctor"""

from __future__ import annotations

import importlib.util
import json
import platform
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import excite
from excite.cli import doctor
from excite.cli.doctor import BASE, CORE, NEEDS
from tests.conftest import Command


@pytest.mark.slow
def test_versions_are_those_that_are_installed(excite_command: Command) -> None:
    done = excite_command("doctor")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[1:]
    rows = dict(line.split(maxsplit=1) for line in lines if len(line.split()) > 1)
    assert rows["python"].strip() == platform.python_version()
    for distribution in CORE.values():
        assert rows[distribution].strip() == metadata.version(distribution)
    assert done.stdout.count("  ready") == len(NEEDS)


def test_json_has_packages_and_machine(excite_command: Command) -> None:
    found = json.loads(excite_command("doctor", "--json").stdout)
    assert found["packages"]["torch"] == {"version": metadata.version("torch"), "fault": None}
    assert found["missing"] == {verb: [] for verb in NEEDS}
    assert {"device", "precision", "kernels", "threads", "cache"} <= found["machine"].keys()


def test_a_package_that_cannot_be_imported_is_named_with_what_needs_it_and_the_command(
    excite_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken build raises nearly anything, here over several lines."""

    def broken(module: str) -> object:
        if module == "timm":
            raise OSError("libcudart.so.12:\n  cannot open shared object file")
        return __import__(module)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    done = excite_command("doctor")
    assert done.returncode == 1
    assert "OSError: libcudart.so.12: cannot open shared object file" in done.stdout
    needing = [verb for verb, modules in NEEDS.items() if "timm" in modules]
    for verb in NEEDS:
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"excite {verb} "))
        assert ("missing: timm" in line) == (verb in needing)
    assert done.stderr == "excite: error: some commands cannot run (pip install timm)\n"
    if importlib.util.find_spec("onnxruntime") is not None:
        assert "ready for exported files; for run folders, missing: timm" in done.stdout


@pytest.mark.parametrize("serves", [True, False])
def test_an_environment_for_serving_is_complete_without_training(
    serves: bool, excite_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``pip install "excite[serve]"``; without any extra, ``doctor`` ends with an error."""

    def only_base(module: str) -> object:
        if module not in BASE:
            raise ModuleNotFoundError(f"No module named {module!r}")
        return __import__(module)

    monkeypatch.setattr(doctor.importlib, "import_module", only_base)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _name: object() if serves else None)
    done = excite_command("doctor")
    assert done.returncode == (0 if serves else 1)
    error = 'excite: error: some commands cannot run (pip install "excite[train]")\n'
    assert done.stderr == ("" if serves else error)


@pytest.mark.slow
def test_an_unusable_cache_is_reported_without_an_error(
    excite_command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / "file" / "below"))
    done = excite_command("doctor")
    assert done.returncode == 0, done.stderr
    assert "none: " in done.stdout
    assert "set EXCITE_CACHE to a folder that can be written to" in done.stdout


def test_every_command_and_every_dependency_is_there(excite_command: Command) -> None:
    """As ``excite --help`` lists them, and as pip installs them."""
    commands = set(re.findall(r"^│ (\w+) ", excite_command("--help").stdout, re.M)) - {"doctor", "cache"}
    assert set(NEEDS) == commands
    project = Path(excite.__file__).parents[1] / "pyproject.toml"
    declared = tomllib.loads(project.read_text())["project"]
    base = _names(declared["dependencies"])
    assert base == {CORE[name].lower().replace("_", "-") for name in BASE}
    names = base | _names(declared["optional-dependencies"]["train"])
    listed = {name.lower().replace("_", "-") for name in CORE.values()}
    assert {name for name in names if not name.startswith("efficientnet")} == listed


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=]", text)[0].lower().replace("_", "-") for text in requirements}


def test_what_an_option_lacks_is_told_and_is_no_error(
    excite_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _name: None)
    done = excite_command("doctor")
    assert done.returncode == 0
    lines = {line[:16].strip(): line for line in done.stdout.splitlines()}
    assert 'all of it needs SQLAlchemy: pip install "excite[study]"' in lines["excite study"]
    assert "--out FILE.xlsx needs openpyxl" in lines["excite predict"]
    assert "  ready; --track tensorboard needs tensorboard: pip install" in lines["excite train"]


@pytest.mark.slow
def test_caches_are_listed_with_their_sizes(
    excite_command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pixels").mkdir()
    (tmp_path / "pixels" / "x.npy").write_bytes(bytes(2_500_000))
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path))
    found = json.loads(excite_command("doctor", "--json").stdout)
    assert found["caches"]["pixels"] == 2_500_000
    assert found["excite"] == excite.__version__
    assert "cache/pixels" in excite_command("doctor").stdout


def test_it_has_no_other_options(excite_command: Command) -> None:
    done = excite_command("doctor", "--jsn")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--json" in done.stderr
    assert done.stderr.count("\n") == 1
