"""A manifest keeps its values, also through a file."""

from __future__ import annotations

import os
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from excite.data.manifest import COLUMNS, Manifest, check_classes
from excite.data.reading import read_manifest
from excite.errors import ExciteError


def manifest(labels: list[str], **columns: list) -> Manifest:
    paths = [f"/data/{number:04d}.png" for number in range(len(labels))]
    table = pd.DataFrame({"path": paths, "label": labels, **columns})
    return Manifest(table, tuple(sorted(set(labels))))


def test_missing_columns_are_filled_and_further_ones_kept_behind() -> None:
    made = manifest(["b", "a"], age=["41", "7"], split=["val", "train"])
    assert tuple(made.table.columns) == (*COLUMNS, "age")
    assert made.classes == ("a", "b")
    assert made.targets().tolist() == [1, 0]
    assert made.targets().dtype == np.int64
    assert made.splits == ("train", "val")
    assert made.table["width"].tolist() == [0, 0]


def test_a_part_keeps_the_classes() -> None:
    made = manifest(["a", "b", "c"], split=["train", "train", "test"])
    part = made.part("test")
    assert (len(part), part.classes) == (1, ("a", "b", "c"))
    assert part.counts() == {"a": 0, "b": 0, "c": 1}
    assert part.targets().tolist() == [2]
    with pytest.raises(ExciteError, match="did you mean 'train'"):
        made.part("trian")


def test_an_image_without_a_group_counts_as_one() -> None:
    made = manifest(list("aabba"), group=["p1", "", "p1", "", "p2"])
    assert made.group_count() == 4
    codes = made.group_codes()
    assert codes[0] == codes[2]
    assert len(set(codes.tolist())) == 4


def test_with_columns_leaves_the_first_as_it_was() -> None:
    made = manifest(["a", "b"])
    other = made.with_columns(group=["x", "y"], site="north")
    assert made.table["group"].tolist() == ["", ""]
    assert "site" not in made.table
    assert other.table["site"].tolist() == ["north", "north"]


def test_a_label_outside_the_classes_is_refused() -> None:
    with pytest.raises(ExciteError, match="unknown class 'cot'"):
        Manifest(pd.DataFrame({"path": ["/a"], "label": ["cot"]}), ("cat", "dog"))


def test_labels_that_look_like_numbers_or_nothing_come_back_as_they_were(tmp_path: Path) -> None:
    labels = [
        "01",
        "1",
        "NA",
        "nan",
        "",
        "true",
        "None",
        "1e5",
        "ñandú",
        "日本",
        "a,b",
        'say "x"',
        " two\nlines",
    ]
    made = manifest(labels, group=["007", *[""] * 12], note=["NULL", *["0.10"] * 12])
    made = made.with_columns(sha256="ab" * 32, width=640, height=480)
    made.save(tmp_path / "manifest.csv")
    back = read_manifest(tmp_path / "manifest.csv", complete=False)
    pd.testing.assert_frame_equal(back.table, made.table)
    assert back.classes == made.classes


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.lists(words, min_size=1, max_size=6), data=st.data())
def test_any_text_survives_the_file(tmp_path: Path, labels: list[str], data: st.DataObject) -> None:
    column = st.lists(words, min_size=len(labels), max_size=len(labels))
    made = manifest(labels, group=data.draw(column), remark=data.draw(column))
    made.save(tmp_path / "manifest.csv")
    back = read_manifest(tmp_path / "manifest.csv", complete=False)
    pd.testing.assert_frame_equal(back.table, made.table)


def test_a_failed_save_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "manifest.csv"
    manifest(["a", "b"]).save(path)
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        manifest(["c", "d"]).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.csv"]


@pytest.mark.parametrize(
    ("labels", "splits", "message"),
    [
        (["a", "a"], None, "at least two classes are needed, found 'a'"),
        (["Cat", "Cat", "cat", "cat"], None, "'Cat' and 'cat' differ only in spelling"),
        (["a", "a", "b"], None, "1 of 2 classes have fewer than two images: 'b' has 1"),
        (list("aabb"), ["train", "train", "train", ""], "1 of 4 images have no split"),
        (list("aabb"), ["train", "val", "train", "train"], "class 'b' has no images in val"),
        (list("aabb"), ["train", "train", "test", "test"], "class 'b' has no images in train"),
    ],
)
def test_data_without_a_trainable_classifier_is_refused(
    labels: list[str], splits: list[str] | None, message: str
) -> None:
    made = manifest(labels, **({} if splits is None else {"split": splits}))
    with pytest.raises(ExciteError, match=message):
        check_classes(made)


def test_a_class_per_image_is_refused_as_a_wrong_label_column() -> None:
    with pytest.raises(ExciteError, match=r"26 of 26 classes .*check the label column"):
        check_classes(manifest(list(string.ascii_lowercase)))


def test_data_is_read_and_split_without_torch() -> None:
    names = ["file_validation", "decoding", "digits", "manifest", "pixel_cache", "reading", "split"]
    code = f"import sys, {', '.join(f'excite.data.{name}' for name in names)}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
