"""Figures show the values of the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from excite.reporting.png_figures import confusion_matrix, learning_curves, sample_grid, save


def history(epochs: int = 5) -> pd.DataFrame:
    random = np.random.default_rng(0)
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    return pd.DataFrame({"epoch": range(1, epochs + 1), **{name: random.random(epochs) for name in names}})


def predictions(folder: Path, right: int, wrong: int) -> pd.DataFrame:
    rows = []
    for index in range(right + wrong):
        path = folder / f"{index}.png"
        Image.new("RGB", (9, 7), (index, 0, 0)).save(path)
        sure = 0.5 + index / (2 * (right + wrong))
        label = "cat" if index < right else "dog"
        rows.append({"path": str(path), "label": label, "predicted": "cat", "p:cat": sure, "p:dog": 1 - sure})
    return pd.DataFrame(rows)


def test_curves_are_the_history(tmp_path: Path) -> None:
    table = history()
    for axes, name in zip(learning_curves(table, "accuracy").axes, ("loss", "accuracy"), strict=True):
        drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
        np.testing.assert_array_equal(drawn["training"], table[f"train_{name}"])
        np.testing.assert_array_equal(drawn["validation (averaged weights)"], table[f"val_{name}"])


def test_the_marked_epoch_is_the_best_one() -> None:
    """Of two equal accuracies the one with the lower loss."""
    table = history().assign(val_accuracy=[0.5, 0.9, 0.9, 0.9, 0.1], val_loss=[1.0, 0.5, 0.3, 0.4, 0.1])
    labels = [line.get_label() for line in learning_curves(table, "accuracy").axes[0].lines]
    assert "best epoch: 3" in labels


def test_one_epoch_is_drawn_as_points(tmp_path: Path) -> None:
    """A line through one point shows nothing."""
    figure = learning_curves(history(1), "accuracy")
    for axes in figure.axes:
        markers = {line.get_label(): line.get_marker() for line in axes.lines}
        assert markers["training"] == markers["validation (averaged weights)"] == "o"
    save(figure, tmp_path / "one.png")
    assert Image.open(tmp_path / "one.png").format == "PNG"
    assert {line.get_marker() for line in learning_curves(history(2), "accuracy").axes[0].lines} == {"None"}


def figures_of(counts: np.ndarray, classes: list[str], copies: int = 0) -> dict[str, Any]:
    return {"confusion": counts.tolist(), "classes": dict.fromkeys(classes), "duplicates_in_train": copies}


def test_near_duplicates_are_noted_on_the_matrix() -> None:
    counts = np.array([[3, 1], [0, 2]])
    stamped, clean = (confusion_matrix(figures_of(counts, ["a", "b"], copies)) for copies in (5, 0))
    assert "5 have a near-duplicate in the training set" in stamped.axes[0].get_title()
    assert "near-duplicate" not in clean.axes[0].get_title()


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 30, 31])
def test_the_matrix_shows_every_count_for_few_classes(tmp_path: Path, classes: int) -> None:
    counts = np.arange(classes**2).reshape(classes, classes)
    figure = confusion_matrix(figures_of(counts, [f"class {number}" for number in range(classes)]))
    written = {text.get_text() for text in figure.axes[0].texts}
    assert written == ({str(count) for count in counts.ravel() if count} if classes <= 30 else set())
    assert f"{counts.trace()} of {counts.sum()} correct" in figure.axes[0].get_title()
    save(figure, tmp_path / "matrix.png")
    assert Image.open(tmp_path / "matrix.png").format == "PNG"


def test_a_class_without_images_does_not_divide_by_zero(tmp_path: Path) -> None:
    with np.errstate(all="raise"):
        figure = confusion_matrix(figures_of(np.array([[3, 1], [0, 0]]), ["a", "b"]))
        save(figure, tmp_path / "matrix.png")
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), [[0.75, 0.25], [0, 0]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong", "shown"), [(30, 2, (2, 22)), (3, 30, (21, 3)), (30, 30, (12, 12))]
)
def test_half_of_the_samples_are_errors_if_there_are_enough(
    tmp_path: Path, right: int, wrong: int, shown: tuple[int, int]
) -> None:
    figure = sample_grid(predictions(tmp_path, right, wrong))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert sum("label dog" in title for title in titles) == shown[0]
    assert sum("label dog" not in title for title in titles) == shown[1]


def test_the_most_confident_errors_come_first(tmp_path: Path) -> None:
    titles = [axes.get_title() for axes in sample_grid(predictions(tmp_path, 5, 20)).axes]
    shares = [int(title.split()[1].rstrip("%")) for title in titles if "label dog" in title]
    assert shares == sorted(shares, reverse=True)


def test_a_missing_picture_is_named_as_missing(tmp_path: Path) -> None:
    table = predictions(tmp_path, 2, 0)
    Path(table["path"].iloc[0]).unlink()
    figure = sample_grid(table)
    assert sum(text.get_text() == "file not found" for axes in figure.axes for text in axes.texts) == 1
    save(figure, tmp_path / "out" / "grid.png")
