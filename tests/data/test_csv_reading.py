"""CSV files as manifests: columns and their names, and invalid files."""

from __future__ import annotations

from pathlib import Path

import pytest

from excite.data.csv_reading import read_csv
from excite.errors import ExciteError

ROLES = {"path": "path", "label": "label", "group": "group", "split": "split"}


def csv(folder: Path, text: str) -> Path:
    file = folder / "data.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_labels_are_text_and_paths_start_at_the_csv(tmp_path: Path) -> None:
    manifest = read_csv(csv(tmp_path, "path,label\na.png,01\nx/b.png,NA\n"), ROLES)
    assert manifest.table["label"].tolist() == ["01", "NA"]
    assert manifest.table["path"].tolist() == [str(tmp_path / "a.png"), str(tmp_path / "x/b.png")]


def test_other_columns_do_not_take_the_names_of_the_manifest(tmp_path: Path) -> None:
    file = csv(tmp_path, "path,diagnosis,label,,sha256,age\na.png,x,other,0,s,7\n")
    table = read_csv(file, {**ROLES, "label": "diagnosis"}).table
    assert table["label"].tolist() == ["x"]
    assert table["label_original"].tolist() == ["other"]
    assert table["sha256_original"].tolist() == ["s"]
    assert table["sha256"].tolist() == [""]
    assert table["unnamed"].tolist() == ["0"]
    assert table["age"].tolist() == ["7"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,lable\na.png,x\n", r"has no column 'label'.*did you mean 'lable'.*--label-column"),
        ("path,label\n", "has a header but no rows"),
        ("path,label\na.png,x\nb.png, \n", "1 of 2 rows have no label, the first is row 2"),
        ("path,label\na.png,x\na.png,y\n", "1 paths are listed more than once"),
        ("path,label,split\na.png,x,trian\n", "unknown split 'trian'.*did you mean 'train'"),
    ],
)
def test_errors_name_the_file_and_the_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ExciteError, match=message) as caught:
        read_csv(csv(tmp_path, text), ROLES)
    assert caught.value.where == str(tmp_path / "data.csv")


def test_a_column_with_two_roles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match="--label-column and --group-column name the same column, 'x'"):
        read_csv(csv(tmp_path, "path,x\na.png,1\n"), {**ROLES, "label": "x", "group": "x"})
