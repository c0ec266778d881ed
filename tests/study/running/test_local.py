"""Workers on this machine: their number, cells that fail, and workers that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.config.train_config import TrainConfig
from excite.errors import ExciteError
from excite.study.running import worker
from excite.study.running.local import choose_pool
from excite.study.study import Study
from tests.study.small_study import begun, trained


def test_a_cell_that_fails_twice_is_named_with_its_log(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from excite.study.running.local import refuse_failed

    study = begun(data, tmp_path / "study", seeds=1)
    real, tries = worker.run_experiment, []

    def fails(config: TrainConfig, **options: object) -> object:
        if config.attention == "se":
            tries.append(config.out)
            raise ValueError("no such thing")
        return real(config, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "run_experiment", fails)
    trained(study)
    assert len(tries) == 2
    assert study.store.counts(study.name) == {"waiting": 0, "running": 0, "done": 1, "failed": 1}
    with pytest.raises(
        ExciteError, match="1 cell failed twice, for example se with seed 0: ValueError: no such thing"
    ) as found:
        refuse_failed(study)
    assert "no such thing" in Path(str(found.value.where)).read_text()


def test_as_many_workers_run_as_cores_and_memory_allow() -> None:
    cores = len(os.sched_getaffinity(0))
    assert choose_pool("cpu", None, None, 100).devices == ("cpu",) * cores
    assert choose_pool("cpu", None, None, 1).devices == ("cpu",)
    assert choose_pool("cpu", 3, None, 100).devices == ("cpu",) * 3
    assert choose_pool("cpu", None, 10**15, 100).devices == ("cpu",)  # more memory than there is
    assert choose_pool("cpu", None, None, 1).threads == choose_pool("cpu", None, None, 100).threads


@pytest.mark.slow
def test_killed_workers_and_a_killed_driver_change_no_result(data: Path, tmp_path: Path, done: Study) -> None:
    """With SIGKILL; benchmarks/study_kills.py is the long version with thirty kills."""
    study = begun(data, tmp_path / "study", seeds=1, folds=2)
    call = [
        sys.executable,
        "-m",
        "excite",
        "study",
        "resume",
        str(study.folder),
        "--jobs",
        "2",
        "--lease",
        "2",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def drive() -> subprocess.Popen[bytes]:
        return subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    driver = drive()
    os.kill(running_worker(study), signal.SIGKILL)
    running_worker(study)
    driver.kill()
    driver.wait()
    driver = drive()
    assert driver.wait(timeout=600) == 0
    assert study.store.counts(study.name)["done"] == 4
    same = {(row.arm, row.seed, row.fold): row.probabilities for row in done.store.results(done.name)}
    for row in study.store.results(study.name):
        assert row.probabilities == same[row.arm, row.seed, row.fold]


def running_worker(study: Study) -> int:
    """The process of a worker that trains a cell."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        for cell in study.store.cells(study.name):
            if cell.state == "running":
                name = cell.worker.partition("@")[0]
                found = subprocess.run(
                    ["pgrep", "-f", name], capture_output=True, text=True, check=False
                ).stdout.split()
                if found:
                    return int(found[0])
        time.sleep(0.05)
    raise AssertionError("no worker began")
