"""The forecast of a study, and the looks that its driver takes."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.errors import ExciteError
from excite.study.results.analysis import analyze
from excite.study.running.forecast import ArmCost, smallest_difference
from excite.study.running.local import WorkerPool
from excite.study.running.orchestrate import Resources, continue_study, outlook
from excite.study.study import add
from excite.system.progress import Display
from tests.study.small_study import Quiet, begun, trained


def test_a_study_without_power_reports_it_before_training(data: Path, tmp_path: Path) -> None:
    """Two seeds with 4 images in the test: Student's quantile at one degree of freedom is 12.7."""
    study = begun(data, tmp_path / "study", seeds=2)
    assert smallest_difference(study, 1.0, 2)[0] > 1
    text = outlook(study, WorkerPool(("cpu",), 1), {arm: ArmCost(1.0, None) for arm in study.arms}, 4, 1.0)
    assert "cannot detect any possible difference in balanced accuracy" in text
    assert "points" not in text
    text = outlook(study, WorkerPool(("cpu",), 1), {arm: ArmCost(1.0, None) for arm in study.arms}, 4, 0.001)
    assert "can detect a difference of" in text


@pytest.mark.slow
def test_a_look_is_recorded_when_the_results_are_complete_and_not_before(data: Path, tmp_path: Path) -> None:
    """An interrupted driver reports no differences; the same results twice are one look, new ones another."""
    study = begun(data, tmp_path / "study", seeds=1)
    with pytest.raises(ExciteError, match="stopped"):
        continue_study(study, Resources("cpu", 1), None, Quiet(stop_at=0))
    trained(study)
    assert study.store.looks(study.name) == []
    assert not (study.folder / "study.html").exists()
    continue_study(study, Resources("cpu", 1), None, Quiet())
    analyze(study, "accuracy", "se")
    assert [len(look.cells) for look in study.store.looks(study.name)] == [2]
    assert "looked at once, with 2 finished cells" in (study.folder / "study.html").read_text()
    assert add(study, [], 2, Display()) == 2
    analysis = analyze(trained(study))
    assert [(len(look.cells), look.seeds) for look in analysis.looks] == [(2, 1), (4, 2)]
