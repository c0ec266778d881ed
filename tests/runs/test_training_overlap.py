"""Near-duplicates in the training set, and the counterpart of an image that was seen in training."""

from __future__ import annotations

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from excite.audit.duplicates.pair import Pair
from excite.data.manifest import Manifest
from excite.runs.training_overlap import _counterparts, duplicates_in_train

SPLITS = st.sampled_from(["train", "val", "test"])
GROUPS = st.sampled_from(["", "a", "b", "c"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SPLITS, GROUPS), min_size=1, max_size=20))
def test_duplicates_are_images_of_a_group_that_is_in_training(rows: list[tuple[str, str]]) -> None:
    table = pd.DataFrame(rows, columns=["split", "group"])
    table = table.assign(path=[f"/{row}.png" for row in range(len(rows))], label="x")
    images = Manifest(table, ("x",))
    trained = {group for split, group in rows if split == "train" and group}
    for split in ("val", "test"):
        expected = sum(where == split and group in trained for where, group in rows)
        assert duplicates_in_train(images, split) == expected
    assert duplicates_in_train(images, "train") == 0


def test_an_exact_duplicate_is_the_counterpart_rather_than_a_near_one() -> None:
    near = Pair(0, 7, "same photo", "e", 0.9999)
    exact = Pair(1, 7, "identical file", "e", 1.0)
    assert _counterparts([near, exact], [0, 1], [True] * 2) == {7: exact}


def test_weak_evidence_counts_only_together_with_other_pairs_of_the_photo() -> None:
    weak = [Pair(row, 7, "same photo", "e", 0.7) for row in range(8)]
    assert _counterparts(weak[:1], [0] * 8, [True] * 8) == {}
    assert _counterparts(weak, list(range(8)), [True] * 8) == {}  # of eight photos, one pair each
    assert _counterparts(weak, [0] * 8, [True] * 8) == {7: weak[0]}  # eight copies of one photo


def test_an_image_that_the_network_was_fitted_to_is_the_counterpart_rather_than_one_that_selected() -> None:
    selected = Pair(0, 7, "identical file", "e", 1.0)
    fitted = Pair(1, 7, "same photo", "e", 0.9999)
    assert _counterparts([selected, fitted], [0, 1], [False, True]) == {7: fitted}
