"""What a report is put together from: curves, charts, tables, the command to repeat it, the model card."""

from __future__ import annotations

import html
import re
import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from typer.testing import CliRunner

from excite.cli.app import app
from excite.config.train_config import TrainConfig
from excite.evaluation.predictions import Predictions
from excite.reporting.curves import TOLERANCE, precision_recall_points, roc_points, simplify_line
from excite.reporting.model_card import markdown_text
from excite.reporting.provenance import command
from excite.reporting.report import model_card
from excite.reporting.robustness_table import build_robustness_table
from excite.reporting.run_charts import best_epoch, learning_charts
from excite.reporting.svg import round_steps
from excite.reporting.tables import Cell, Notes, cell, letter, metric_text, number_text
from tests.evaluation.simulated import messy
from tests.reporting.run_folders import history, write_cross_validation, write_run


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 300), st.sampled_from([3, 1000]))
def test_the_areas_of_the_curves_are_scikit_learns(seed: int, images: int, levels: int) -> None:
    probabilities, targets = messy(np.random.default_rng(seed), images, 3, levels=levels)
    predictions = Predictions(targets, probabilities, ("a", "b", "c"))
    for index in range(3):
        positive, scores = targets == index, predictions.probabilities[:, index]
        roc, both = roc_points(predictions, index), precision_recall_points(predictions, index)
        assert (roc is None) == (positive.all() or not positive.any())
        assert (both is None) == (not positive.any())
        if roc is not None:
            assert np.trapezoid(roc[:, 1], roc[:, 0]) == pytest.approx(roc_auc_score(positive, scores))
        if both is not None:
            area = np.trapezoid(both[:, 1], both[:, 0])
            assert area == pytest.approx(average_precision_score(positive, scores))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 400))
def test_thinning_moves_no_point_visibly(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    points = np.column_stack([np.sort(random.random(count)), np.sort(random.random(count))])
    fewer = simplify_line(points)
    assert (fewer[[0, -1]] == points[[0, -1]]).all()
    assert {tuple(point) for point in fewer} <= {tuple(point) for point in points}
    starts, ways = fewer[:-1], np.diff(fewer, axis=0)
    lengths = np.maximum((ways**2).sum(axis=1), 1e-12)
    for point in points:  # brute force: the nearest piece of the simplify_line line
        along = (((point - starts) * ways).sum(axis=1) / lengths).clip(0, 1)
        nearest = np.hypot(*(point - starts - along[:, None] * ways).T).min()
        assert nearest <= TOLERANCE + 1e-9


def test_a_long_straight_line_becomes_two_points() -> None:
    line = np.linspace(0, 1, 5000)
    assert len(simplify_line(np.column_stack([line, line]))) == 2


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_round_and_inside(low: float, width: float) -> None:
    ticks = round_steps(low, low + width)
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in ticks)


def test_the_kept_epoch_is_the_best_and_of_equal_ones_the_surer() -> None:
    table = history().assign(val_accuracy=[0.5, 0.9, 0.9, 0.9, 0.1], val_loss=[1.0, 0.5, 0.3, 0.4, 0.1])
    assert best_epoch(table) == 3
    assert "best epoch: 3" in [key.text for key in learning_charts(table)[0].legend]


@pytest.mark.parametrize("epochs", [1, 2, 300])
def test_learning_is_drawn_also_where_it_went_wrong(epochs: int) -> None:
    table = history(epochs)
    table.loc[0, "train_loss"] = np.nan
    for chart in learning_charts(table):
        drawing = ElementTree.fromstring(chart.svg)
        texts = [element.text for element in drawing.iter("text")]
        assert "epoch" in texts
        assert "nan" not in str(chart.svg)
        assert len(chart.rows) == epochs
        assert drawing.get("role") == "img"
        assert [child.tag for child in drawing][:2] == ["title", "desc"]


def test_what_is_not_defined_is_told_with_its_reason() -> None:
    notes = Notes()
    gone = {"value": None, "reason": "no image belongs to this class"}
    bare = {"value": 0.5, "low": None, "high": None, "reason": "3 groups are too few"}
    shares = [cell("ppv", gone, notes), cell("auroc", bare, notes), cell("npv", gone, notes)]
    assert [(one.value, one.mark) for one in shares] == [
        ("not defined", "a"),
        ("0.500", "b"),
        ("not defined", "a"),
    ]
    assert notes.lines == [
        ("a", "not defined: no image belongs to this class"),
        ("b", "no interval: 3 groups are too few"),
    ]
    assert metric_text(gone) == "not defined: no image belongs to this class"
    assert metric_text(bare) == "0.500 (no interval: 3 groups are too few)"


def test_a_rough_interval_is_told_with_its_reason() -> None:
    notes = Notes()
    rough = {"value": 0.5, "low": 0.2, "high": 0.8, "warning": "4 groups of class 'b'; about 5 are needed"}
    assert cell("mcc", rough, notes) == Cell("0.500", "0.200 to 0.800", "a")
    assert notes.lines == [("a", "rough interval: 4 groups of class 'b'; about 5 are needed")]
    expected = "0.500 (0.200 to 0.800; rough interval: 4 groups of class 'b'; about 5 are needed)"
    assert metric_text(rough, "mcc") == expected
    assert number_text("auroc", None) == "not defined"
    assert [letter(number) for number in (0, 25, 26, 27, 52)] == ["a", "z", "aa", "ab", "ba"]


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(data="/data"),
        TrainConfig(data="a 'quoted' $folder", group_pattern=r"^(\d+)_", channels_last=False, identity=True),
        TrainConfig(
            data="x",
            lr=1e-5,
            attention_options={"reduction": 8, "gate": "hard é"},
            seed=3,
            near_duplicates=False,
        ),
        TrainConfig(data="x", pretrained=True, augment_options={"rotation": 30}, patience=4, time_budget=1.5),
    ],
)
def test_the_command_gives_the_same_options_again(config: TrainConfig, tmp_path: Path) -> None:
    words = shlex.split(command(config))
    assert words[:2] == ["excite", "train"]
    done = CliRunner().invoke(app, [*words[1:], "--print-config"])
    assert done.exit_code == 0, done.output
    (tmp_path / "config.yaml").write_text(done.stdout)
    assert TrainConfig.from_yaml(tmp_path / "config.yaml") == config


