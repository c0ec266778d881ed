"""Several labels per image: reading them, and keeping them in a manifest and its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from excite.config.task import MULTICLASS, MULTILABEL
from excite.data.manifest import Manifest, check_classes
from excite.data.reading import read_manifest
from excite.errors import ExciteError

COLUMNS = "path,mass,nodule,patient\na.png,1,0,p1\nb.png,0,,p1\nc.png,1.0,1,p2\nd.png,0,0,p3\ne.png,-1,1,p4\n"
NAMES = (
    "path,label\na.png,Mass|Nodule\nb.png,No Finding\nc.png,Mass\nd.png,Nodule | Effusion\ne.png,Effusion\n"
)


def csv(folder: Path, text: str) -> Path:
    file = folder / "data.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_columns_of_zeros_and_ones(tmp_path: Path) -> None:
    manifest = read_manifest(
        csv(tmp_path, COLUMNS), label_columns="nodule, mass", group_column="patient", complete=False
    )
    assert manifest.task == MULTILABEL
    assert manifest.classes == ("nodule", "mass")  # in the order of the option
    assert manifest.targets().tolist() == [[0, 1], [-1, 0], [1, 1], [0, 0], [1, -1]]
    assert manifest.table["label"].tolist() == ["mass", "", "nodule|mass", "", "nodule"]
    assert manifest.counts() == {"nodule": 2, "mass": 2}
    assert manifest.table["group"].tolist() == ["p1", "p1", "p2", "p3", "p4"]
    assert "mass" not in manifest.table  # a column with a role is not one of the user's, too


def test_separated_names(tmp_path: Path) -> None:
    manifest = read_manifest(csv(tmp_path, NAMES), label_separator="|", complete=False)
    assert manifest.classes == ("Effusion", "Mass", "Nodule")
    assert manifest.targets().tolist() == [[0, 1, 1], [0, 0, 0], [0, 1, 0], [1, 0, 1], [1, 0, 0]]


def test_one_class_per_image_is_as_before(tmp_path: Path) -> None:
    manifest = read_manifest(csv(tmp_path, NAMES), complete=False)
    assert manifest.task == MULTICLASS
    assert manifest.classes == ("Effusion", "Mass", "Mass|Nodule", "No Finding", "Nodule | Effusion")


@pytest.mark.parametrize("options", [{"label_columns": "mass,nodule"}, {}])
def test_a_saved_manifest_is_read_back(tmp_path: Path, options: dict[str, str]) -> None:
    manifest = read_manifest(csv(tmp_path, COLUMNS), label_columns="mass,nodule", complete=False)
    manifest.with_columns(split="train").save(tmp_path / "saved.csv")
    again = read_manifest(tmp_path / "saved.csv", complete=False, **options)
    assert again.classes == manifest.classes
    assert again.table["split"].unique().tolist() == ["train"]
    pd.testing.assert_frame_equal(again.table.drop(columns="split"), manifest.table.drop(columns="split"))


def test_a_column_of_the_user_is_never_a_label(tmp_path: Path) -> None:
    manifest = read_manifest(csv(tmp_path, "path,label,label:x\na.png,cat,1\nb.png,dog,0\n"), complete=False)
    assert manifest.task == MULTICLASS
    assert manifest.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (COLUMNS, {"label_columns": "mass,noodle"}, "did you mean 'nodule'"),
        (COLUMNS, {"label_columns": "mass,mass"}, "names 'mass' twice"),
        (COLUMNS, {"label_columns": "mass,nodule", "label_separator": "|"}, "mutually exclusive"),
        (
            COLUMNS.replace("1.0", "2"),
            {"label_columns": "mass,nodule"},
            "row 3: mass is '2', expected 0 or 1",
        ),
        (NAMES, {"label_separator": ";"}, "holds more than one label separated by ';'"),
    ],
)
def test_refused_tables(tmp_path: Path, text: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ExciteError) as caught:
        read_manifest(csv(tmp_path, text), **options)
    assert message in f"{caught.value} {caught.value.hint}"


def test_folders_are_refused(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    with pytest.raises(ExciteError, match="one class; several labels are read from a CSV"):
        read_manifest(tmp_path, label_columns="a,b")


def labeled(rows: list[list[int]], **columns: list[str]) -> Manifest:
    values = np.array(rows)
    table = {"path": [f"/{number}.png" for number in range(len(rows))]}
    names = tuple("abc"[: values.shape[1]])
    labels = {f"label:{name}": values[:, column] for column, name in enumerate(names)}
    return Manifest(pd.DataFrame({**table, **labels, **columns}), names)


@pytest.mark.parametrize(
    ("rows", "split", "message"),
    [
        ([[1, 0], [0, 1], [1, 0], [0, 1]], None, "exactly one of the 2 labels: these are classes"),
        ([[1], [0], [1], [0]], None, "at least two labels are needed"),
        ([[1, 0], [1, 1], [0, 0], [0, -1]], None, "label 'b' has 1 image with it"),
        ([[1, 0], [1, 1], [1, 0], [0, 1]], None, "label 'a' has 1 image without it"),
        ([[1, 0], [0, 1], [1, 0], [0, 1], [0, 0]], list("tttvv"), "val has no image with label 'a'"),
    ],
)
def test_labels_that_cannot_be_trained_on(
    rows: list[list[int]], split: list[str] | None, message: str
) -> None:
    names = {"t": "train", "v": "val"}
    columns = {} if split is None else {"split": [names[each] for each in split]}
    with pytest.raises(ExciteError, match=message):
        check_classes(labeled(rows, **columns))


def test_rows_of_a_manifest_keep_their_labels() -> None:
    manifest = labeled([[1, 0], [0, 1], [1, 1], [0, 0]], split=["train", "test", "test", "train"])
    assert manifest.part("test").targets().tolist() == [[0, 1], [1, 1]]
    assert manifest.part("test").classes == ("a", "b")
