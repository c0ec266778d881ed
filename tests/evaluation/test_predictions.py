"""A table of predictions is read unchanged, or refused in one line that names the error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.predictions import Predictions, read_predictions

GOOD = """path,label,predicted,p:cat,p:dog,group
a.png,cat,cat,0.75,0.25,x
b.png,dog,cat,0.5,0.5,
c.png,dog,dog,0,1,x
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "predictions.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_is_read_as_it_stands(tmp_path: Path) -> None:
    found = read_predictions(written(tmp_path, GOOD))
    assert found.classes == ("cat", "dog")
    assert found.paths == ("a.png", "b.png", "c.png")
    assert found.targets.tolist() == [0, 1, 1]
    assert found.probabilities.tolist() == [[0.75, 0.25], [0.5, 0.5], [0, 1]]
    assert found.predicted.tolist() == [0, 0, 1]  # of equals the first
    assert found.confidences.tolist() == [0.75, 0.5, 1]
    assert found.correct.tolist() == [True, False, True]
    codes = found.group_codes
    assert found.group_count == 2  # an image without a group is one of its own
    assert codes[0] == codes[2] != codes[1]


def test_without_groups_each_row_is_one_and_another_column_may_contain_them(tmp_path: Path) -> None:
    bare = GOOD.replace(",group", "").replace(",x\n", "\n").replace("0.5,\n", "0.5\n")
    assert read_predictions(written(tmp_path, bare)).group_count == 3
    named = written(tmp_path, GOOD.replace("group", "patient"))
    assert read_predictions(named, group="patient").group_count == 2
    with pytest.raises(ExciteError, match="missing columns: 'patient'"):
        read_predictions(written(tmp_path, GOOD), group="patient")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("label", "truth"), "missing columns: 'label'"),
        ("path,label\na.png,cat\n", "missing columns: 'p:CLASS' for each class"),
        ("a,b\n1,2\n", "missing columns: 'path', 'label', 'p:CLASS' for each class"),
        (GOOD.replace("0.75", "0.8"), r"row 1 \(a.png\): the probabilities sum to 1.05 instead of 1"),
        (
            GOOD.replace("0.75", "1.75").replace("0,1", "0,3"),
            r"row 3 .* sum to 3 instead of 1 \(2 such rows\)",
        ),
        (
            GOOD.replace("0.75,0.25", "1.5,-0.5"),
            r"row 1 \(a.png\): negative probability -0.5 \(if these are logits",
        ),
        (GOOD.replace("0.75", "much"), r"row 1 \(a.png\): p:cat is 'much', not a number"),
        (GOOD.replace("0.75", ""), r"row 1 \(a.png\): p:cat is '', not a number"),
        (GOOD.replace("0.75", "inf"), r"row 1 \(a.png\): a probability is not finite"),
        (GOOD.replace("c.png", "a.png"), r"a.png occurs twice"),
        (GOOD.replace("c.png", ""), r"row 3: the path is empty"),
        (GOOD.replace("p:dog", "p:cat"), r"two columns of the same name: 'p:cat'"),
        (GOOD.replace("group", "path"), r"two columns of the same name: 'path'"),
        (
            "path,label,p:cat,p:dog\na.png,cat,75,25\nb.png,dog,50,50\n",
            r"sum to 100 instead of 1 \(2 such rows\) \(if these are percentages, divide them by 100",
        ),
        (GOOD.replace("c.png,dog", "c.png,cow"), r"row 3 \(c.png\): label 'cow' has no column 'p:cow'"),
        (GOOD.splitlines()[0], "at least one image"),
        ("", "is an empty file"),
        ('path,label,p:a\n"x', "is not a valid CSV file: line 2"),
    ],
)
def test_an_invalid_table_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ExciteError, match=message) as caught:
        read_predictions(path)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    assert caught.value.exit_code == BAD_USAGE


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match=r"there is no such file"):
        read_predictions(tmp_path / "none.csv")
    (tmp_path / "x.csv").write_bytes(bytes(range(256)))
    with pytest.raises(ExciteError, match="not a CSV file in UTF-8"):
        read_predictions(tmp_path / "x.csv")


def test_rounded_rows_are_divided_by_their_sum_and_float32_rows_left_alone() -> None:
    rounded = Predictions(np.array([0]), np.array([[0.333, 0.333, 0.333]]), ("a", "b", "c"))
    assert rounded.probabilities[0] == pytest.approx([1 / 3] * 3, abs=1e-12)
    row = np.array([[0.1, 0.9]], dtype=np.float32)
    assert (Predictions(np.array([0]), row, ("a", "b")).probabilities == row.astype(np.float64)).all()


