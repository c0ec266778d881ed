"""excite predict"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from excite.runs.classifier import Classifier
from tests.conftest import Command


def test_predict_classifies_readable_files_and_names_the_others(
    trained: Path, excite_command: Command, tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_text("<html>")
    (tmp_path / "empty").mkdir()
    images = [
        trained / "pictures" / "b" / "p3_3.png",
        tmp_path / "bad.jpg",
        trained / "pictures" / "a" / "p1_1.png",
        tmp_path / "empty",
    ]
    done = excite_command("predict", trained / "run", *images, "--format", "csv")
    assert done.returncode == 1
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["path"] for row in rows] == [str(images[0]), str(images[2])]
    assert all(float(row["probability"]) == max(float(row[f"p:{c}"]) for c in "abc") for row in rows)
    assert done.stderr.count("excite: error: ") == 2
    assert "bad.jpg" in done.stderr
    assert "empty: the folder holds no images" in done.stderr


def test_predict_takes_folders_and_prints_a_table(trained: Path, excite_command: Command) -> None:
    done = excite_command("predict", trained / "run", trained / "pictures" / "a")
    assert len(done.stdout.splitlines()) == 21
    none = excite_command("predict", trained / "run", trained / "run" / "checkpoints")
    assert (none.returncode, none.stdout) == (2, "")
    assert "the folder holds no images" in none.stderr


@pytest.mark.slow
def test_digits_are_the_built_in_data_set_unless_there_is_such_a_folder(
    trained: Path, excite_command: Command, tmp_path: Path
) -> None:
    place = tmp_path / "work"
    done = excite_command("predict", trained / "run", "digits", "--out", "digits.csv")
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(place / "digits.csv")) == 1797
    (place / "digits").mkdir()
    (place / "digits" / "1.png").write_bytes((trained / "pictures" / "a" / "p1_1.png").read_bytes())
    done = excite_command("predict", trained / "run", "digits", "--format", "csv")
    assert [row["path"] for row in csv.DictReader(io.StringIO(done.stdout))] == ["digits/1.png"]


def test_predict_prints_prediction_sets_in_every_format(trained: Path, excite_command: Command) -> None:
    run, image = trained / "run", trained / "pictures" / "a" / "p1_1.png"
    expected = Classifier.load(run).predict(image, set_level=0.5)[0]
    assert expected.classes_in_set is not None
    assert expected.label == expected.classes_in_set[0]
    done = excite_command("predict", run, image, "--set", "0.5", "--json")
    assert json.loads(done.stdout)[0]["set"] == list(expected.classes_in_set)
    done = excite_command("predict", run, image, "--set", "0.5", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert {name for name in "abc" if row[f"set:{name}"] == "true"} == set(expected.classes_in_set)
    done = excite_command("predict", run, image, "--set", "0.5")
    assert done.stdout.splitlines()[1].rstrip().endswith(", ".join(expected.classes_in_set))
    refused = excite_command("predict", run, image, "--set", "0.999")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "sets with a level of 0.999 need 999 validation groups; this classifier has" in refused.stderr
    assert Classifier.load(run).predict(image)[0].classes_in_set is None


def test_the_most_doubtful_come_first(trained: Path, excite_command: Command) -> None:
    folder = trained / "pictures" / "a"
    done = excite_command("predict", trained / "run", folder, "--sort", "doubt", "--json")
    found = json.loads(done.stdout)
    top = np.sort([list(each["probabilities"].values()) for each in found], axis=1)
    assert len(found) == len(list(folder.iterdir()))
    assert (np.diff(top[:, -1] - top[:, -2]) >= 0).all()
    wrong = excite_command("predict", trained / "run", folder, "--sort", "doubts")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "did you mean 'doubt'?" in wrong.stderr


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".json", ".xlsx", ".CSV"])
def test_out_writes_the_format_of_its_ending(
    trained: Path, excite_command: Command, tmp_path: Path, suffix: str
) -> None:
    if suffix == ".xlsx":
        pytest.importorskip("openpyxl")
    out = tmp_path / f"found{suffix}"
    pictures = trained / "pictures"
    done = excite_command("predict", trained / "run", pictures, "--out", out)
    assert done.returncode == 0, done.stderr
    expected = Classifier.load(trained / "run").predict(pictures).table
    counts = expected["predicted"].value_counts()
    assert f"({len(expected)} images: {counts.index[0]} {counts.iloc[0]}" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    if suffix == ".json":
        rows = json.loads(out.read_text())
        table = pd.DataFrame([{"path": row["path"], **row["probabilities"]} for row in rows])
        table.columns = ["path", *(f"p:{name}" for name in "abc")]
    else:
        table = (pd.read_excel if suffix == ".xlsx" else pd.read_csv)(out)
        assert list(table.columns) == list(expected.columns)
        assert table["predicted"].tolist() == expected["predicted"].tolist()
    assert table["path"].tolist() == expected["path"].tolist()
    for name in "abc":
        np.testing.assert_allclose(table[f"p:{name}"], expected[f"p:{name}"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("found.txt", "found.txt: the ending '.txt' is no format (use .csv, .json, or .xlsx)"),
        ("found", "found: the name has no ending"),
    ],
)
def test_another_ending_is_refused_before_anything_is_read(
    excite_command: Command, name: str, message: str
) -> None:
    done = excite_command("predict", "no-run", "no-image.png", "--out", name)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
