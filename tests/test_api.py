"""The commands as Python functions."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import excite
from excite.errors import ExciteError
from tests.conftest import SMALL, Command


def test_split_draws_what_the_command_writes(pictures: Path, tmp_path: Path, excite_command: Command) -> None:
    done = excite_command("split", pictures, "--out", tmp_path / "a.csv", "--no-group-duplicates")
    assert done.returncode == 0, done.stderr
    manifest = excite.split(pictures, group_duplicates=False, out=tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert isinstance(manifest.table, pd.DataFrame)


def test_groups_stay_together(pictures: Path) -> None:
    manifest = excite.split(pictures, group_pattern=r"^p(\d+)_", group_duplicates=False)
    assert (manifest.table.groupby("group")["split"].nunique() == 1).all()
    with pytest.raises(ExciteError, match="inside the data"):
        excite.split(pictures, out=pictures / "a" / "split.csv")


def test_audit_is_a_function_and_a_package(pictures: Path) -> None:
    from excite.audit.audit import Audit

    found = excite.audit(pictures, near_duplicates=False)
    assert isinstance(found, Audit)
    import excite.audit.audit as module

    assert module.Audit is Audit


@pytest.mark.slow
def test_evaluate_is_what_the_command_prints(pictures: Path, tmp_path: Path) -> None:
    run = excite.train(pictures, out=str(tmp_path / "run"), epochs=1, quiet=True, **SMALL)
    found = excite.evaluate(run.path)
    assert found.metrics["accuracy"] == run.metrics["test"]["accuracy"]
    renamed = pictures.rename(pictures.with_name("renamed"))
    (renamed / "a").rename(renamed / "x")
    other = excite.evaluate(run, renamed, map_class={"x": "a"}, positive="a", split="all")
    assert other.metrics["n"] == 60
    assert other.metrics["operating_point"]["chosen"]["label"] == "a"
    with pytest.raises(ExciteError, match="did you mean 'positive'"):
        excite.evaluate(run, positve="a")


@pytest.mark.slow
def test_study_trains_every_arm(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    arms = {"plain": {"attention": "none"}, "se": {"attention": "se"}}
    options = SMALL | {"epochs": 1, "quiet": True, "jobs": 1, "out": tmp_path / "study"}
    found = excite.study(pictures, arms, seeds=1, **options)
    assert list(found.arms) == ["plain", "se"]
    assert set(found.store.counts(found.name)) >= {"done"}
    assert found.store.counts(found.name)["done"] == 2
    assert (found.folder / "study.html").is_file()
    with pytest.raises(ExciteError, match="did you mean 'attention'"):
        excite.study(pictures, {"plain": {"atention": "se"}}, out=tmp_path / "other", quiet=True)
