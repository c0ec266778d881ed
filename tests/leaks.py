"""State that no test may change: threads, processes, files, environment, folder, NumPy's random state."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import nn

from tests.waiting import wait_until

FILES = Path("/proc/self/fd")
CHILDREN = Path("/proc/self/task")
# Started once per process by a library and kept until the process ends.
LASTING_THREADS = (
    "ThreadPoolExecutor",
    "QueueFeederThread",
    "QueueManagerThread",
    "tqdm",
    "pydevd",
    "execnet",
)
# Set by libraries when they are imported, and by pytest for each test.
LIBRARY_VARIABLES = ("CUBLAS_", "KMP_", "LD_LIBRARY_PATH", "PYTEST_", "QT_", "TORCHINDUCTOR_")
LIBRARY_FILES = ("/dev/", "/proc/", "/sys/", "/memfd:", "/usr/share/", sys.prefix)  # such as fonts
LASTING_PROCESSES = ("resource_tracker", "forkserver", "semaphore_tracker")
SECONDS = 5.0  # until a thread or process that is ending must have ended


@contextmanager
def no_leaks(models: dict[str, nn.Module]) -> Iterator[None]:
    """Fail if the block leaves something behind.

    Args:
        models: networks that other tests use, too; their modules must stay in the mode that they are in.
    """
    before = {name: read() for name, read in STATES.items()}
    threads, children, files = _threads(), _children(), _files()
    modes = {name: _modes(model) for name, model in models.items()}
    yield
    changed = [_change(name, before[name], read()) for name, read in STATES.items() if read() != before[name]]
    changed += [f"mode of {name}" for name, model in models.items() if _modes(model) != modes[name]]
    assert not changed, f"the test changed: {', '.join(changed)}"
    for what, read, old in (
        ("threads", _threads, threads),
        ("processes", _children, children),
        ("open files", _files, files),
    ):
        left = _left(read, old)
        assert not left, f"the test left {what}: {sorted(left.values())}"


def _change(name: str, before: object, after: object) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        return f"{name} ({', '.join(sorted({key for key, _ in before.items() ^ after.items()}))})"
    return name


def _left(read: Callable[[], dict[int, str]], old: dict[int, str]) -> dict[int, str]:
    """What is left behind, after everything that is ending had time to end."""

    def left() -> dict[int, str]:
        return {key: name for key, name in read().items() if old.get(key) != name}

    def none_left() -> bool:
        gc.collect()  # closes what is only referenced in a cycle
        return not left()

    if left():
        wait_until(none_left, SECONDS)
    return left()


def _threads() -> dict[int, str]:
    return {
        thread.ident or 0: thread.name
        for thread in threading.enumerate()
        if not thread.name.startswith(LASTING_THREADS)
    }


def _children() -> dict[int, str]:
    found = {}
    for task in CHILDREN.glob("*/children"):
        for number in _read(task).split():
            command = _read(Path("/proc", number, "cmdline")).replace("\0", " ")
            if command and not any(name in command for name in LASTING_PROCESSES):
                found[int(number)] = command
    return found


def _files() -> dict[int, str]:
    """Open files by descriptor; not devices, pipes, sockets, or what libraries keep open."""
    found = {}
    for entry in FILES.iterdir() if FILES.is_dir() else ():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("/") and not target.startswith(LIBRARY_FILES):
            found[int(entry.name)] = target
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


def _modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


STATES: dict[str, Callable[[], object]] = {
    "working directory": os.getcwd,
    "environment": lambda: {k: v for k, v in os.environ.items() if not k.startswith(LIBRARY_VARIABLES)},
    "NumPy's global random state": lambda: str(np.random.get_state()),
}