@pytest.mark.parametrize(
    ("targets", "classes", "extra", "message"),
    [
        ([0, 2], ("a", "b"), {}, "row 2: target 2 is not one of the 2 classes"),
        ([0, -1], ("a", "b"), {}, "row 2: target -1"),
        ([0.0, 1.0], ("a", "b"), {}, "whole numbers"),
        ([0, 1], ("a", "b", "c"), {}, r"shape \(2, 3\), got \(2, 2\)"),
        ([0, 1], ("a", "a"), {}, "class 'a' occurs twice"),
        ([0, 1], ("a", "b"), {"groups": np.array(["x"])}, "1 groups for 2 images: one per image"),
        ([0, 1], ("a", "b"), {"paths": ("x",)}, "1 paths for 2 images: one per image"),
    ],
)
def test_inconsistent_arrays_are_refused(
    targets: list[float], classes: tuple[str, ...], extra: dict[str, object], message: str
) -> None:
    with pytest.raises(ExciteError, match=message):
        Predictions(np.array(targets), np.full((2, 2), 0.5), classes, **extra)  # type: ignore[arg-type]


def test_numbers_and_missing_values_serve_as_groups() -> None:
    groups = np.array([1, None, float("nan"), 1], dtype=object)
    found = Predictions(np.zeros(4, dtype=int), np.ones((4, 1)), ("a",), groups)
    assert found.group_count == 3
    part = found.take(np.array([True, False, False, True]))
    assert (len(part), part.group_count) == (2, 1)


def test_a_long_table_is_read(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = random.dirichlet(np.ones(6), 5000)
    table = pd.DataFrame(rows, columns=[f"p:{c}" for c in range(6)])
    table.insert(0, "label", random.integers(0, 6, 5000).astype(str))
    table.insert(0, "path", [f"{i}.png" for i in range(5000)])
    table.to_csv(tmp_path / "p.csv", index=False)
    assert np.allclose(read_predictions(tmp_path / "p.csv").probabilities, rows, rtol=0, atol=1e-12)


def test_a_photo_is_the_mean_of_its_copies() -> None:
    table = pd.DataFrame(
        {
            "path": list("abcdef"),
            "photo": ["x", "", "x", "y", "", "y"],
            "group": ["g", "", "g", "g", "h", "g"],
            "target": [0, 1, 0, 1, 1, 1],
            "p": [0.9, 0.2, 0.4, 0.3, 0.6, 0.1],
        }
    )
    told = Predictions(
        table["target"].to_numpy(),
        np.stack([table["p"], 1 - table["p"]], axis=1),
        ("one", "two"),
        table["group"].to_numpy(),
        tuple(table["path"]),
        table["photo"].to_numpy(),
    )
    assert told.has_copies
    photos = told.by_photo()
    key = table["photo"].where(table["photo"] != "", table["path"])
    expected = table.groupby(key, sort=False).agg({"path": "first", "p": "mean", "target": "first"})
    assert photos.paths == tuple(expected["path"])
    assert photos.probabilities[:, 0] == pytest.approx(expected["p"].to_numpy())
    assert photos.targets.tolist() == expected["target"].tolist()
    assert photos.group_count == 3  # g, h, and the image without a group
    assert not photos.has_copies


def test_copies_under_two_labels_are_two_photos() -> None:
    said = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    told = Predictions(np.array([0, 1, 1]), said, ("a", "b"), photos=np.array(["x", "x", "x"]))
    photos = told.by_photo()
    assert photos.targets.tolist() == [0, 1]
    assert photos.probabilities[:, 0] == pytest.approx([0.9, 0.45])


def test_without_photos_every_image_is_one() -> None:
    told = Predictions(np.array([0, 1]), np.array([[0.9, 0.1], [0.7, 0.3]]), ("a", "b"))
    assert not told.has_copies
    assert told.by_photo().probabilities == pytest.approx(told.probabilities)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: "\ufeff\n" + text + "\n\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(",group\n", ", group ,\n"),
    ],
)
def test_a_table_of_a_spreadsheet_is_read_alike(tmp_path: Path, change: object, separator: str) -> None:
    expected = read_predictions(written(tmp_path, GOOD))
    (tmp_path / "sheet.csv").write_bytes(change(GOOD).replace(",", separator).encode())
    found = read_predictions(tmp_path / "sheet.csv")
    assert (found.classes, found.paths) == (expected.classes, expected.paths)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    np.testing.assert_array_equal(found.group_codes, expected.group_codes)


def test_decimal_commas_are_read_where_semicolons_separate(tmp_path: Path) -> None:
    text = "path;label;p:cat;p:dog\na.png;cat;0,75;2,5e-1\nb.png;dog;0;1\n"
    assert read_predictions(written(tmp_path, text)).probabilities.tolist() == [[0.75, 0.25], [0, 1]]


def test_classes_are_the_same_in_both_unicode_forms_and_may_end_in_spaces(tmp_path: Path) -> None:
    text = "path,label,p:cafe\u0301,p:tea \na.png,caf\u00e9,1,0\nb.png,tea ,0,1\n"
    found = read_predictions(written(tmp_path, text))
    assert found.classes == ("caf\u00e9", "tea ")
    assert found.targets.tolist() == [0, 1]
    assert found.class_index("cafe\u0301") == 0


def test_a_group_is_one_in_either_unicode_form_and_with_spaces(tmp_path: Path) -> None:
    text = "path,label,group,p:a,p:b\nx,a,M\u00fcller,1,0\ny,b,Mu\u0308ller,0,1\nz,b,M\u00fcller ,0,1\n"
    assert read_predictions(written(tmp_path, text)).group_count == 1
