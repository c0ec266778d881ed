"""excite compare: metrics and paired differences of runs or tables."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import log_loss, roc_auc_score

import excite
from excite.cli.app import run as excite_cli
from excite.errors import ExciteError
from excite.runs.compare import compare_runs
from tests.conftest import make_pictures


def table(path: Path, probabilities: np.ndarray, truth: np.ndarray, *, first: int = 0) -> Path:
    """A table of predictions of two classes; images are named by number, and two share a group."""
    frame = pd.DataFrame(
        {
            "path": [f"{number}.png" for number in range(first, first + len(truth))],
            "label": np.array(["no", "yes"])[truth],
            "group": [f"g{number // 2}" for number in range(first, first + len(truth))],
            "p:no": 1 - probabilities,
            "p:yes": probabilities,
        }
    )
    frame.to_csv(path, index=False)
    return path


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path, np.ndarray, np.ndarray, np.ndarray]:
    """Two tables that share 200 of 240 images: truth and both probabilities of the shared ones."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 240)
    weak, strong = (1 / (1 + np.exp(-(2 * truth - 1) * k - 2 * random.normal(size=240))) for k in (0.5, 1.5))
    first = table(tmp_path / "first.csv", weak[:220], truth[:220])
    second = table(tmp_path / "second.csv", strong[20:], truth[20:], first=20)
    return first, second, truth[20:220], weak[20:220], strong[20:220]


def test_differences_are_those_of_the_shared_images(
    two: tuple[Path, Path, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    first, second, truth, weak, strong = two
    found = compare_runs([first, second], ["accuracy", "auroc", "log_loss"])
    assert [(row["n"], row["repeats"]) for row in found["runs"]] == [(220, 1), (220, 1)]
    (pair,) = found["differences"]
    assert (pair["n"], pair["groups"]) == (200, 100)
    right = [(one >= 0.5) == truth for one in (weak, strong)]
    expected = {
        "accuracy": right[1].mean() - right[0].mean(),
        "auroc": roc_auc_score(truth, strong) - roc_auc_score(truth, weak),
        "log_loss": log_loss(truth, strong) - log_loss(truth, weak),
    }
    for name, value in expected.items():
        one = pair["metrics"][name]
        assert one["value"] == pytest.approx(value, abs=1e-9)
        assert one["low"] < value < one["high"]
    only = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
    assert [pair["mcnemar"][name] for name in ("first_only", "second_only")] == only
    assert pair["mcnemar"]["p"] == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    assert pair["delong"]["value"] == pytest.approx(expected["auroc"])


@pytest.mark.slow
def test_runs_of_copied_data_are_matched_by_content(tmp_path: Path) -> None:
    data = make_pictures(tmp_path / "here", classes=2, each=10)
    shutil.copytree(data, tmp_path / "there")
    options = {"epochs": 1, "batch_size": 8, "quiet": True, "device": "cpu", "model": "cifar_resnet20"}
    runs = [
        excite.train(tmp_path / name, out=str(tmp_path / f"run-{name}"), **options).path
        for name in ("here", "there")
    ]
    (pair,) = compare_runs(runs)["differences"]
    assert pair["n"] == 4
    assert pair["metrics"]["log_loss"]["value"] == pytest.approx(0, abs=1e-6)  # one seed, one result


def test_runs_without_shared_images_are_shown_but_not_compared(
    two: tuple[Path, Path, np.ndarray, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    other = table(tmp_path / "other.csv", np.full(10, 0.5), np.arange(10) % 2, first=900)
    (pair,) = compare_runs([two[0], other])["differences"]
    assert "share no images" in pair["reason"]


def test_the_command_prints_metrics_and_differences(
    two: tuple[Path, Path, np.ndarray, np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    assert excite_cli(["compare", str(two[0]), str(two[1]), "--metrics", "accuracy, brier"]) == 0
    said = capsys.readouterr().out
    assert "200 shared images of 100 groups" in said
    assert "points" in said
    assert "not independent" in said


def test_tables_have_no_configurations(
    two: tuple[Path, Path, np.ndarray, np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    (pair,) = compare_runs(two[:2])["differences"]
    assert (pair["differing_options"], pair["study"]) == (None, None)
    assert excite_cli(["compare", str(two[0]), str(two[1])]) == 0
    assert "not the configurations" in capsys.readouterr().out


def test_runs_that_cannot_be_compared_are_one_line(
    two: tuple[Path, Path, np.ndarray, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises(ExciteError, match="at least two"):
        compare_runs([two[0]])
    with pytest.raises(ExciteError, match="did you mean 'accuracy'"):
        compare_runs(two[:2], ["acuracy"])
    with pytest.raises(ExciteError, match="there is no such run"):
        compare_runs([two[0], tmp_path / "nowhere"])