AWKWARD = (
    "<script>alert(1)</script>",
    "a|b",
    "`code` **bold**",
    "[link](http://example.org)",
    "# head",
    "two\nlines",
)


def test_the_card_is_markdown_that_shows_names_as_they_are(tmp_path: Path) -> None:
    card = model_card(write_run(tmp_path / "run", AWKWARD, groups=72, size=1))
    _, front, body = card.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["pipeline_tag"] == "image-classification"
    names = [metric["type"] for metric in facts["model-index"][0]["results"][0]["metrics"]]
    assert names == ["accuracy", "balanced_accuracy", "auroc", "log_loss"]
    markdown = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")
    page = markdown.MarkdownIt("commonmark").enable("table").render(body)
    assert "<script" not in page
    assert "<a href" not in page
    assert "<strong>" not in page
    assert page.count("<h1>") == 1
    for title in ("Intended use", "Data", "Metrics", "Calibration", "Limits and risks", "How to load it"):
        assert f"<h2>{title}</h2>" in page
    cells = re.findall(r"<td>(.*?)</td>", page)
    for shown in (
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "a|b",
        "`code` **bold**",
        "[link](http://example.org)",
    ):
        assert shown in cells
    assert "| |\n\n|" not in body  # a table is not torn by an empty line
    widths = {
        line.count("|") - line.count(r"\|")
        for line in body.splitlines()
        if line.startswith("| ") and "% (" in line
    }
    assert widths == {3, 12}


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40))
def test_any_text_is_shown_as_it_is_in_a_cell(text: str) -> None:
    table = f"| a | b |\n|---|---|\n| x{markdown_text(text)}x | end |\n"
    markdown = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")
    page = markdown.MarkdownIt("commonmark", {"html": True}).enable("table").render(table)
    shown = re.findall(r"<td>(.*?)</td>", page, flags=re.DOTALL)
    assert [html.unescape(cell) for cell in shown] == [f"x{' '.join(text.split())}x", "end"]


def test_each_table_of_the_card_says_once_why_intervals_are_rough(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ("a", "b", "c"), groups=12, size=2)
    card = model_card(run)
    tables = [{"all": run.metrics["test"]}, run.metrics["test"]["classes"]]
    figures = [
        [value for row in table.values() for value in row.values() if isinstance(value, dict)]
        for table in tables
    ]
    texts = [{value["warning"] for value in table if "warning" in value} for table in figures]
    assert texts[1] == {f"4 groups of class '{name}'; about 5 are needed" for name in "abc"}
    for text in texts[0] | texts[1]:
        assert card.count(text) == sum(text in table for table in texts)
    markdown = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")
    page = markdown.MarkdownIt("commonmark", {"html": True}).enable("table").render(card.split("---\n", 2)[2])
    assert "<td>" in page
    marked = [cell for cell in re.findall(r"<td>(.*?)</td>", page) if "<sup>" in cell]
    assert len(marked) == sum("warning" in value or "reason" in value for table in figures for value in table)


def test_the_card_says_how_disjoint_how_good_and_how_to_load(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", extras={"duplicates_in_train": 7})
    card = model_card(run)
    figure = run.metrics["test"]["accuracy"]
    assert (
        f"{100 * figure['value']:.1f} % ({100 * figure['low']:.1f} to {100 * figure['high']:.1f} %)" in card
    )
    assert "7 of 120 test images have a near-duplicate in the training set" in card
    assert 'excite.Classifier.load("RUN")' in card
    assert "## Operating point" in card
    folds = model_card(write_cross_validation(tmp_path / "folds", repeats=2))
    assert 'excite.Classifier.load("RUN")' in folds
    assert "contains the ensemble of all folds" in folds
    assert "## Label candidates" in folds
    assert "mean (corrected interval)" in folds
    assert "Operating point" not in folds


def test_shifts_say_which_weights_bear_them_better_and_what_they_are_on_the_mean() -> None:
    def row(name: str, start: float, tuned: float) -> dict[str, object]:
        figures = {"start": start, "tuned": tuned, "final": (start + tuned) / 2}
        return {
            "corruption": name,
            **{kind: {"accuracy": 1 - v, "log_loss": v} for kind, v in figures.items()},
        }

    rows = [row("clean", 0.5, 0.3), row("darker", 0.4, 0.6), row("noisy", 0.2, 0.8)]
    table = build_robustness_table({"fraction": 0.25, "probe": False, "n": 40, "rows": rows})
    assert "the initial weights have the lower mean log loss" in table.summary
    assert "on the clean images, the fine-tuned weights do." in table.summary
    assert "The final weights are 25% fine-tuned and 75% initial" in table.summary
    assert table.rows[-1] == ("mean of the corruptions", ("70.0 %, 0.300", "30.0 %, 0.700", "50.0 %, 0.500"))
    agreed_rows = [rows[0], row("darker", 0.6, 0.4)]
    agreed = build_robustness_table({"fraction": 0.0, "probe": True, "n": 40, "rows": agreed_rows})
    assert "the final model is the linear probe, refitted on train + val" in agreed.summary
    assert "the fine-tuned weights have the lower mean log loss" in agreed.summary
    assert "the fine-tuned weights do, too." in agreed.summary
