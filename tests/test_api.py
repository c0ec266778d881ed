"""The commands as Python functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import excite
from excite.errors import ExciteError
from tests.conftest import SMALL, Command


def table(folder: Path, name: str, seed: int) -> Path:
    """Predictions of 200 images by a classifier with random errors."""
    random = np.random.default_rng(seed)
    positive = np.arange(200) % 2
    score = np.clip(0.5 + 0.3 * (positive - 0.5) + 0.2 * random.normal(size=200), 0, 1)
    columns = {"path": [f"{row}.png" for row in range(200)], "label": np.where(positive, "yes", "no")}
    pd.DataFrame({**columns, "p:no": 1 - score, "p:yes": score}).to_csv(folder / name, index=False)
    return folder / name


def test_without_a_second_side_networks_are_compared(tmp_path: Path) -> None:
    paths = [table(tmp_path, f"{seed}.csv", seed) for seed in range(3)]
    found = excite.compare(paths, metrics=["accuracy"])
    tables = [pd.read_csv(path) for path in paths]
    correct = [((one["p:yes"] > 0.5) == (one["label"] == "yes")) for one in tables]
    values = [row["metrics"]["accuracy"]["value"] for row in found["differences"]]
    assert values == pytest.approx([correct[number].mean() - correct[0].mean() for number in (1, 2)])


def test_with_a_second_side_the_means_of_configurations_are_compared(tmp_path: Path) -> None:
    first, second = ([table(tmp_path, f"{seed}.csv", seed) for seed in seeds] for seeds in ((0, 1), (2, 3)))
    found = excite.compare(first, second, metrics=["accuracy"])
    correct = {
        path: ((one := pd.read_csv(path))["p:yes"].gt(0.5) == one["label"].eq("yes")).mean()
        for path in (*first, *second)
    }
    expected = np.mean([correct[path] for path in second]) - np.mean([correct[path] for path in first])
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(expected)
    with pytest.raises(ExciteError, match="unknown metric 'acuracy'"):
        excite.compare(first, second, metrics=["acuracy"])


def test_an_audit_writes_nothing_among_the_images_and_takes_groups_from_names(pictures: Path) -> None:
    before = sorted(path for path in pictures.rglob("*"))
    result = excite.audit(pictures, near_duplicates=False, group_pattern=r"^(p\d+)_")
    assert len(result) == 60
    assert sorted(path for path in pictures.rglob("*")) == before
    assert len(result.members) == 10


def test_an_audit_applies_decisions(pictures: Path, tmp_path: Path) -> None:
    one, two = sorted(pictures.rglob("*.png"))[:2]
    (tmp_path / "decisions.csv").write_text(f"decision,a,b\naccept,{one},{two}\n")
    result = excite.audit(pictures, near_duplicates=False, decisions=tmp_path / "decisions.csv")
    assert len(result.members) == 59


@pytest.mark.slow
def test_training_does_not_change_the_callers_random_state(pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run = excite.train(pictures, out=str(tmp_path / "run"), epochs=1, quiet=True, **SMALL)
    assert torch.equal(torch.get_rng_state(), before)
    assert (run.path / "report.html").is_file()
    assert (run.figures / "confusion_matrix.png").is_file()


def test_an_unknown_option_of_training_is_an_error(pictures: Path) -> None:
    with pytest.raises(ExciteError, match=r"unknown option 'epoch' .did you mean 'epochs'"):
        excite.train(pictures, epoch=3)  # type: ignore[call-arg]


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
    assert found.table[["arm", "baseline"]].to_numpy().tolist() == [["se", "plain"]]
    assert sorted(found.cells_table["arm"]) == ["plain", "se"]
    assert found.cells_table["accuracy"].between(0, 1).all()
    assert "2 of 2 done" in found._repr_html_()
    (found.folder / "comparisons.csv").unlink()
    with pytest.raises(ExciteError, match=r"has no readable comparisons\.csv .*excite study report"):
        _ = found.table
    with pytest.raises(ExciteError, match="did you mean 'attention'"):
        excite.study(pictures, {"plain": {"atention": "se"}}, out=tmp_path / "other", quiet=True)
