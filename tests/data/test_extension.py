"""Existing images keep their split and folds; new ones follow their group, or fill up the splits."""

from __future__ import annotations

import pandas as pd
import pytest

from excite.data.extension import extend_split, with_earlier_groups
from excite.data.manifest import SPLITS, Manifest
from excite.data.split import repeated_folds, split_manifest
from excite.errors import ExciteError

FRACTIONS = (0.7, 0.1, 0.2)


def images(count: int, groups: list[str] | None = None, folder: str = "data") -> Manifest:
    """Images of two classes in turns, whose content depends on their number alone."""
    table = pd.DataFrame({"path": [f"/{folder}/{number}.png" for number in range(count)]})
    table["label"] = [f"c{number % 2}" for number in range(count)]
    table["sha256"] = [f"{number:064x}" for number in range(count)]
    table["group"] = "" if groups is None else groups
    return Manifest(table, ("c0", "c1"))


def split_of(manifest: Manifest, column: str = "split") -> dict[str, str]:
    table = manifest.table
    return dict(zip(table["sha256"], table[column].astype(str), strict=True))


def test_existing_images_keep_their_split_and_new_ones_meet_the_fractions() -> None:
    earlier = split_manifest(images(100), method="random", seed=0)
    extended = extend_split(images(200), earlier, grouped=False, seed=0, fractions=FRACTIONS)
    assert (extended.retained, extended.added, extended.vanished, extended.conflicts) == (100, 100, (), ())
    found = split_of(extended.manifest)
    assert all(found[digest] == split for digest, split in split_of(earlier).items())
    for name, share in zip(SPLITS, FRACTIONS, strict=True):
        assert all(abs(count - share * 100) <= 1 for count in extended.manifest.part(name).counts().values())


def test_single_images_added_one_by_one_still_reach_every_split() -> None:
    manifest = split_manifest(images(40), method="random", seed=0)
    for count in range(41, 91):
        manifest = extend_split(images(count), manifest, grouped=False, seed=0, fractions=FRACTIONS).manifest
    for name, share in zip(SPLITS, FRACTIONS, strict=True):
        assert all(abs(count - share * 45) <= 1 for count in manifest.part(name).counts().values())


def test_a_new_image_goes_where_its_group_is_and_between_two_splits_is_left_out() -> None:
    groups = [f"p{number // 4}" for number in range(120)]
    earlier = split_manifest(images(120, groups), method="grouped", seed=0)
    place = dict(zip(earlier.table["group"], earlier.table["split"], strict=True))
    assert set(place.values()) == set(SPLITS)
    known = sorted(place)
    found = extend_split(
        images(120 + len(known), [*groups, *known]), earlier, grouped=True, seed=0, fractions=FRACTIONS
    )
    assert found.manifest.table["split"].tolist()[120:] == [place[name] for name in known]
    # A copy joins two groups: all three have one name now.
    train, test = (next(name for name in known if place[name] == split) for split in ("train", "test"))
    joined = ["both" if name in (train, test) else name for name in [*groups, train]]
    found = extend_split(images(121, joined), earlier, grouped=True, seed=0, fractions=FRACTIONS)
    (conflict,) = found.conflicts
    assert conflict.path == "/data/120.png"
    assert set(conflict.examples) == {"train", "test"}
    for split, path in conflict.examples.items():
        assert earlier.table.set_index("path").loc[path, "split"] == split
        assert path in str(conflict)
    assert (len(found.manifest), found.retained, found.added) == (120, 120, 0)


def test_moved_files_are_the_same_images_and_missing_ones_are_named() -> None:
    earlier = split_manifest(images(60, [f"p{n // 3}" for n in range(60)]), method="grouped", seed=0)
    moved = images(60, folder="elsewhere")
    rest = Manifest(moved.table.iloc[5:], moved.classes)
    found = extend_split(
        with_earlier_groups(rest, earlier), earlier, grouped=True, seed=0, fractions=FRACTIONS
    )
    assert found.vanished == tuple(f"/data/{number}.png" for number in range(5))
    assert (found.retained, found.added) == (55, 0)
    assert found.manifest.table["group"].tolist() == earlier.table["group"].tolist()[5:]
    before = split_of(earlier)
    assert all(before[digest] == split for digest, split in split_of(found.manifest).items())


def test_folds_are_extended_too() -> None:
    old = images(90, [f"p{n // 3}" for n in range(90)])
    numbers = repeated_folds(old, 3, 2, seed=0, method="grouped")
    earlier = split_manifest(old, method="grouped", seed=0).with_columns(
        fold_0=numbers[:, 0], fold_1=numbers[:, 1]
    )
    found = extend_split(
        images(150, [f"p{n // 3}" for n in range(150)]), earlier, grouped=True, seed=0, fractions=FRACTIONS
    ).manifest
    for column in ("fold_0", "fold_1"):
        values = found.table[column].astype(str)
        assert values[:90].tolist() == earlier.table[column].astype(str).tolist()
        assert values.value_counts().to_dict() == pytest.approx({"0": 50, "1": 50, "2": 50}, abs=6)
        assert (found.table.groupby("group")[column].nunique() == 1).all()


def test_a_split_that_the_manifest_lacks_stays_empty() -> None:
    earlier = images(100).with_columns(split=["train"] * 80 + ["test"] * 20)
    found = extend_split(images(200), earlier, grouped=False, seed=0, fractions=FRACTIONS).manifest
    assert found.splits == ("train", "test")
    assert len(found.part("test")) == pytest.approx(200 * 0.2 / 0.9, abs=2)


def test_what_cannot_be_extended_is_one_line() -> None:
    options = {"grouped": False, "seed": 0, "fractions": FRACTIONS}
    with pytest.raises(ExciteError, match="has no column split"):
        extend_split(images(100), images(50), **options)
    earlier = split_manifest(images(50), method="random", seed=0)
    other = images(50, folder="other").with_columns(sha256=[f"{n:064x}" for n in range(900, 950)])
    with pytest.raises(ExciteError, match="none of the images"):
        extend_split(other, earlier, **options)
    table = images(52).table
    table.loc[50:, "label"] = "new"
    with pytest.raises(ExciteError, match="class 'new' has 2 groups or images; 3 parts need at least 3"):
        extend_split(Manifest(table, ("c0", "c1", "new")), earlier, **options)
