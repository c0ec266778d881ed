"""Notebooks: objects show themselves as small, escaped tables without scripts; progress replaces itself."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import excite
from excite.bundle.prediction import Prediction, PredictionList
from excite.data.preprocessing import Preprocessing
from excite.evaluation.metrics_table import metrics_table
from excite.runs.comparison import Comparison
from excite.runs.run import Run
from excite.system import notebook_display
from excite.system.notebook import LARGEST_PICTURE, facts_html, in_notebook, picture_html, table_html
from excite.system.notebook_display import NotebookDisplay, progress_display
from excite.system.progress import ConsoleDisplay, Display
from tests.reporting.run_folders import write_run

EVIL = '<script>alert("x")</script>\x1b[31m & <b>'
ALLOWED = {"div", "strong", "table", "thead", "tbody", "tr", "th", "td", "p", "img"}
VOID = {"img"}


class Checker(HTMLParser):
    """Fails for a tag that is not needed, an attribute that could run or load something, and open tags."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        for name, value in attributes:
            assert name in ("style", "src", "alt", "width"), name
            assert name != "src" or str(value).startswith("data:image/png;base64,")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


def checked(page: str, *, most: int = 10_000) -> str:
    """The text of a page that is well formed, small, and cannot run anything."""
    assert len(page) < most
    assert "\x1b" not in page
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert not checker.open
    return checker.text


def test_any_name_is_only_text() -> None:
    assert EVIL.replace("\x1b", "\\x1b") in checked(facts_html(EVIL, [(EVIL, EVIL)]))
    assert EVIL.replace("\x1b", "\\x1b") in checked(table_html([EVIL], [[EVIL]], below=EVIL))


def test_predictions() -> None:
    each = Prediction(EVIL, EVIL, 0.75, {EVIL: 0.75, "dog": 0.25}, abstained=True)
    text = checked(PredictionList([each] * 25)._repr_html_())
    assert "75.0%" in text
    assert "25 predictions; .table is a DataFrame" in text
    assert "\nabstained: <script>" in text
    assert checked(PredictionList()._repr_html_())


def test_a_classifier() -> None:
    model = excite.create_model("cifar_resnet20", num_classes=2)
    classifier = excite.Classifier(
        model, {"name": EVIL}, (EVIL, "dog"), Preprocessing(32), abstain_below=0.75
    )
    text = checked(classifier._repr_html_())
    assert "Classifier of 2 classes" in text
    assert "below a probability of 0.75" in text
    assert repr(classifier).count("\n") == 4


def test_an_audit_and_its_pairs(pictures: Path) -> None:
    first = pictures / "a" / "p0_0.png"
    (pictures / "b" / "again.png").write_bytes(first.read_bytes())
    found = excite.audit(pictures, near_duplicates=False)
    assert "Audit of 61 images" in checked(found._repr_html_())
    (row,) = found.pairs_table.to_dict("records")
    assert (Path(row["a"]).name, Path(row["b"]).name) == ("p0_0.png", "again.png")
    assert (row["label_a"], row["label_b"]) == ("a", "b")
    assert excite.audit(pictures / "a", near_duplicates=False).pairs_table.columns.tolist() == list(row)


def test_sites_and_their_table() -> None:
    table = excite.sites(excite.create_model("densenet121", num_classes=2))
    assert f"{len(table)} sites; .table is a DataFrame" in checked(table._repr_html_())
    frame = table.table
    assert len(frame) == len(table)
    assert frame["channels"].tolist() == [site.channels for site in table]


