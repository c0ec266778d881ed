"""What a notebook shows of excite's objects: a short table, whatever is inside."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import excite
from excite.data.preprocessing import Preprocessing
from excite.runs.run import Run
from tests.reporting.run_folders import write_run


def check(text: str, lines: int) -> None:
    assert len(text.splitlines()) <= lines
    assert max(map(len, text.splitlines())) <= 80


def test_an_audit_shows_its_counts(pictures: Path) -> None:
    first = pictures / "a" / "p0_0.png"
    first.with_name("again.png").write_bytes(first.read_bytes())
    found = excite.audit(pictures, near_duplicates=False)
    check(repr(found), 10)
    assert "Audit of 61 images" in repr(found)
    assert "groups            60\n" in repr(found)
    assert "same photo        not searched" in repr(found)
    assert "1 pair\n" in repr(found)


def test_sites_show_ten_of_themselves() -> None:
    table = excite.sites(excite.create_model("densenet121", num_classes=2))
    check(repr(table), 14)
    assert repr(table).startswith(f"{len(table)} sites\nmodule")
    few = excite.sites(excite.create_model("cifar_resnet20", num_classes=2), stages=4)
    assert repr(few).endswith(str(few))
    assert "more" not in repr(few)


def test_a_classifier_shows_its_classes_and_its_network() -> None:
    names = tuple(f"class number {number}" for number in range(1000))
    model = excite.create_model("cifar_resnet20", num_classes=1000)
    architecture = {"name": "cifar_resnet20"}
    classifier = excite.Classifier(model, architecture, names, Preprocessing(32), abstain_below=0.75)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    text = repr(classifier)
    assert len(text) < 600
    assert text.startswith("Classifier of 1000 classes: class number 0, ")
    assert f"cifar_resnet20, {parameters:,} parameters, cpu" in text
    assert "below a probability of 0.75" in text


def test_a_run_shows_its_accuracy_and_reads_as_a_table(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    check(repr(run).replace(str(tmp_path), ""), 4)
    accuracy = run.metrics["test"]["accuracy"]
    assert f"accuracy  {accuracy['value']:.1%} (" in repr(run)
    assert isinstance(run.manifest.table, pd.DataFrame)
    assert isinstance(run.predictions, pd.DataFrame)


@pytest.mark.parametrize("harm", ["nothing there", "metrics", "config"])
def test_a_damaged_run_has_a_repr(tmp_path: Path, harm: str) -> None:
    run = Run(tmp_path / "none")
    if harm != "nothing there":
        run = write_run(tmp_path / "run")
        name = "metrics.json" if harm == "metrics" else "config.yaml"
        (run.path / name).write_text("{broken")
    assert repr(Run(run.path)).startswith(f"Run({str(run.path)!r})")
