"""The rows and the headline of an audit, from folders with planted findings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from excite.audit.audit import Audit
from excite.audit.reading import read_images
from excite.audit.table import audit_rows, headline
from tests.audit.checked import audit
from tests.audit.pictures import noise


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """train and test with two classes of four pictures each."""
    root = tmp_path / "data"
    for number, place in enumerate(("train/cat", "train/dog", "test/cat", "test/dog")):
        (root / place).mkdir(parents=True)
        for index in range(4):
            noise(60, 40, 10 * number + index).save(root / place / f"{index}.png")
    return root


def audited(folder: Path) -> Audit:
    return audit(read_images(folder), near_duplicates=False)


def lines(result: Audit) -> dict[str, str]:
    """The last finding of each property."""
    return {name: text for name, text in audit_rows(result) if name}


def test_a_data_set_without_findings(folder: Path) -> None:
    result = audited(folder)
    found = lines(result)
    assert headline(result) == []
    assert found["images"] == "16"
    assert found["classes"] == "8 cat, 8 dog"
    assert found["train"] == "4 cat, 4 dog"
    assert found["sizes"] == "60 x 40 pixels"
    assert found["formats"] == "16 PNG; 16 RGB"
    assert found["groups"] == "16 of 16 images"
    assert found["leaks"] == "no group is in more than one split"
    assert found["same photo"] == "not searched (use --near-duplicates)"
    assert not {"LEAKS", "LABEL CONFLICTS", "unreadable"} & set(found)


def test_a_copy_in_both_splits_is_a_leak_and_with_another_label_a_conflict(folder: Path) -> None:
    shutil.copy(folder / "train" / "cat" / "0.png", folder / "test" / "dog" / "copy.png")
    result = audited(folder)
    assert headline(result) == ["1 group is in more than one split", "1 photo with conflicting labels"]
    found = lines(result)
    counts = "1 of 8 in train (12.5%), 1 of 9 in test (11.1%)"
    assert found["LEAKS"].endswith(f"images with a near-duplicate in another split: {counts}")
    assert found["LABEL CONFLICTS"] == "1 photo with conflicting labels"
    assert found["groups"] == "16 of 17 images; 1 has more than one, the largest 2"
    assert found["identical file"] == "1 pair, confidence 1"
    pair = next(text for name, text in audit_rows(result) if " = " in text)
    assert "0.png (cat)" in pair
    assert "copy.png (dog)" in pair


def test_unreadable_files_and_sizes_are_listed(folder: Path) -> None:
    (folder / "train" / "cat" / "empty.png").write_bytes(b"")
    noise(100, 30, 99).save(folder / "train" / "dog" / "wide.png")
    noise(60, 40, 98).convert("L").save(folder / "train" / "dog" / "gray.png")
    result = audited(folder)
    rows = audit_rows(result)
    found = lines(result)
    assert found["unreadable"].startswith("1 left out: 1 ")
    assert ("", f"{folder / 'train' / 'cat' / 'empty.png'}: is empty (0 bytes)") in rows
    assert found["sizes"].startswith("2 sizes, 60 to 100 (median 60) wide, 30 to 40 (median 40) high")
    assert found["formats"] == "18 PNG; 17 RGB, 1 L; 1 without color"
    assert found["classes"] == "8 cat, 10 dog; the largest has 1.2 x the smallest"
