"""Columns that look like groups are named, so that none is ignored in silence."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import excite
from excite.audit.reading import read_images
from excite.audit.verdict import verdict_of
from excite.data.group_columns import group_columns, group_columns_text
from excite.data.manifest import Manifest
from tests.audit.checked import audit
from tests.conftest import SMALL, make_pictures


def table(**columns: list[str]) -> Manifest:
    n = len(next(iter(columns.values())))
    rows = {"path": [f"/{k}.png" for k in range(n)], "label": ["a", "b"] * (n // 2)}
    return Manifest(pd.DataFrame({**rows, **columns}), ("a", "b"))


@pytest.mark.parametrize(
    "name",
    [
        "patient_id",
        "PatientID",
        "patient",
        "Subject",
        "case no",
        "lesion_id",
        "isic_id",
        "slide",
        "pid",
        "groups",
    ],
)
def test_names_of_groups_with_repeated_values(name: str) -> None:
    (found,) = group_columns(table(**{name: list("ppqqrrst")}))
    assert (found.name, found.groups, found.images) == (name, 5, 8)


@pytest.mark.parametrize(
    "name", ["age", "sex", "width_mm", "valid", "paid", "camera", "date", "casein", "grid"]
)
def test_other_names_are_not_groups(name: str) -> None:
    assert group_columns(table(**{name: list("ppqqrrst")})) == []


def test_values_that_do_not_repeat_or_say_no_more_than_the_class_are_not_groups() -> None:
    assert group_columns(table(image_id=list("pqrstuvw"))) == []
    assert group_columns(table(study=list("ppppqqqq"))) == []
    assert group_columns(table(patient=[""] * 8)) == []


def test_the_one_with_the_most_groups_comes_first_and_used_groups_are_not_repeated() -> None:
    both = table(patient=list("ppqqrrrr"), lesion_id=list("ppqqrrst"))
    assert [column.name for column in group_columns(both)] == ["lesion_id", "patient"]
    assert group_columns_text(both) == (
        "columns 'lesion_id' (5 values), 'patient' (3 values) look like groups, which a split must keep "
        "together: --group-column lesion_id"
    )
    assert group_columns_text(both.with_columns(group=list("ppqqrrrr"))) == ""


@pytest.mark.slow
def test_training_and_audit_name_the_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_pictures(tmp_path / "photos", classes=2, size=(20, 20))
    files = sorted(folder.rglob("*.png"))
    rows = [(str(f), f.parent.name, f"{f.parent.name}{k // 2}") for k, f in enumerate(files)]
    pd.DataFrame(rows, columns=["path", "label", "patient_id"]).to_csv(tmp_path / "t.csv", index=False)
    run = excite.train(tmp_path / "t.csv", out=str(tmp_path / "run"), epochs=1, **SMALL)
    told = " ".join(capsys.readouterr().err.split())
    assert "column 'patient_id' (20 values) looks like groups" in told
    assert run.config.split == "random"
    verdict = verdict_of(audit(read_images(tmp_path / "t.csv")))
    assert verdict.severity == "warn"
    assert verdict.text.startswith("40 files show about 20 groups: a random split would leak")
    assert "--group-column patient_id" in verdict.text
