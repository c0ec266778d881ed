"""A study of two small networks, with and without attention, and its training in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.config.train_config import TrainConfig
from excite.errors import ExciteError
from excite.runs.run import Run
from excite.study.plan import Plan, parse_arm
from excite.study.running import worker
from excite.study.running.live_table import LiveTable
from excite.study.study import Study, begin
from excite.system.progress import Display

NET = "densenet_bc_40_12"
SMALL = {"block_config": [1, 1], "growth_rate": 4, "init_channels": 4}
BASE = TrainConfig(
    epochs=1,
    batch_size=8,
    device="cpu",
    precision="float32",
    image_size=16,
    model_options=SMALL,
    augment="quick",
)
ARMS = [parse_arm(f"plain:{NET}"), parse_arm(f"se:{NET}+se,reduction=4,placement=block")]


def begun(data: Path, folder: Path, **options: object) -> Study:
    plan = Plan(BASE.replace(data=str(data)), ARMS, **{"seeds": 2, **options})  # type: ignore[arg-type]
    return begin(plan, folder, None, Display())[0]


def trained(study: Study) -> Study:
    worker.work(study, device="cpu", threads=1, name="test")
    return study


def runs_of(study: Study) -> dict[tuple[str, int, int], Run]:
    rows = study.store.results(study.name)
    return {(row.arm, row.seed, row.fold): Run(study.folder / row.result["run"]) for row in rows}


class Quiet(LiveTable):
    """Stops the driver when it first shows a state with this number of finished cells."""

    def __init__(self, stop_at: int = -1) -> None:
        self.stop_at = stop_at

    def show(self, study: Study) -> None:
        if study.store.counts(study.name)["done"] == self.stop_at:
            raise ExciteError("stopped", exit_code=130)
