"""Learning charts: the best epoch, and epochs with undefined losses."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from excite.reporting.run_charts import best_epoch, learning_charts
from tests.reporting.run_folders import history


def test_the_best_epoch_has_the_highest_accuracy_and_of_equal_ones_the_lowest_loss() -> None:
    table = history().assign(val_accuracy=[0.5, 0.9, 0.9, 0.9, 0.1], val_loss=[1.0, 0.5, 0.3, 0.4, 0.1])
    assert best_epoch(table, "accuracy") == 3
    assert "best epoch: 3" in [key.text for key in learning_charts(table, "accuracy")[0].legend]


@pytest.mark.parametrize("epochs", [1, 2, 300])
def test_epochs_with_undefined_losses_are_drawn_without_them(epochs: int) -> None:
    table = history(epochs)
    table.loc[0, "train_loss"] = np.nan
    for chart in learning_charts(table, "accuracy"):
        drawing = ElementTree.fromstring(chart.svg)
        texts = [element.text for element in drawing.iter("text")]
        assert "epoch" in texts
        assert "nan" not in str(chart.svg)
        assert len(chart.rows) == epochs
        assert drawing.get("role") == "img"
        assert [child.tag for child in drawing][:2] == ["title", "desc"]


def test_the_best_epoch_of_a_training_by_loss_has_the_lowest_loss() -> None:
    table = history().assign(val_accuracy=[0.5, 0.9, 0.9, 0.9, 0.1], val_loss=[1.0, 0.5, 0.3, 0.4, 0.1])
    assert best_epoch(table, "loss") == 5
