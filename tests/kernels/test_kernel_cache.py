"""Compiled kernels are kept in the cache folder, and compiled again if it is damaged or missing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
import pytest
from numba import carray, types

from excite.kernels import kernel_cache
from excite.kernels.dispatch import kernel_mode, use_kernels
from excite.kernels.kernel_cache import build_key, compile_kernel
from excite.system import cache

PROCESSOR = ("x86_64-unknown-linux-gnu", "znver4", "+avx2")


def triple_numbers(arguments: Any) -> None:
    numbers = carray(arguments, 2)
    numbers[1] = 3 * numbers[0]


def compile_and_run() -> int:
    """Compile ``triple_numbers``, check its result, and return the number of cache hits."""
    kernel = compile_kernel(triple_numbers, types.void(types.CPointer(types.int64)))
    numbers = np.array([14, 0])
    kernel.ctypes(numbers.ctypes.data_as(kernel.ctypes.argtypes[0]))
    assert numbers.tolist() == [14, 42]
    return int(kernel.cache_hits)


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> Iterator[None]:
    build_key.cache_clear()
    yield
    build_key.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def cached_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_package_contains_only_sources() -> None:
    import excite.kernels.cpu.passes

    package = Path(excite.__file__).parent
    assert {path.suffix for path in package.rglob("*") if path.is_file()} <= {
        ".py", ".pyi", ".pyc", ".html", ".css", ".js", ".svg", ".md", ".typed",
        "", ".service", ".yaml",  # of services
    }  # fmt: skip
    names = {path.name for path in cached_files(Path(os.environ["EXCITE_CACHE"]) / "kernels")}
    assert {"norm_loops.scale.bin", "gate_loops.squeeze_excite.bin"} <= names


def test_a_kernel_is_compiled_once(folder: Path) -> None:
    assert [compile_and_run(), compile_and_run()] == [0, 1]
    [file] = cached_files(folder)
    assert file.name == "test_kernel_cache.triple_numbers.bin"


@pytest.mark.parametrize("change", ["cut", "changed", "empty", "folder"])
def test_a_damaged_file_is_compiled_again(folder: Path, change: str) -> None:
    compile_and_run()
    [file] = cached_files(folder)
    whole = file.read_bytes()
    if change == "folder":
        file.unlink()
        file.mkdir()
    else:
        half = len(whole) // 2
        changed = whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]
        file.write_bytes({"cut": whole[:half], "changed": changed, "empty": b""}[change])
    assert compile_and_run() == 0
    if change != "folder":
        assert compile_and_run() == 1


@pytest.mark.parametrize("place", ["a file", "below a file", "nobody's home", "no home"])
def test_without_a_folder_kernels_are_compiled_quietly(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    folders = {"a file": file, "below a file": file / "cache", "nobody's home": "~nobody-here", "no home": ""}
    monkeypatch.setenv("EXCITE_CACHE", str(folders[place]))
    if place == "no home":
        monkeypatch.setattr(cache, "user_cache_dir", lambda *_, **__: "~nobody-here/.cache/excite")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [compile_and_run(), compile_and_run()] == [0, 0]
    assert capfd.readouterr() == ("", "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_written_to_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_and_run()

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(kernel_cache, "replacing", refuse)
    assert compile_and_run() == 1
    [file] = cached_files(folder)
    file.unlink()
    assert compile_and_run() == 0
    assert cached_files(folder) == []


def test_the_key_names_all_that_code_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [build_key(PROCESSOR), build_key((*PROCESSOR[:2], "+avx512f"))]
    for module in (kernel_cache, numba, llvmlite):
        with monkeypatch.context() as patch:
            patch.setattr(module, "__version__", "0.0.1")
            build_key.cache_clear()
            keys.append(build_key(PROCESSOR))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version", "3.99")
        build_key.cache_clear()
        keys.append(build_key(PROCESSOR))
    with monkeypatch.context() as patch:
        patch.setenv("NUMBA_OPT", "1")
        build_key.cache_clear()
        keys.append(build_key(PROCESSOR))
    with monkeypatch.context() as patch:
        (tmp_path / "loops.py").write_text("changed = True")
        patch.setattr(kernel_cache, "files", lambda package: tmp_path)
        build_key.cache_clear()
        keys.append(build_key(PROCESSOR))
    assert len(set(keys)) == len(keys)
    build_key.cache_clear()
    assert build_key(PROCESSOR) == keys[0]


@pytest.mark.slow
def test_processes_compile_at_the_same_time(folder: Path) -> None:
    code = "from tests.kernels.test_kernel_cache import compile_and_run as run; run(); print(run())"
    commands = [[sys.executable, "-c", code]] * 2
    root = Path(__file__).parents[2]
    processes = [subprocess.Popen(one, stdout=subprocess.PIPE, text=True, cwd=root) for one in commands]
    assert [process.communicate()[0].strip() for process in processes] == ["1"] * 2
    [file] = cached_files(folder)
    assert compile_and_run() == 1
    assert file.is_file()


def test_settings_of_numba_do_not_change() -> None:
    import excite.kernels.cpu.passes  # noqa: F401

    assert os.environ.get("NUMBA_CACHE_DIR", "") == numba.config.CACHE_DIR


def test_the_choice_of_kernels_is_the_threads_own() -> None:
    chosen: dict[str, str] = {}
    both = threading.Barrier(2)

    def choose(name: str) -> None:
        with use_kernels(name):
            both.wait(60)
            chosen[name] = kernel_mode()
            both.wait(60)

    threads = [threading.Thread(target=choose, args=[name]) for name in ("off", "plain")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert chosen == {"off": "off", "plain": "plain"}
    assert kernel_mode() == "on"  # of this folder's tests
