"""Several processes compute each part once, whoever dies, and each has all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from excite.system.shared_work import SharedPart, compute_together, locked

WORKER = """
import os, sys, time
from pathlib import Path
from excite.system.shared_work import SharedPart, compute_together

folder, name, stop = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def compute(number):
    with (folder / "log").open("a") as log:
        log.write(f"{name} {number}\\n")
    if number == stop:
        print("stuck", flush=True)
        time.sleep(600)
    time.sleep(0.05)
    return f"result {number}"

parts = [SharedPart(folder / f"{n}.txt", lambda n=n: compute(n), str, str) for n in range(12)]
print("ready", flush=True)
sys.stdin.readline()
print(compute_together(parts), flush=True)
"""
RESULTS = [f"result {number}" for number in range(12)]


def start(folder: Path, name: str, stop: int = -1) -> subprocess.Popen[str]:
    call = [sys.executable, "-c", WORKER, str(folder), name, str(stop)]
    process = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def computed(folder: Path) -> list[tuple[str, str]]:
    return [tuple(line.split()) for line in (folder / "log").read_text().splitlines()]


def test_each_part_is_computed_by_one_process(tmp_path: Path) -> None:
    both = [start(tmp_path, name) for name in "ab"]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=120)[0].strip() for process in both] == [str(RESULTS)] * 2
    found = computed(tmp_path)
    assert sorted(int(number) for _, number in found) == list(range(12))
    assert {name for name, _ in found} == {"a", "b"}
    assert list(tmp_path.glob(".*")) == []  # no lock is left


def test_the_part_of_a_process_that_dies_is_computed_by_another(tmp_path: Path) -> None:
    first = start(tmp_path, "a", stop=3)
    assert first.stdin is not None
    assert first.stdout is not None
    first.stdin.write("go\n")
    first.stdin.flush()
    assert first.stdout.readline() == "stuck\n"
    second = start(tmp_path, "b")
    assert second.stdin is not None
    second.stdin.write("go\n")
    second.stdin.flush()
    while not (tmp_path / "11.txt").exists():  # all but the part that is held
        time.sleep(0.02)
    assert second.poll() is None
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert second.communicate(timeout=120)[0].strip() == str(RESULTS)
    assert computed(tmp_path)[-1] == ("b", "3")


def parts(folder: Path | None, calls: list[int]) -> list[SharedPart[str]]:
    def compute(number: int) -> str:
        calls.append(number)
        return f"result {number}"

    return [
        SharedPart(folder and folder / f"{n}.txt", lambda n=n: compute(n), str, lambda text: text or None)
        for n in range(12)
    ]


def test_results_come_from_the_cache_and_a_damaged_one_is_computed_again(tmp_path: Path) -> None:
    calls: list[int] = []
    assert compute_together(parts(tmp_path, calls)) == RESULTS
    (tmp_path / "5.txt").write_text("")
    done: list[int] = []
    assert compute_together(parts(tmp_path, calls), done.append) == RESULTS
    assert calls == [*range(12), 5]
    assert done == list(range(12))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_computes_everything(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    calls: list[int] = []
    assert compute_together(parts(tmp_path / "new", calls)) == RESULTS


def test_without_a_cache_everything_is_computed() -> None:
    calls: list[int] = []
    assert compute_together(parts(None, calls)) == RESULTS
    assert calls == list(range(12))


def test_an_error_releases_the_part(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "x"):
        raise ZeroDivisionError
    with locked(tmp_path / "x", waits=False) as is_mine:
        assert is_mine
