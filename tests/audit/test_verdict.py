"""The first sentence of an audit is its most important finding."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from excite.audit.audit import Audit, audit
from excite.audit.reading import read_images as read_source
from excite.audit.verdict import verdict_of
from excite.data.file_validation import check_files
from excite.data.split import apply_group_pattern
from excite.reporting.audit_page import audit_document, audit_page


def audited(folder: Path, pattern: str | None = None) -> Audit:
    images, _ = check_files(read_source(folder), complete=False)
    if pattern is not None:
        images = apply_group_pattern(images, pattern)
    return audit(images, near_duplicates=False)


def photos(folder: Path, names: list[str]) -> Path:
    """Different pictures of noise, one for each name, in two classes."""
    random = np.random.default_rng(0)
    for number, name in enumerate(names):
        place = folder / "ab"[number >= len(names) // 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 255, (24, 24, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(place / name)
    return folder


def test_unrelated_images_are_fine(tmp_path: Path) -> None:
    found = verdict_of(audited(photos(tmp_path / "photos", [f"{'qxzv'[k % 4]}{k}.png" for k in range(12)])))
    assert found.severity == "fine"
    assert "would be on both sides" in found.text


def test_copies_without_a_split_are_named_in_amber(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", [f"{'qxzv'[k % 4]}{k}.png" for k in range(12)])
    original = next((folder / "a").iterdir())
    shutil.copy(original, folder / "a" / "again.png")
    result = audited(folder)
    found = verdict_of(result)
    assert found.severity == "warn"
    assert found.text.startswith(
        "13 files show about 12 photos: a random split would leak; use --split grouped"
    )
    assert '<p class="alert warn">13 files show' in audit_page(result)
    assert audit_document(result)["verdict"] == {"text": found.text, "severity": "warn"}


def test_names_that_look_like_subjects_give_their_pattern(tmp_path: Path) -> None:
    names = [f"{'M' if k < 4 else 'NM'}{k:02d}_{view}.png" for k in range(8) for view in range(3)]
    folder = photos(tmp_path / "photos", names)
    found = verdict_of(audited(folder))
    assert found.severity == "warn"
    assert found.text.startswith(
        "24 files show about 8 subjects: a random split would leak; use --group-pattern"
    )
    assert verdict_of(audited(folder, r"^([A-Z]+\d+)_")).severity == "fine"  # these groups are kept together


def test_a_given_split_without_leaks_is_fine_and_one_with_a_leak_is_bad(tmp_path: Path) -> None:
    names = [f"{'qxzv'[k % 4]}{k}.png" for k in range(8)]
    photos(tmp_path / "photos" / "train", names)
    random = np.random.default_rng(1)
    for label in "ab":
        (tmp_path / "photos" / "test" / label).mkdir(parents=True)
        pixels = random.integers(0, 255, (24, 24, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / "test" / label / "new.png")
    found = verdict_of(audited(tmp_path / "photos"))
    assert (found.severity, found.text[:35]) == ("fine", "No photo is on both sides of the gi")
    shutil.copy(tmp_path / "photos/train/a" / names[0], tmp_path / "photos/test/a/copy.png")
    found = verdict_of(audited(tmp_path / "photos"))
    assert (found.severity, found.text) == ("bad", "1 group is in more than one split.")
