"""The model card: valid Markdown that shows names as they are, with metrics and warnings."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from excite.reporting.model_card import markdown_text
from excite.reporting.report import model_card
from tests.reporting.run_folders import write_cross_validation, write_run

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
    assert "| |\n\n|" not in body  # no empty line divides a table
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


def test_each_warning_is_one_note_per_table(tmp_path: Path) -> None:
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


def test_the_card_contains_the_metrics_the_near_duplicates_and_the_loading_code(tmp_path: Path) -> None:
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
