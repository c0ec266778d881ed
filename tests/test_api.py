"""The commands as Python functions: audit and compare. (Training: tests/pipeline/test_experiment.py.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import excite
from excite.errors import ExciteError
from tests.conftest import SMALL


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
    result = excite.audit_dataset(pictures, near_duplicates=False, group_pattern=r"^(p\d+)_")
    assert len(result) == 60
    assert sorted(path for path in pictures.rglob("*")) == before
    assert len(result.members) == 10


def test_an_audit_applies_decisions(pictures: Path, tmp_path: Path) -> None:
    one, two = sorted(pictures.rglob("*.png"))[:2]
    (tmp_path / "decisions.csv").write_text(f"decision,a,b\naccept,{one},{two}\n")
    result = excite.audit_dataset(pictures, near_duplicates=False, decisions=tmp_path / "decisions.csv")
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
        excite.train(pictures, epoch=3)
