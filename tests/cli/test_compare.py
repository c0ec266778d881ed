"""excite compare, as printed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from excite.cli import output
from tests.conftest import Command


def table(path: Path, positives: int, seed: int) -> Path:
    """A table of predictions for 60 images, most of them right."""
    targets = np.arange(60) < positives
    yes = (0.4 * targets + np.random.default_rng(seed).uniform(0.1, 0.55, 60)).round(3)
    labels = np.where(targets, "yes", "no")
    columns = {"path": [f"{row}.jpg" for row in range(60)], "label": labels, "p:no": 1 - yes, "p:yes": yes}
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_few_images_of_a_class_cause_a_warning(excite_command: Command, tmp_path: Path) -> None:
    for positives, expected in ((4, True), (30, False)):
        first, second = (table(tmp_path / f"{positives}-{seed}.csv", positives, seed) for seed in (1, 2))
        done = excite_command("compare", first, second, "--metrics", "accuracy,balanced_accuracy")
        assert done.returncode == 0, done.stderr
        assert ("rough: 4 groups of class 'yes'; about 5 are needed" in done.stdout) is expected, done.stdout


def test_two_equal_tables_are_identical_and_nothing_more(excite_command: Command, tmp_path: Path) -> None:
    first, second = (table(tmp_path / f"{name}.csv", 30, 1) for name in "ab")
    done = excite_command("compare", first, second)
    assert "identical: every probability is equal on 60 shared images" in done.stdout
    assert "McNemar" not in done.stdout
    found = json.loads(excite_command("compare", first, second, "--json").stdout)
    assert found["differences"][0]["identical"] is True
    other = table(tmp_path / "c.csv", 30, 2)
    assert "identical" not in excite_command("compare", first, other).stdout


def test_reasons_for_missing_intervals_are_sentences_below_the_table(
    excite_command: Command, tmp_path: Path
) -> None:
    first = table(tmp_path / "a.csv", 30, 1)
    sharper = pd.read_csv(first)
    sharper["p:yes"] = np.where(sharper["p:yes"] > 0.5, 0.9, 0.1)  # the same classes
    sharper.assign(**{"p:no": 1 - sharper["p:yes"]}).to_csv(tmp_path / "b.csv", index=False)
    done = excite_command("compare", first, tmp_path / "b.csv", "--metrics", "accuracy,balanced_accuracy")
    reason = "the two classifiers do not differ in any group"
    assert f"no interval (-) of accuracy, balanced_accuracy: {reason}" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("accuracy"))
    assert row.split() == ["accuracy", "+0.00", "points", "-"]


def test_a_comparison_fits_80_columns_and_breaks_no_number(
    excite_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(Console):
        def __init__(self, **options: Any) -> None:
            super().__init__(force_terminal=True, width=80, color_system=None, **options)

    names = [f"a_rather_long_name_of_a_table_{seed}.csv" for seed in (1, 2)]
    for seed, name in enumerate(names):
        table(tmp_path / "work" / name, 30, seed)
    monkeypatch.setattr(output, "Console", Terminal)
    done = excite_command("compare", *names)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in done.stdout.splitlines()]
    found = json.loads(excite_command("compare", *names, "--json").stdout)
    accuracy = found["runs"][0]["accuracy"]
    for number in (f"{accuracy['value']:.1%}", f"({100 * accuracy['low']:.1f}-{100 * accuracy['high']:.1f})"):
        assert any(number in line for line in lines)
    assert max(map(len, lines)) <= 80
