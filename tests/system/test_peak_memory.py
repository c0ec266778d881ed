"""The memory of a process as the system reports it."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from excite.system import peak_memory as module
from excite.system.peak_memory import free_memory, held_memory, peak_memory, reset_peak_memory

MIB = 2**20

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say")

PROGRAM = """
import numpy as np
from excite.system.peak_memory import held_memory, peak_memory, reset_peak_memory

def work(mib):
    np.ones(mib * 2**20, np.uint8)  # written to, then freed

work(200)
reset_peak_memory("cpu")
base = held_memory()
work(80)
print(peak_memory("cpu", base), peak_memory("cpu"), base)
"""


@pytest.mark.slow
def test_a_peak_counts_from_the_last_reset_and_beyond_the_base() -> None:
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(MIB)}  # freed memory goes back to the system
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    grown, whole, base = map(int, done.stdout.split())
    assert grown / MIB == pytest.approx(80, abs=8)
    assert whole - base == pytest.approx(grown, abs=MIB)


def test_held_memory_is_that_of_the_resident_pages() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    expected = pages * os.sysconf("SC_PAGE_SIZE")
    assert held_memory() == pytest.approx(expected, rel=0.05)
    before = held_memory()
    # Pages of the system: the heap may hold freed ones (excite.system.malloc).
    with mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        for start in range(0, len(block), mmap.PAGESIZE):
            block[start] = 1
        assert held_memory() - before == pytest.approx(len(block), rel=0.2)


def test_a_peak_is_never_negative() -> None:
    assert peak_memory("cpu", base=2**60) == 0


def test_free_memory_is_less_than_all_of_it() -> None:
    free = free_memory()
    assert 0 < free <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_elsewhere_than_on_linux_the_peak_is_that_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = peak_memory("cpu")
    monkeypatch.setattr(module, "_PROCESS", tmp_path / "nowhere")
    reset_peak_memory("cpu")
    whole = peak_memory("cpu")
    assert most is not None
    assert whole is not None
    assert whole >= 0.9 * most
    assert peak_memory("cpu", base=whole) == 0


def test_on_windows_the_peak_is_that_of_the_working_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PROCESS", tmp_path / "nowhere")
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory("cpu") is None  # a system that tells nothing
    info = SimpleNamespace(rss=5 * MIB, peak_wset=7 * MIB)
    monkeypatch.setattr(module.psutil.Process, "memory_info", lambda _: info)
    assert (peak_memory("cpu", base=MIB), held_memory()) == (6 * MIB, 5 * MIB)
    assert free_memory() > 0


def test_macos_counts_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PROCESS", tmp_path / "nowhere")
    in_bytes = peak_memory("cpu")
    monkeypatch.setattr(module.sys, "platform", "darwin")
    assert peak_memory("cpu") == pytest.approx(in_bytes / 1024, rel=0.05)
