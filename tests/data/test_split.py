"""No group is divided, no part lacks a class, and fractions are met as closely as the groups allow."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from excite.data.manifest import SPLITS, Manifest
from excite.data.reading import read_manifest
from excite.data.split import apply_group_pattern, folds, repeated_folds, split_manifest
from excite.errors import ExciteError

PATIENT = r"^(N?M\d+)_"


def manifest(labels: list[str], groups: list[str] | None = None, splits: list[str] | None = None) -> Manifest:
    table = pd.DataFrame({"path": [f"/data/{i:05d}.png" for i in range(len(labels))], "label": labels})
    table["group"] = groups if groups is not None else ""
    table["split"] = splits if splits is not None else ""
    return Manifest(table, tuple(sorted(set(labels))))


def grouped(sizes: dict[str, list[int]]) -> Manifest:
    """Groups of one class each, of the sizes given."""
    rows = [
        (name, f"{name}-{i}") for name, many in sizes.items() for i, n in enumerate(many) for _ in range(n)
    ]
    return manifest([label for label, _ in rows], [group for _, group in rows])


def assert_whole(made: Manifest) -> None:
    homes = defaultdict(set)
    for row in made.table.itertuples():
        homes[row.group].add(row.split)
    assert all(len(parts) == 1 for parts in homes.values())


def assert_complete(made: Manifest) -> None:
    assert set(made.table["split"]) == set(SPLITS)
    for name in SPLITS:
        assert min(made.part(name).counts().values()) >= 1


class_sizes = st.lists(st.integers(3, 60), min_size=2, max_size=6)
group_sizes = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(1, 20), min_size=3, max_size=25), min_size=2
)
shares = st.tuples(st.integers(1, 10), st.integers(1, 10), st.integers(1, 10)).map(
    lambda parts: tuple(part / sum(parts) for part in parts)
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(sizes=class_sizes, fractions=shares, seed=st.integers(0, 9))
def test_random_splits_meet_the_fractions_for_every_class(
    sizes: list[int], fractions: tuple[float, ...], seed: int
) -> None:
    data = manifest([f"c{c}" for c, size in enumerate(sizes) for _ in range(size)])
    made = split_manifest(data, method="random", fractions=fractions, seed=seed)
    assert_complete(made)
    for name, share in zip(SPLITS, fractions, strict=True):
        for size, count in zip(sizes, made.part(name).counts().values(), strict=True):
            # within one image; more only where the two other parts were owed their single image
            assert abs(count - share * size) < 2
    pd.testing.assert_frame_equal(made.table.drop(columns="split"), data.table.drop(columns="split"))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(sizes=group_sizes, fractions=shares, seed=st.integers(0, 9))
def test_grouped_splits_keep_groups_whole_and_every_class_everywhere(
    sizes: dict[str, list[int]], fractions: tuple[float, ...], seed: int
) -> None:
    data = grouped(sizes)
    largest = max(size for many in sizes.values() for size in many)
    if largest > np.ceil(max(fractions) * len(data) - 1e-9):
        with pytest.raises(ExciteError, match=f"has {largest} of {len(data)} images, more than"):
            split_manifest(data, method="grouped", fractions=fractions, seed=seed)
        return
    made = split_manifest(data, method="grouped", fractions=fractions, seed=seed)
    assert_whole(made)
    assert_complete(made)
    for name, share in zip(SPLITS, fractions, strict=True):
        for label, count in made.part(name).counts().items():
            assert abs(count - share * sum(sizes[label])) <= 2 * max(sizes[label]) + 2
    again = split_manifest(data, method="grouped", fractions=fractions, seed=seed)
    pd.testing.assert_frame_equal(again.table, made.table)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    members=st.lists(st.tuples(st.integers(0, 14), st.sampled_from("ab")), min_size=30, max_size=120),
    seed=st.integers(0, 9),
)
def test_groups_with_several_classes_stay_whole_or_are_refused(members: list, seed: int) -> None:
    data = manifest([label for _, label in members], [f"g{group}" for group, _ in members])
    try:
        made = split_manifest(data, method="grouped", seed=seed)
    except ExciteError as error:
        assert "group" in str(error)  # noqa: PT017
        return
    assert_whole(made)
    assert_complete(made)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    sizes=group_sizes,
    k=st.integers(2, 3),
    seed=st.integers(0, 9),
    method=st.sampled_from(["random", "grouped"]),
)
def test_folds_hold_every_image_once_and_every_class(sizes: dict, k: int, seed: int, method: str) -> None:
    data = grouped(sizes)
    largest = max(size for many in sizes.values() for size in many)
    if (
        method == "grouped"
        and largest > -(-len(data) // k)
        and all(len(many) >= k for many in sizes.values())
    ):
        with pytest.raises(
            ExciteError, match=f"has {largest} of {len(data)} images, more than fit into one of {k} folds"
        ):
            folds(data, k, seed=seed, method=method)
        return
    number = folds(data, k, seed=seed, method=method)
    assert number.shape == (len(data),)
    for fold in range(k):
        assert set(data.table["label"][number == fold]) == set(data.classes)
    if method == "grouped":
        assert len(set(zip(data.table["group"], number, strict=True))) == data.group_count()
    else:
        for label in data.classes:
            counts = Counter(number[data.table["label"] == label].tolist())
            assert max(counts.values()) - min(counts.values()) <= 1


def test_class_counts_agree_with_scikit_learn() -> None:
    labels = ["a"] * 613 + ["b"] * 207 + ["c"] * 45
    made = split_manifest(manifest(labels), method="random", fractions=(0.75, 0.05, 0.2), seed=3)
    theirs = StratifiedShuffleSplit(1, test_size=0.2, random_state=0)
    _, test = next(theirs.split(np.zeros(len(labels)), labels))
    expected = Counter(np.array(labels)[test].tolist())
    for label, count in made.part("test").counts().items():
        assert abs(count - expected[label]) <= 1


def test_many_small_classes_still_meet_the_overall_fractions() -> None:
    made = split_manifest(manifest([f"c{i % 50:02d}" for i in range(50 * 12)]), method="random", seed=0)
    for name, images in zip(SPLITS, (420, 60, 120), strict=True):
        assert abs(len(made.part(name)) - images) <= 2


@pytest.mark.parametrize("method", ["random", "grouped"])
def test_the_seed_decides_and_nothing_else(method: str) -> None:
    data = grouped({"a": [3, 4, 5, 6, 7, 8] * 3, "b": [2, 9, 4] * 5})
    first = split_manifest(data, method=method, seed=1).table["split"]
    assert split_manifest(data, method=method, seed=1).table["split"].equals(first)
    others = [split_manifest(data, method=method, seed=seed).table["split"] for seed in range(2, 8)]
    assert not any(other.equals(first) for other in others)
    assert not np.array_equal(folds(data, 3, seed=1, method=method), folds(data, 3, seed=2, method=method))


@pytest.mark.parametrize("method", ["random", "grouped"])
def test_neither_folder_nor_order_of_the_rows_changes_a_split(method: str) -> None:
    data = grouped({"a": [3, 4, 1, 2] * 5, "b": [2, 6] * 6})
    digests = [f"{number:064x}" for number in range(len(data))]
    here = data.with_columns(sha256=digests)
    moved = here.with_columns(path=[f"/elsewhere/{number}.jpg" for number in range(len(data))])
    shuffled = Manifest(here.table.sample(frac=1, random_state=0), here.classes)
    expected = split_manifest(here, method=method, seed=1).table.set_index("sha256")["split"]
    for other in (moved, shuffled):
        found = split_manifest(other, method=method, seed=1).table.set_index("sha256")["split"]
        pd.testing.assert_series_equal(found.sort_index(), expected.sort_index())


def test_decomposed_names_are_the_same_groups() -> None:
    names = [f"pat\u00e9 {number // 3}" for number in range(90)]
    composed = manifest(list("ab") * 45, names)
    decomposed = manifest(list("ab") * 45, [name.replace("\u00e9", "e\u0301") for name in names])
    one, two = (
        split_manifest(data, method="grouped", seed=0).table["split"] for data in (composed, decomposed)
    )
    assert one.equals(two)


def test_one_more_image_moves_at_most_two_others() -> None:
    labels = [f"c{number % 2}" for number in range(500)]
    before = split_manifest(manifest(labels), method="random", seed=0).table["split"]
    after = split_manifest(manifest([*labels, "c0"]), method="random", seed=0).table["split"][:500]
    assert (before != after).sum() <= 2


def test_the_test_set_does_not_depend_on_the_fraction_of_validation() -> None:
    data = grouped({"a": [3, 4, 1, 2] * 15, "b": [2, 6] * 16})
    one = split_manifest(data, method="grouped", seed=0, fractions=(0.7, 0.1, 0.2)).table["split"]
    two = split_manifest(data, method="grouped", seed=0, fractions=(0.5, 0.3, 0.2)).table["split"]
    assert ((one == "test") == (two == "test")).all()


def test_images_without_a_group_are_drawn_alone() -> None:
    data = manifest(list("ab") * 30, ["p"] * 10 + [""] * 50)
    made = split_manifest(data, method="grouped", seed=0)
    assert len(set(made.table["split"][:10])) == 1
    assert set(made.table["split"][10:]) == set(SPLITS)


def test_too_few_groups_are_refused_with_the_number() -> None:
    data = grouped({"a": [5] * 6, "b": [9, 9]})
    with pytest.raises(ExciteError, match="class 'b' has 2 groups; 3 parts need at least 3"):
        split_manifest(data, method="grouped", seed=0)
    with pytest.raises(ExciteError, match="class 'b' has 2 groups; 5 parts need at least 5"):
        folds(data, 5, seed=0, method="grouped")
    with pytest.raises(ExciteError, match="class 'b' has 2 images; 3 parts"):
        split_manifest(manifest(["a"] * 9 + ["b"] * 2), method="random", seed=0)


def test_a_group_larger_than_a_fold_is_refused_with_the_arithmetic() -> None:
    data = grouped({"a": [41, *[3] * 10], "b": [2] * 15})  # 101 images
    with pytest.raises(
        ExciteError, match=r"'a-0' has 41 of 101 images, more than fit into one of 5 folds: 101 / 5 = 20.2"
    ):
        folds(data, 5, seed=0, method="grouped")
    assert len(folds(data, 2, seed=0, method="grouped")) == 101
    assert len(folds(data, 5, seed=0, method="random")) == 101


def test_a_group_larger_than_the_largest_part_is_refused_with_the_arithmetic() -> None:
    data = grouped({"a": [80, *[1] * 5], "b": [1] * 15})  # 100 images
    with pytest.raises(
        ExciteError,
        match=r"'a-0' has 80 of 100 images, more than fit into the largest part: 0.70 \* 100 = 70.0",
    ):
        split_manifest(data, method="grouped", seed=0)
    made = split_manifest(data, method="grouped", fractions=(0.8, 0.1, 0.1), seed=0)
    assert set(made.table["split"][:80]) == {"train"}


@pytest.mark.parametrize("method", ["random", "grouped"])
def test_repeated_folds_are_those_of_one_seed_after_the_other(method: str) -> None:
    data = grouped({"a": [3, 4, 5] * 5, "b": [2, 6] * 6})
    many = repeated_folds(data, 3, 4, seed=7, method=method)
    assert many.shape == (len(data), 4)
    for r in range(4):
        assert np.array_equal(many[:, r], folds(data, 3, seed=7 + r, method=method))
    assert len({tuple(column) for column in many.T}) == 4
    with pytest.raises(ExciteError, match="number of repeats must be at least 1"):
        repeated_folds(data, 3, 0, seed=7, method=method)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "groupd"}, "unknown split method 'groupd' .did you mean 'grouped'"),
        ({"method": "grouped"}, "the images have no groups"),
        ({"method": "random", "fractions": (0.7, 0.3, 0.0)}, "must be positive and sum to 1"),
        ({"method": "random", "fractions": (0.7, 0.2, 0.2)}, "got 0.7, 0.2, 0.2"),
        ({"method": "random", "fractions": (70, 10, 20)}, "sum to 1"),
    ],
)
def test_wrong_use_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ExciteError, match=message) as caught:
        split_manifest(manifest(list("ab") * 30), seed=0, **options)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "is not a regular expression"),
        (r"x(\d+)", "/data/00000.png: .*does not match 60 of 60 file names"),
        (r"^(0+)a", "puts all images into one group"),
        (r"\d+", "puts every image into its own group"),
    ],
)
def test_a_pattern_without_groups_is_refused(pattern: str, message: str) -> None:
    data = manifest(list("ab") * 30)
    if pattern == r"^(0+)a":
        data = data.with_columns(path=[f"/data/0{'a' * (i + 1)}.png" for i in range(60)])
    with pytest.raises(ExciteError, match=message) as caught:
        apply_group_pattern(data, pattern)
    assert caught.value.exit_code == 2


def test_the_groups_come_from_the_name_not_from_the_folder() -> None:
    data = manifest(list("abab")).with_columns(
        path=["/M9_/M1_a.png", "/M9_/M1_b.png", "/M9_/M2_a.png", "/M2_c.png"]
    )
    assert apply_group_pattern(data, PATIENT).table["group"].tolist() == ["M1", "M1", "M2", "M2"]
    assert apply_group_pattern(data, r"^M\d").table["group"].tolist() == ["M1", "M1", "M2", "M2"]


def test_the_datas_own_split_is_kept() -> None:
    data = manifest(list("ab") * 30, splits=["train"] * 30 + ["val"] * 20 + ["test"] * 10)
    assert split_manifest(data, method="folder", seed=0).table["split"].equals(data.table["split"])


@pytest.mark.parametrize(
    ("given_splits", "sizes"),
    [
        (["train"] * 160 + ["test"] * 40, {"train": 140, "val": 20, "test": 40}),
        (["train"] * 180 + ["val"] * 20, {"train": 140, "val": 20, "test": 40}),
        (["train"] * 200, {"train": 140, "val": 20, "test": 40}),
    ],
)
def test_a_missing_part_is_drawn_out_of_train(given_splits: list[str], sizes: dict[str, int]) -> None:
    data = manifest(list("ab") * 100, splits=given_splits)
    made = split_manifest(data, method="folder", seed=0)
    assert {name: len(made.part(name)) for name in SPLITS} == sizes
    kept = data.table["split"] != "train"
    assert made.table["split"][kept].equals(data.table["split"][kept])


def test_the_given_val_can_be_the_test_set() -> None:
    data = manifest(list("ab") * 100, splits=["train"] * 140 + ["val"] * 60)
    made = split_manifest(data, method="folder", seed=0, test_from="val")
    given = data.table["split"] == "val"
    assert set(made.table["split"][given]) == {"test"}
    assert set(made.table["split"][~given]) == {"train", "val"}
    assert len(made.part("val")) == 18  # 0.1 of 0.7 + 0.1, of 70 images of each class


@pytest.mark.parametrize(
    ("splits", "method", "what"),
    [
        (["train"] * 40 + ["val"] * 10 + ["test"] * 10, "folder", "the data has test images"),
        (["train"] * 60, "folder", "the data has no validation images"),
        (["train"] * 40 + ["val"] * 20, "random", "the split of the data is not used"),
    ],
)
def test_a_test_set_from_val_needs_a_val_and_no_test(splits: list[str], method: str, what: str) -> None:
    with pytest.raises(ExciteError, match=what):
        split_manifest(manifest(list("ab") * 30, splits=splits), method=method, seed=0, test_from="val")


def test_a_missing_part_keeps_the_groups_of_train_whole() -> None:
    data = manifest(list("ab") * 60, [f"p{i // 6}" for i in range(120)], ["train"] * 120)
    made = split_manifest(data, method="folder", seed=0)
    assert_whole(made)
    assert_complete(made)


def test_data_without_train_cannot_be_completed() -> None:
    with pytest.raises(ExciteError, match="has no images in train"):
        split_manifest(manifest(list("ab") * 30), method="folder", seed=0)
    partly = manifest(list("ab") * 30, splits=["train"] * 50 + [""] * 10)
    with pytest.raises(ExciteError, match="10 of 60 images have no split"):
        split_manifest(partly, method="folder", seed=0)


def test_no_patient_of_the_mpox_photos_is_in_two_parts(real_data: Path) -> None:
    data = apply_group_pattern(read_manifest(real_data / "mpox"), PATIENT)
    made = split_manifest(data, method="grouped", fractions=(0.7, 0.1, 0.2), seed=0)
    homes = defaultdict(set)
    for row in made.table.itertuples():
        homes[Path(row.path).name.split("_")[0]].add(row.split)
    assert len(homes) == made.group_count()
    assert all(len(parts) == 1 for parts in homes.values())
    totals = data.counts()
    for name, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        for label, count in made.part(name).counts().items():
            assert abs(count / totals[label] - share) < 0.02
    number = folds(made, 5, seed=0, method="grouped")
    assert len(set(zip(made.table["group"], number, strict=True))) == made.group_count()
