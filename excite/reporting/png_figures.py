"""Figures of a run: learning curves, confusion matrix, sample predictions."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from excite.config.train_config import TrainConfig
from excite.data.decoding import decode
from excite.errors import ExciteError
from excite.evaluation.prediction_columns import PROBABILITY
from excite.reporting.fonts import display_width, figure_names, set_fonts
from excite.reporting.run_charts import best_epoch
from excite.runs.derive import intensity_range_of
from excite.runs.run import Run
from excite.system.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, RED, GRAY = "#1f5fa8", "#d97706", "#b91c1c", "#6b7280"
SAMPLES = 24
SHOWN_CLASSES = 30  # with more, a cell of the confusion matrix has no space for a number
NAMED_CLASSES = 60  # with more, the names of neighboring classes overlap
TICK_WIDTH, TITLE_WIDTH = 30, 18  # characters of a class name beside the matrix and above a sample


def draw_figures(run: Run, *, thumbnails: bool = False) -> None:
    """Write ``figures/*.png`` of a finished run.

    Args:
        thumbnails: draw ``samples.png``, which shows test images: mind the privacy of the people in them.
            Without, an earlier one is removed.
    """
    test = run.metrics["test"]
    if run.has_epochs:
        save(learning_curves(run.history, run.config.monitor), run.figures / "learning_curves.png")
    save(confusion_matrix(test), run.figures / "confusion_matrix.png")
    samples = run.figures / "samples.png"
    if thumbnails:
        save(sample_grid(run.predictions, config=run.config), samples)
    else:
        samples.unlink(missing_ok=True)


def learning_curves(history: pd.DataFrame, monitor: str) -> Figure:
    """Loss and accuracy over the epochs, in training and validation; a line marks the best epoch."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    best = best_epoch(history, monitor)
    marker = "o" if len(history) == 1 else None  # a line through one point shows nothing
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.axvline(best, color=GRAY, linestyle=":", linewidth=1, label=f"best epoch: {best}")
        axes.plot(history["epoch"], history[f"train_{name}"], color=BLUE, marker=marker, label="training")
        axes.plot(
            history["epoch"],
            history[f"val_{name}"],
            color=ORANGE,
            marker=marker,
            label="validation (averaged weights)",
        )
        axes.set(xlabel="epoch", ylabel=name, title=f"{name.capitalize()} during training")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return figure


def confusion_matrix(metrics: Mapping[str, Any]) -> Figure:
    """The confusion matrix (C, C) with labels in rows; shades show the fraction of the row."""
    counts = np.array(metrics["confusion"])
    classes = list(figure_names(metrics["classes"], TICK_WIDTH).values())
    longest = max(map(display_width, classes))
    side = min(14.0, max(3.6, 1.6 + 0.5 * len(classes))) + 0.08 * max(longest - 8, 0)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="fraction of the class", shrink=0.8)
    every = -(-len(classes) // NAMED_CLASSES)
    aside = f", 1 in {every} classes labeled" if every > 1 else ""
    axes.set(
        xlabel=f"predicted{aside}",
        ylabel=f"label{aside}",
        title=f"Confusion matrix: {counts.trace()} of {counts.sum()} correct",
    )
    if copies := metrics.get("duplicates_in_train"):  # the figure is also used without the report
        axes.set_title(f"{axes.get_title()}\n{copies} have a near-duplicate in the training set", color=RED)
    if seen := metrics.get("seen_in_training"):
        axes.set_title(f"{axes.get_title()}\n{seen} seen in training", color=RED)
    ticks = range(0, len(classes), every)
    axes.set_xticks(ticks, classes[::every], rotation=90 if longest > 3 else 0)
    axes.set_yticks(ticks, classes[::every])
    if len(classes) <= SHOWN_CLASSES:
        for row, column in np.ndindex(*counts.shape):
            if counts[row, column]:
                shade = "white" if fractions[row, column] > 0.5 else "black"
                axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=shade)
    return figure


def sample_grid(
    predictions: pd.DataFrame, count: int = SAMPLES, *, config: TrainConfig | None = None
) -> Figure:
    """Test images with predicted labels: half of them errors if there are enough, most confident first."""
    columns = [name for name in predictions.columns if name.startswith(PROBABILITY)]
    names = figure_names([name.removeprefix(PROBABILITY) for name in columns], TITLE_WIDTH)
    table = predictions.assign(probability=predictions[columns].max(axis=1))
    wrong = table[table["label"] != table["predicted"]].sort_values("probability", ascending=False)
    right = table[table["label"] == table["predicted"]].sample(frac=1, random_state=0)
    mistakes = wrong.head(max(count // 2, count - len(right)))
    samples = pd.concat([mistakes, right.head(count - len(mistakes))])
    width = 8
    height = -(-len(samples) // width)
    figure = Figure(figsize=(1.5 * width, 1.85 * height + 0.4), layout="constrained")
    correct = len(samples) - len(mistakes)
    figure.suptitle(f"Test images: {len(mistakes)} errors and {correct} correct predictions of {len(table)}")
    grid = figure.subplots(height, width, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, row in zip(grid, samples.to_dict("records"), strict=False):
        _show(axes, str(row["path"]), config or TrainConfig())
        correct = row["label"] == row["predicted"]
        predicted, label = names[row["predicted"]], names[row["label"]]
        text = f"{predicted} {row['probability']:.0%}" + ("\n" if correct else f"\nlabel {label}")
        axes.set_title(text, fontsize=8, color=GRAY if correct else RED)
    return figure


def _show(axes: Axes, path: str, config: TrainConfig) -> None:
    try:
        picture = decode(path, max_pixels=config.max_pixels, intensity_range=intensity_range_of(config))
    except ExciteError:
        axes.text(0.5, 0.5, "file not found", ha="center", fontsize=8)
        return
    picture.thumbnail((160, 160))
    axes.imshow(picture, interpolation="nearest" if max(picture.size) < 64 else None)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG without pyplot's global state."""
    FigureCanvasAgg(figure)
    set_fonts(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_bytes(path, picture.getvalue())
