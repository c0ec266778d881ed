"""The audit joins near-duplicates with the groups of the user, and reports leaks and conflicts."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from excite.audit import audit as audit_module
from excite.audit.audit import decision_files
from excite.audit.decisions import write_decisions
from excite.audit.duplicates.pair import Pair
from excite.audit.reading import read_images
from excite.audit.table import audit_rows, headline
from excite.data.manifest import Manifest
from excite.errors import ExciteError
from tests.audit.checked import audit


def picture(seed: int, width: int = 64, height: int = 48) -> Image.Image:
    """Blobs with different hashes."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def save(root: Path, name: str, seed: int) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(root / name)
    return root / name


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """train and test of two classes, six pictures each, without a copy."""
    root = tmp_path / "data"
    for number, place in enumerate(("train/a", "train/b", "test/a", "test/b")):
        for index in range(6):
            save(root, f"{place}/{index}.png", 100 * number + index)
    return root


Inject = Callable[..., None]


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch) -> Inject:
    """Have the passes find these pairs: (name, name, kind, confidence)."""

    def found(*pairs: tuple[str, str, str, float]) -> None:
        def find_pairs(manifest: Manifest, **_: object) -> list[Pair]:
            rows = {str(Path(*Path(p).parts[-3:])): r for r, p in enumerate(manifest.table["path"])}
            return [
                Pair(*sorted((rows[a], rows[b])), kind, "as told", confidence)  # type: ignore[call-arg]
                for a, b, kind, confidence in pairs
            ]

        monkeypatch.setattr(audit_module, "find_pairs", find_pairs)

    return found


def state(root: Path) -> dict[str, tuple[str, int]]:
    files = [file for file in root.rglob("*") if file.is_file()]
    return {str(f): (hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns) for f in files}


def test_a_set_without_findings_has_an_empty_headline(folders: Path) -> None:
    before = state(folders)
    found = audit(read_images(folders))
    assert len(found) == len(found.members) == 24
    assert found.pairs == ()
    assert not found.leaks
    assert headline(found) == []
    assert ("leaks", "no group is in more than one split") in audit_rows(found)
    assert state(folders) == before


def test_a_copied_file_across_the_split_is_a_leak(folders: Path) -> None:
    (folders / "test" / "a" / "copy.png").write_bytes((folders / "train" / "a" / "0.png").read_bytes())
    found = audit(read_images(folders))
    assert [pair.kind for pair in found.pairs] == ["identical file"]
    assert found.leaks.images == {"train": 1, "test": 1}
    assert found.leaks.fraction("test") == 1 / 13
    assert found.conflicts == ()
    assert headline(found) == ["1 group is in more than one split"]
    document = found.to_dict()
    assert document["leaks"]["groups"] == 1
    assert document["leaks"]["images"] == {"train": 1, "test": 1}


def test_a_photo_under_two_labels_is_a_conflict(folders: Path) -> None:
    (folders / "train" / "b" / "copy.png").write_bytes((folders / "train" / "a" / "0.png").read_bytes())
    found = audit(read_images(folders))
    (conflict,) = found.conflicts
    assert conflict.labels == {"a": 1, "b": 1}
    paths = found.manifest.table["path"]
    assert {Path(paths[row]).name for row in conflict.images} == {"0.png", "copy.png"}
    assert found.to_dict()["label_conflicts"][0]["labels"] == {"a": 1, "b": 1}
    assert not found.leaks


