"""Large blocks that are freed and allocated again cause no page faults, unless the user turns this off."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from excite.system.malloc import keep_heap
print(keep_heap())
def work():
    np.ones(16_000_000)  # 128 MB, written to, freed
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 5)
"""


def run(**environment: str) -> tuple[bool, float]:
    base = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=base | environment, capture_output=True, text=True, check=True
    )
    kept, faults = told.stdout.split()
    return kept == "True", float(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_kept_memory_is_not_faulted_in_again() -> None:
    off, before = run(EXCITE_KEEP_MEMORY="off")
    on, after = run()
    assert (off, on) == (False, True)
    assert after < 0.1 * before


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_a_users_own_settings_are_left_alone(name: str) -> None:
    kept, _ = run(**{name: "2" if name.startswith("M") else "glibc.malloc.arena_max=2"})
    assert not kept
