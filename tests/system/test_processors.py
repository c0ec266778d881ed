"""How many threads a runtime may start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from excite.system import processors
from excite.system.processors import available_processors


@pytest.mark.parametrize(
    ("quota", "setting", "affinity", "expected"),
    [
        ("max 100000", None, 8, 8),
        ("150000 100000", None, 8, 2),
        ("50000 100000", None, 8, 1),
        ("max 100000", "3", 8, 3),
        ("max 100000", "3,2", 8, 3),
        ("max 100000", "many", 8, 8),
        ("max 100000", "16", 4, 4),
        (None, None, 4, 4),
    ],
)
def test_the_smallest_of_affinity_quota_and_setting(
    quota: str | None,
    setting: str | None,
    affinity: int,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = tmp_path / "cpu.max"
    if quota is not None:
        place.write_text(quota)
    monkeypatch.setattr(processors, "_QUOTA", place)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if setting is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", setting)
    assert available_processors() == expected