def test_a_patient_with_two_labels_is_no_conflict_but_may_leak(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number, (split, label) in enumerate(product(("train", "test"), "ab")):
        for index in range(4):
            save(root, f"{split}/{label}/P{index}_{split}{label}.png", 10 * number + index)
    found = audit(read_images(root, group_pattern=r"^(P\d)_"))
    assert len(found.members) == 4
    assert found.conflicts == ()
    assert found.leaks.images == {"train": 8, "test": 8}
    assert found.name_pattern is None


def test_near_duplicates_extend_the_groups_of_the_user(folders: Path, inject: Inject) -> None:
    inject(
        ("train/a/0.png", "train/a/1.png", "identical file", 1.0),
        ("train/b/0.png", "train/b/1.png", "identical file", 1.0),
    )
    manifest = read_images(folders)
    names = [Path(path).parts[-3:] for path in manifest.table["path"]]
    given = {
        ("train", "a", "0.png"): "anna",
        ("train", "a", "5.png"): "anna",
        ("train", "a", "1.png"): "bert",
    }
    manifest = manifest.with_columns(group=[given.get(name, "") for name in names])
    made = audit(manifest).grouped()
    group = dict(zip(names, made.table["group"], strict=True))
    assert group["train", "a", "0.png"] == group["train", "a", "1.png"] == group["train", "a", "5.png"]
    assert group["train", "a", "0.png"] == "anna+bert"
    assert group["train", "b", "0.png"] == group["train", "b", "1.png"] != ""
    assert group["train", "b", "2.png"] == ""
    assert made.group_count() == 24 - 3
    assert len(audit(manifest).members) == made.group_count()


def test_names_of_new_groups_never_equal_those_of_the_user(folders: Path, inject: Inject) -> None:
    inject(("train/b/0.png", "train/b/1.png", "identical file", 1.0))
    plain = audit(read_images(folders))
    row = plain.pairs[0].a
    name = plain.grouped().table["group"][row]
    groups = [""] * 24
    groups[5 if row != 5 else 6] = name
    made = audit(read_images(folders).with_columns(group=groups)).grouped()
    assert (made.table["group"] == name).sum() == 1
    assert made.group_count() == 23


def test_decisions_of_a_reviewer_are_applied(folders: Path, tmp_path: Path, inject: Inject) -> None:
    inject(("train/a/0.png", "test/a/0.png", "identical file", 1.0))
    assert audit(read_images(folders)).leaks
    form = tmp_path / "decisions.csv"
    form.write_text(f"decision,a,b\nreject,{folders}/train/a/0.png,{folders}/test/a/0.png\n")
    found = audit(read_images(folders), decisions=[form])
    assert not found.leaks
    assert len(found.members) == 24
    form.write_text(f"decision,a,b\naccept,{folders}/train/b/3.png,{folders}/test/b/4.png\n")
    found = audit(read_images(folders), decisions=[form])
    assert found.leaks.images == {"train": 2, "test": 2}
    assert found.to_dict()["decisions"] == {"accepted": 1, "rejected": 0, "not_found": 0}


def test_decisions_of_an_earlier_audit_are_always_read(tmp_path: Path) -> None:
    own, other = tmp_path / "out" / "decisions.csv", tmp_path / "other.csv"
    assert decision_files(tmp_path / "out") == []
    assert decision_files(tmp_path / "out", other) == [other]
    own.parent.mkdir()
    own.touch()
    assert decision_files(tmp_path / "out") == [own]
    assert decision_files(tmp_path / "out", own) == [own]
    assert decision_files(tmp_path / "out", other) == [other, own]


def test_the_document_is_json_with_the_fixed_keys(folders: Path, inject: Inject) -> None:
    inject(("train/a/0.png", "test/b/0.png", "same photo", 0.9))
    (folders / "train" / "a" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    document = json.loads(json.dumps(audit(read_images(folders)).to_dict()))
    assert {"images", "groups", "pairs", "leaks", "label_conflicts", "files"} <= set(document)
    assert document["images"] == 24
    (pair,) = document["pairs"]
    assert {pair["a"], pair["b"]} == {str(folders / "train/a/0.png"), str(folders / "test/b/0.png")}
    assert (pair["kind"], pair["evidence"]) == ("same photo", "as told")
    (bad,) = document["files"]["bad"]
    assert bad["path"].endswith("cut.png")


@pytest.mark.parametrize(
    ("count", "asked", "expected"), [(24, None, True), (24, False, False), (24, True, True)]
)
def test_pass_three_runs_on_request_or_for_a_small_set(
    folders: Path, monkeypatch: pytest.MonkeyPatch, count: int, asked: bool | None, expected: bool
) -> None:
    seen = []
    monkeypatch.setattr(
        audit_module, "find_pairs", lambda _, **options: seen.append(options["near_duplicates"]) or []
    )
    assert audit(read_images(folders), near_duplicates=asked).near_duplicates is expected
    monkeypatch.setattr(audit_module, "NEAR_DUPLICATES_UP_TO", count - 1)
    assert audit(read_images(folders), near_duplicates=asked).near_duplicates is (asked is True)
    assert seen == [expected, asked is True]


def test_the_agreement_of_pairs_with_a_name_pattern_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(12):
        save(tmp_path, f"a/P{index // 3}_{index % 3}.png", index)  # rows 0-2, 3-5, 6-8, 9-11
    pairs = [Pair(a, b, "identical file", "", 1.0) for a, b in ((0, 1), (1, 2), (3, 4), (5, 6))]
    monkeypatch.setattr(audit_module, "find_pairs", lambda *_, **__: pairs)
    row = dict(audit_rows(audit(read_images(tmp_path))))["file names"]
    assert "75.0% of the 4 pairs are in the same group" in row


@pytest.mark.slow
def test_shortcuts_and_name_patterns_are_in_the_report(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for index in range(24):
        save(root, f"a/P{index // 2}_{index % 2}.png", index)
        (root / "b").mkdir(exist_ok=True)
        picture(100 + index, 90, 70).save(root / "b" / f"Q{index // 2}_{index % 2}.png")
    rows = audit_rows(audit(read_images(root), near_duplicates=False))
    shortcuts = [text for name, text in rows if name == "SHORTCUT"]
    assert shortcuts[0].startswith("size: balanced accuracy 100.0% on 48 images of 48 groups")
    assert r"use --group-pattern '^((?:P|Q)\d+)_'" in dict(rows)["file names"]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("flat", [True, False])
def test_one_or_two_images_are_audited(tmp_path: Path, count: int, flat: bool) -> None:
    for number in range(count):
        save(tmp_path, f"{number}.png" if flat else f"a/{number}.png", number)
    found = audit(read_images(tmp_path))
    assert len(found) == len(found.members) == count
    assert audit_rows(found)
    json.dumps(found.to_dict())


@pytest.mark.parametrize("make", ["nothing", "text", "empty class"])
def test_a_source_without_images_is_an_error(tmp_path: Path, make: str) -> None:
    if make == "text":
        (tmp_path / "notes.txt").write_text("x")
    if make == "empty class":
        (tmp_path / "a").mkdir()
    with pytest.raises(ExciteError, match=r"empty|no images"):
        read_images(tmp_path)


def test_a_set_of_unreadable_files_is_reported(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"")
    found = audit(read_images(tmp_path))
    assert (len(found), len(found.files.bad), found.groups) == (0, 2, ())
    assert dict(audit_rows(found))["unreadable"] == "2 left out: 2 empty"
    json.dumps(found.to_dict())


def test_circular_links_are_followed_once(tmp_path: Path) -> None:
    save(tmp_path, "a/0.png", 0)
    save(tmp_path, "b/0.png", 1)
    (tmp_path / "a" / "round").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "self.png").symlink_to(tmp_path / "a" / "self.png")
    found = audit(read_images(tmp_path))
    assert [Path(file.path).name for file in found.files.bad] == ["self.png"]
    assert len(found) == 2


def test_names_with_any_characters_are_audited_and_come_back_in_decisions(tmp_path: Path) -> None:
    names = [
        "two\nlines.png",
        "tab\t.png",
        "a,b;c.png",
        'it\'s "so".png',
        "[red]%s{0}.png",
        "🐝 ü.png",
        "-rf.png",
    ]
    for number, name in enumerate(names):
        save(tmp_path / "data", f"a/{name}", number)
        save(tmp_path / "data", f"b & c/{name}", number)  # a copy of each
    found = audit(read_images(tmp_path / "data"), near_duplicates=False)
    assert len(found.pairs) == len(found.conflicts) == len(names)
    assert json.loads(json.dumps(found.to_dict()))["images"] == 2 * len(names)
    form = tmp_path / "decisions.csv"
    write_decisions(form, found.manifest, found.pairs, found.decisions)
    form.write_bytes(form.read_bytes().replace(b"\n,", b"\nreject,").replace(b"\r\n,", b"\r\nreject,"))
    again = audit(read_images(tmp_path / "data"), near_duplicates=False, decisions=[form])
    assert len(again.decisions.rejected) == len(names)
    assert again.conflicts == ()


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("place", ["file", "folder"])
def test_names_that_are_not_utf8_are_refused_in_one_line(tmp_path: Path, flat: bool, place: str) -> None:
    odd = os.fsdecode(b"caf\xe9")
    root = tmp_path / odd if place == "folder" else tmp_path / "data"
    name = f"{odd}.png" if place == "file" else "x.png"
    try:
        save(root, name if flat else f"a/{name}", 0)
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(ExciteError, match="is not UTF-8") as caught:
        read_images(root)
    str(caught.value).encode()


def test_progress_names_its_stages(folders: Path) -> None:
    stages: list[str] = []

    def progress(name: str) -> Callable[[int, int], None]:
        stages.append(name)
        return lambda done, total: None

    audit(read_images(folders), near_duplicates=False, progress=progress)
    assert stages[0] == "reading headers"
