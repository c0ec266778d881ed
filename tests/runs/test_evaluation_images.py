"""Images of other data take the classes of the run, by name."""

from __future__ import annotations

import pandas as pd
import pytest

from excite.data.manifest import Manifest
from excite.errors import ExciteError
from excite.runs.evaluation_images import align_classes, select_split

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
