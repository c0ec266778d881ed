"""Images of other data take the classes of the run, by name, and its columns where they have them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.errors import ExciteError
from excite.runs.evaluation_images import DataOptions, _trained_columns, align_classes, select_split

RUN = ("cat", "dog", "owl")


def images(labels: list[str], splits: list[str] | None = None) -> Manifest:
    table = pd.DataFrame({"path": [f"/{number}.png" for number in range(len(labels))], "label": labels})
    return Manifest(table.assign(split=splits or ""), tuple(sorted(set(labels))))


def test_targets_are_indices_of_the_run_s_classes() -> None:
    aligned = align_classes(images(["owl", "cat", "owl"]), RUN, {}, "data")
    assert aligned.classes == RUN
    assert aligned.targets().tolist() == [2, 0, 2]


def test_a_mapping_renames_classes() -> None:
    aligned = align_classes(images(["kitten", "owl"]), RUN, {"kitten": "cat"}, "data")
    assert aligned.targets().tolist() == [0, 2]


@pytest.mark.parametrize(
    ("labels", "mapping", "message"),
    [
        (["cat", "own"], {}, "class 'own' is not a class of the run: cat, dog, owl .*--map-class own=owl"),
        (["cat"], {"kat": "cat"}, "--map-class kat=cat: unknown class 'kat'"),
        (["cat"], {"cat": "dgo"}, "unknown class 'dgo' .*did you mean 'dog'"),
    ],
)
def test_unknown_classes_are_refused(labels: list[str], mapping: dict[str, str], message: str) -> None:
    with pytest.raises(ExciteError, match=message):
        align_classes(images(labels), RUN, mapping, "data")


def test_the_test_split_is_selected_if_there_is_one() -> None:
    split = images(["cat", "dog", "owl"], ["train", "test", "test"])
    chosen, name = select_split(split, None, "data")
    assert (name, chosen.table["label"].tolist()) == ("test", ["dog", "owl"])
    assert len(select_split(split, "all", "data")[0]) == 3
    assert select_split(images(["cat"]), None, "data")[1] == "all"
    with pytest.raises(ExciteError, match="unknown split 'val'"):
        select_split(split, "val", "data")


@pytest.mark.parametrize(
    ("header", "given", "read"),
    [
        ("path,label,patient_id", {}, {"group_column": "patient_id"}),
        ("path,diagnosis,patient_id", {}, {"label_column": "diagnosis", "group_column": "patient_id"}),
        ("path,label,group,patient_id", {}, {}),  # the default is there
        ("path,label,subject", {}, {}),
        ("path,label,patient_id,subject", {"group_column": "subject"}, {"group_column": "subject"}),
        ("path,label,patient_id", {"group_column": "group"}, {"group_column": "patient_id"}),
    ],
)
def test_columns_are_those_of_the_training_unless_others_are_named(
    header: str, given: dict[str, str], read: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "other.csv").write_text(header + "\n" + ",".join("x" for _ in header.split(",")) + "\n")
    config = TrainConfig(data="own.csv", label_column="diagnosis", group_column="patient_id")
    found = _trained_columns(config, str(tmp_path / "other.csv"), DataOptions(columns=given))
    assert found == read


def test_a_pattern_defines_the_groups_instead_of_the_column_of_the_training(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("path,label,patient_id\na,b,c\n")
    config = TrainConfig(data="own.csv", group_column="patient_id")
    options = DataOptions(group_pattern="(.*)_")
    assert _trained_columns(config, str(tmp_path / "other.csv"), options) == {}
    assert _trained_columns(config, str(tmp_path), DataOptions()) == {}