def test_a_run_shows_its_metrics_and_its_figures(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    text = checked(run._repr_html_())
    accuracy = run.metrics["test"]["accuracy"]
    assert f"{accuracy['value']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f})" in text
    run.figures.mkdir(exist_ok=True)
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(run.figures / "confusion_matrix.png")
    assert run._repr_html_().count("<img ") == 1
    checked(run._repr_html_())


@pytest.mark.parametrize("harm", ["nothing there", "metrics", "config"])
def test_a_damaged_run_shows_what_is_left(tmp_path: Path, harm: str) -> None:
    run = Run(tmp_path / "none")
    if harm != "nothing there":
        run = write_run(tmp_path / "run")
        (run.path / ("metrics.json" if harm == "metrics" else "config.yaml")).write_text("{broken")
    assert str(run.path) in checked(Run(run.path)._repr_html_())


def test_large_and_foreign_pictures_are_left_out(tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(b"\x89PNG" + bytes(LARGEST_PICTURE))
    other = tmp_path / "other.png"
    other.write_bytes(b"<svg onload='x'>")
    assert picture_html(large, "") == picture_html(other, "") == picture_html(tmp_path / "none.png", "") == ""


def test_the_table_of_metrics_has_every_metric_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    table = run.metrics_table
    assert not table.duplicated(["split", "class", "subgroup", "metric"]).any()
    whole = table[(table["class"] == "") & (table["subgroup"] == "")].set_index(["split", "metric"])
    for split in ("val", "test"):
        metrics = run.metrics[split]
        for name in ("accuracy", "auroc", "log_loss", "ece"):
            row = whole.loc[(split, name)]
            assert row["value"] == metrics[name]["value"]
            assert row["n"] == metrics["n"]
    test = run.metrics["test"]
    classes = table[(table["split"] == "test") & (table["class"] != "") & (table["metric"] == "sensitivity")]
    assert dict(zip(classes["class"], classes["value"], strict=True)) == {
        name: row["sensitivity"]["value"] for name, row in test["classes"].items()
    }
    parts = {f"{part['column']}={row['value']}" for part in test["subgroups"] for row in part["rows"]}
    assert set(table["subgroup"]) - {""} == parts
    assert table["value"].dtype == float


def test_an_undefined_metric_has_its_reason() -> None:
    metrics = {"n": 4, "groups": 4, "auroc": {"value": None, "reason": "all images belong to one class"}}
    (row,) = metrics_table({"test": metrics}).to_dict("records")
    assert row["reason"] == "all images belong to one class"
    assert row["value"] is None or np.isnan(row["value"])


def test_a_comparison_is_a_document_and_a_table(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, positive=False).path for name in ("one", "two")]
    found = excite.compare(runs)
    assert json.loads(json.dumps(found)) == found
    table = found.table
    assert table["metric"].tolist() == ["accuracy", "balanced_accuracy", "auroc", "log_loss", "brier"]
    assert (table["value"] == 0).all()
    checked(found._repr_html_())
    refused = Comparison(
        runs=[], differences=[{"first": "a", "second": EVIL, "reason": "the classes differ"}]
    )
    assert refused.table["reason"].tolist() == ["the classes differ"]
    checked(refused._repr_html_())


def test_an_evaluation_is_two_tables(tmp_path: Path) -> None:
    from excite.evaluation.evaluate import EvaluationSpec
    from excite.runs.table_evaluation import evaluate_table

    run = write_run(tmp_path / "run")
    found = evaluate_table(run.path / "predictions.csv", EvaluationSpec())
    checked(found._repr_html_())
    accuracy = found.table.query("metric == 'accuracy' and `class` == ''")
    assert accuracy["value"].tolist() == [found.metrics["accuracy"]["value"]]
    written = pd.read_csv(run.path / "predictions.csv", keep_default_na=False)
    assert found.predictions_table["predicted"].tolist() == written["predicted"].tolist()


class Handle:
    """What IPython's display returns."""

    def __init__(self, shown: list[str]) -> None:
        self.shown = shown

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.shown.append(data["text/plain"])


def test_progress_in_a_notebook_is_one_line_that_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ipython = pytest.importorskip("IPython.display")
    shown: list[str] = []

    def display(data: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert display_id
        Handle(shown).update(data, raw=raw)
        return Handle(shown)

    monkeypatch.setattr(ipython, "display", display)
    progress = NotebookDisplay()
    progress.note("data      3 images")
    show = progress.stage("decoding")
    monkeypatch.setattr(notebook_display.NotebookDisplay, "due", lambda _: True)
    show(1, 2)
    show(2, 2)
    with progress.waiting("thinking"):
        pass
    bars = [f"decoding [{'#' * 8 * n}{' ' * (16 - 8 * n)}] {n} of 2  0:00 left" for n in (1, 2)]
    assert shown == ["decoding", *bars, "", "thinking", ""]
    out, err = capsys.readouterr()
    assert (out, err) == ("data      3 images\n", "")


def test_outside_of_a_notebook_progress_is_as_before() -> None:
    assert not in_notebook()
    assert type(progress_display()) is ConsoleDisplay
    assert type(progress_display(quiet=True)) is Display


NOTEBOOK = """
import excite
run = excite.train({data!r}, model="cifar_resnet20", image_size=16, epochs=2, device="cpu", out={out!r},
                   near_duplicates=False, recipe="scratch")
run
"""


@pytest.mark.slow
def test_a_real_notebook_runs_a_training(pictures: Path, tmp_path: Path) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    code = [NOTEBOOK.format(data=str(pictures), out=str(tmp_path / "run")), "excite.Classifier.load(run)"]
    code.append("excite.Classifier.load(run).predict(run.predictions['path'][:3].tolist())")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in code])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    first, second, third = (cell["outputs"] for cell in notebook.cells)
    streams = {output["name"] for output in first if output["output_type"] == "stream"}
    assert streams == {"stdout"}  # not in red
    text = "".join(output["text"] for output in first if output["output_type"] == "stream")
    assert re.search(r"^data  +60 images", text, re.MULTILINE)
    updates = [output for output in first if output["output_type"] == "display_data"]
    assert {output["data"]["text/plain"] for output in updates} <= {""}  # each bar has removed itself
    results = [
        output
        for each in (first, second, third)
        for output in each
        if output["output_type"] == "execute_result"
    ]
    pages = [output["data"]["text/html"] for output in results]
    assert "<img " in pages[0]
    for page in pages:
        checked(page, most=300_000)
    assert len(json.dumps(notebook)) < 600_000
