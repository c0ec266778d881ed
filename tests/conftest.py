"""Shared by all tests: small image folders, a separate cache, and real data if it is available."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before anything imports torch: test processes run beside each other, and each has one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Before anything imports onnxruntime, which would open a database of events in the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Tests never touch the user's cache, not even for the kernels that are compiled when a test file is imported.
os.environ["EXCITE_CACHE"] = os.environ.get("EXCITE_TESTS_CACHE") or tempfile.mkdtemp(prefix="excite-tests-")

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from excite.plugins import loading, registry
from tests.leaks import no_leaks

if "EXCITE_TESTS_CACHE" not in os.environ:  # the workers of pytest-xdist share it: kernels are compiled once
    os.environ["EXCITE_TESTS_CACHE"] = os.environ["EXCITE_CACHE"]
    atexit.register(shutil.rmtree, os.environ["EXCITE_CACHE"], ignore_errors=True)
REAL_DATA = os.environ.get("EXCITE_TEST_DATA")  # described in CONTRIBUTING.md


# Options of a training that takes a moment: a network that learns the pictures of ``make_pictures``.
SMALL: dict[str, Any] = {
    "model": "densenet_bc_40_12",
    "model_options": {"block_config": [1, 1], "growth_rate": 4, "init_channels": 4},
    "image_size": 16,
    "batch_size": 8,
    "near_duplicates": False,
    "device": "cpu",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker waits for another at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def leaves_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test starts from the same random state and leaves nothing behind, see ``tests.leaks``."""
    torch.manual_seed(0)
    definitions = request.node._fixtureinfo.name2fixturedefs
    shared = {name: found[-1] for name, found in definitions.items() if found[-1].scope != "function"}
    values = {name: request.getfixturevalue(name) for name in shared if name in request.fixturenames}
    with no_leaks({name: value for name, value in values.items() if isinstance(value, nn.Module)}):
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL_DATA:
        pytest.skip("EXCITE_TEST_DATA names no folder with real images and weights")
    return Path(REAL_DATA)


def make_pictures(folder: Path, classes: int = 3, each: int = 20, size: tuple[int, int] = (24, 20)) -> Path:
    """A folder of class folders; each class is noise with a color of its own, learned in seconds."""
    random = np.random.default_rng(0)
    for number in range(classes):
        place = folder / "abcdefgh"[number]
        place.mkdir(parents=True)
        for index in range(each):
            pixels = random.integers(0, 120, (size[1], size[0], 3))
            pixels[:, :, number % 3] += 90
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"p{index % 10}_{index}.png")
    return folder


LABELS = ("red", "green", "blue")


def make_labeled_pictures(folder: Path, count: int = 90, size: tuple[int, int] = (24, 20)) -> Path:
    """A CSV of pictures in thirty groups, each of which may be reddish, greenish, and bluish at once."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = ["path,patient,site," + ",".join(LABELS)]
    for index in range(count):
        present = random.random(3) < (0.5, 0.4, 0.3)
        pixels = random.integers(0, 150, (size[1], size[0], 3)) + 90 * present
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:03}.png")
        values = ["1" if each else "0" for each in present]
        if index % 10 == 3:
            values[2] = ""  # unknown
        rows.append(f"{index:03}.png,p{index // 3},{'north' if index % 2 else 'south'}," + ",".join(values))
    table = folder / "labels.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three classes of twenty pictures, named p<group>_<index>.png with ten groups."""
    return make_pictures(tmp_path / "pictures")


@pytest.fixture
def own_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the test registers and imports is forgotten after it; no installed package is searched."""
    # They register built-in names, once in a process: not while the registry is a copy.
    for module in ("attention.registry", "models.registry", "data.augmentation", "training.losses"):
        importlib.import_module(f"excite.{module}")
    importlib.import_module("excite.tracking.hooks")
    monkeypatch.setattr(
        registry, "_REGISTERED", {kind: dict(of) for kind, of in registry._REGISTERED.items()}
    )
    monkeypatch.setattr(loading, "_imported", set())
    monkeypatch.setattr(loading, "_searched", True)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("my_"):  # the modules of tests
            del sys.modules[name]


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def excite_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs ``excite ...`` in an empty folder: inside this process, which has imported all it needs, or in one
    of its own with one thread where a ``launcher`` is named or ``alone`` is said."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.setenv("COLUMNS", "100")

    def run(
        *arguments: object, launcher: tuple[str, ...] = (), alone: bool = False
    ) -> subprocess.CompletedProcess[str]:
        texts = list(map(str, arguments))
        if not launcher and not alone:
            return inside(texts, place, monkeypatch)
        return subprocess.run(
            [sys.executable, *launcher, "-m", "excite", *texts],
            cwd=place,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def inside(
    arguments: list[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> subprocess.CompletedProcess[str]:
    """The command in this process, as if it were one of its own."""
    from excite.cli.app import run

    out, err = io.StringIO(), io.StringIO()
    with monkeypatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(place)
        try:
            code = run(arguments)
        except Exception:  # with --debug
            traceback.print_exc(file=err)
            code = 1
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
