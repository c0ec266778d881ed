"""``excite split``."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from excite.data.reading import read_manifest
from tests.cli.audited_photos import columns_of, make_photos, ok, refused
from tests.conftest import make_pictures


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with ``photos`` in it."""
    make_photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_has_an_example() -> None:
    assert "excite split photos" in " ".join(ok("split", "--help").output.split())


def test_a_split_keeps_found_copies_together_and_is_read_back(place: Path) -> None:
    done = ok("split", "photos", "--out", "made/manifest.csv", "--seed", 3)
    assert "excite train made/manifest.csv" in done.stdout
    rows = columns_of(place / "made" / "manifest.csv")
    assert list(rows[0])[:5] == ["path", "label", "group", "photo", "split"]
    assert len(rows) == 25
    by_path = {str(Path(row["path"]).relative_to(place / "photos")): row for row in rows}
    one, other = by_path["train/a/0.png"], by_path["test/a/copy.png"]
    assert one["group"] == other["group"] != ""
    assert one["split"] == other["split"]
    back = read_manifest(place / "made" / "manifest.csv")
    assert back.splits == ("train", "val", "test")
    assert back.table["split"].tolist() == [row["split"] for row in rows]


def test_without_near_duplicates_each_image_is_its_own_group(place: Path) -> None:
    document = json.loads(ok("split", "photos", "--no-group-duplicates", "--json").stdout)
    assert (document["method"], document["groups"]) == ("random", 25)
    assert {row["group"] for row in columns_of(place / "manifest.csv")} == {""}


def test_a_random_split_warns_of_near_duplicates_in_the_training_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path / "pictures")
    options = ("pictures", "--group-pattern", r"^(p\d+)_", "--no-near-duplicates")
    done = ok("split", *options, "--split", "random")
    rows = columns_of(tmp_path / "manifest.csv")
    trained = {row["group"] for row in rows if row["split"] == "train"}
    tested = [row["group"] for row in rows if row["split"] == "test"]
    divided = sum(group in trained for group in tested)
    assert divided > 0
    assert f"{divided} of {len(tested)} test images have a near-duplicate in the training set" in done.stdout
    grouped = ok("split", *options)
    assert "near-duplicate" not in grouped.stdout


def test_folds_keep_groups_whole_in_every_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path / "pictures")
    options = (
        "--group-pattern",
        r"^(p\d+)_",
        "--no-near-duplicates",
        "--folds",
        4,
        "--repeats",
        3,
        "--seed",
        5,
    )
    ok("split", "pictures", *options)
    rows = columns_of(tmp_path / "manifest.csv")
    for name in ("fold_0", "fold_1", "fold_2"):
        assert {row[name] for row in rows} == {"0", "1", "2", "3"}
        homes = defaultdict(set)
        for row in rows:
            homes[row["group"]].add(row[name])
        assert all(len(found) == 1 for found in homes.values())
    assert [row["fold_0"] for row in rows] != [row["fold_1"] for row in rows]
    first = (tmp_path / "manifest.csv").read_bytes()
    ok("split", "pictures", *options)
    assert (tmp_path / "manifest.csv").read_bytes() == first


def test_a_group_larger_than_a_fold_is_refused_with_the_arithmetic(place: Path) -> None:
    names = [f"photos/train/a/{n}.png" for n in range(6)] + [f"photos/train/b/{n}.png" for n in range(6)]
    rows = [f"{name},{name[13]},{'one' if n < 5 else n}" for n, name in enumerate(names)]
    (place / "table.csv").write_text("\n".join(["path,label,group", *rows]))
    error = refused("split", "table.csv", "--folds", 3, "--no-near-duplicates", "--val-fraction", 0.2)
    assert "'one' holds 5 of 12 images, more than one of 3 folds: 12 / 3 = 4.0" in str(
        error
    ) or "has 2 groups" in str(error)


def test_too_many_unreadable_files_are_refused_and_few_are_left_out(place: Path) -> None:
    (place / "photos" / "train" / "a" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "1 of 26 files are unreadable" in str(refused("split", "photos"))
    done = ok("split", "photos", "--max-unreadable", 0.1)
    assert "left out" in done.stderr
    assert len(columns_of(place / "manifest.csv")) == 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("split", "photos", "--split", "groupd"), "did you mean 'grouped'"),
        (("split", "photos", "--repeats", "3"), "--repeats needs --folds"),
        (("split", "photos", "--folds", "1"), "folds: must be at least 2"),
        (("split", "photos", "--folds", "5", "--repeats", "0"), "repeats: must be at least 1"),
        (("split", "photos", "--folds", "99"), "class 'a' has 12 groups; 99 parts"),
        (("split", "photos", "--val-fraction", "0.9"), "leave no training images"),
        (
            ("split", "photos", "--no-group-duplicates", "--near-duplicates"),
            "have no effect with --no-group-duplicates",
        ),
        (("split", "photos", "--no-group-duplicates", "--split", "grouped"), "the images have no groups"),
    ],
)
def test_wrong_use_is_one_line(place: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in str(refused(*arguments))


def test_a_folder_whose_name_is_not_utf8_is_refused_in_one_line(place: Path) -> None:
    assert "is not UTF-8" in str(refused("split", os.fsdecode(b"caf\xe9")))


def test_an_extended_split_keeps_old_images_and_puts_a_copy_beside_its_original(place: Path) -> None:
    ok("split", "photos", "--out", "old.csv", "--folds", 3)
    old = {row["path"]: row for row in columns_of(place / "old.csv")}
    tested = next(path for path, row in old.items() if row["split"] == "test")
    copy = Path(tested).with_name("again.png")
    copy.write_bytes(Path(tested).read_bytes())
    gone = next(path for path, row in old.items() if row["split"] == "train" and row["group"] == "")
    Path(gone).unlink()
    done = ok("split", "photos", "--extend", "old.csv", "--out", "new.csv")
    assert f"missing   1 image of the earlier manifest, for example {gone}" in done.stdout
    assert "24 images keep their split, 1 new" in done.stdout
    new = {row["path"]: row for row in columns_of(place / "new.csv")}
    assert new.keys() == (old.keys() - {gone}) | {str(copy)}
    for path, row in new.items():
        before = old[tested if path == str(copy) else path]
        assert (row["split"], row["fold_0"]) == (before["split"], before["fold_0"])
    document = json.loads(ok("split", "photos", "--extend", "old.csv", "--out", "new.csv", "--json").stdout)
    assert (document["retained"], document["added"], document["vanished"]) == (24, 1, [gone])
    assert document["conflicts"] == []


def test_the_manifest_to_extend_is_not_overwritten(place: Path) -> None:
    ok("split", "photos")
    before = (place / "manifest.csv").read_bytes()
    assert "would be overwritten" in str(refused("split", "photos", "--extend", "manifest.csv"))
    assert "--folds has no effect with --extend" in str(
        refused("split", "photos", "--extend", "manifest.csv", "--out", "new.csv", "--folds", 3)
    )
    assert (place / "manifest.csv").read_bytes() == before
