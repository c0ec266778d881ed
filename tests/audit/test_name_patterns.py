"""A proposed pattern works with --group-pattern; names without groups give no proposal."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path, PurePath

import pandas as pd
import pytest

from excite.audit.name_patterns import propose_pattern
from excite.data.manifest import Manifest
from excite.data.reading import read_manifest
from excite.data.split import apply_group_pattern


def groups_of(names: list[str], pattern: str) -> list[str]:
    table = pd.DataFrame({"path": [f"/data/{name}" for name in names], "label": "x"})
    return apply_group_pattern(Manifest(table, ("x",)), pattern).table["group"].tolist()


def digest(number: int) -> str:
    return hashlib.md5(str(number).encode()).hexdigest()


def first_six(name: str) -> str:
    return name[:6]


def before_space(name: str) -> str:
    return name.split(" ")[0].removesuffix(".jpg")


def test_the_exercises_names_give_the_patients() -> None:
    names = [
        f"{lead}{p:02d}_{q:02d}_{c:02d}.jpg"
        for lead in ("M", "NM")
        for p in range(9)
        for q in range(2)
        for c in range(5)
    ]
    found = propose_pattern(names, ["m"] * 90 + ["o"] * 90)
    assert found is not None
    assert found.pattern == r"^(N?M\d+)_"
    assert str(found) == (
        "M00_00_00.jpg: 18 prefixes of 10 images, 36 of two parts with 5 images; "
        r"use --group-pattern '^(N?M\d+)_'"
    )
    assert groups_of(names, found.pattern) == [name.split("_")[0] for name in names]


def test_the_exercises_own_files(real_data: Path) -> None:
    table = read_manifest(real_data / "mpox").table
    found = propose_pattern(table["path"].tolist(), table["label"].tolist())
    assert found is not None
    assert (found.groups, found.images) == (113, 2142)
    expected = [PurePath(path).name.split("_")[0] for path in table["path"]]
    assert groups_of([PurePath(path).name for path in table["path"]], found.pattern) == expected


@pytest.mark.parametrize(
    ("names", "key"),
    [
        ([f"p{i % 10}_{i}.png" for i in range(60)], lambda name: name.split("_")[0]),
        ([f"{i // 3:04d}-{i % 3}.png" for i in range(60)], lambda name: name.split("-")[0]),
        ([f"case 7{i // 4}.slice{i % 4}.png" for i in range(60)], lambda name: name.rsplit(".slice", 1)[0]),
        ([f"patient-{i // 5}_img-{i % 5}.png" for i in range(60)], lambda name: name.split("_")[0]),
        ([f"A{i // 4}_x_{i}.png" if i // 4 % 2 else f"BC{i // 4}-x_{i}.png" for i in range(64)], None),
        ([f"IMG_{i // 3}_jpg.rf.{digest(i)}.jpg" for i in range(60)], lambda name: name.split("_jpg")[0]),
        ([f"photo{'abcdefgh'[i // 3]}{('', '_flip', '_rot90')[i % 3]}.jpg" for i in range(24)], first_six),
        ([*(f"{i}.jpg" for i in range(40)), "3 (1).jpg", "4 - Copy.jpg", "5 copy 2.jpg"], before_space),
    ],
)
def test_a_proposed_pattern_forms_the_groups_of_its_text(names: list[str], key: object) -> None:
    found = propose_pattern(names, ["x"] * len(names))
    assert found is not None
    made = groups_of(names, found.pattern)
    assert len(set(made)) == found.groups
    if key is not None:
        assert made == [key(name) for name in names]


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ([f"IMG_{i:04d}.jpg" for i in range(200)], None),
        ([f"DSC{i:05d}.JPG" for i in range(200)], None),
        ([f"ISIC_{i:07d}.jpg" for i in range(200)], None),
        ([f"Tr-me_{i:04d}.jpg" for i in range(200)], None),
        ([f"IMG_202301{d:02d}_{i:06d}.jpg" for i in range(20) for d in range(1, 9)], None),
        ([f"{digest(i)}.jpg" for i in range(200)], None),
        ([f"{i}_{digest(i)[:10]}.jpg" for i in range(200)], None),
        ([f"{uuid.UUID(digest(i))}.jpg" for i in range(200)], None),
        ([f"{i}.jpg" for i in range(200)], None),
        ([f"image ({i}).jpg" for i in range(1, 90)], None),
        ([f"cat.{i}.jpg" for i in range(50)] + [f"dog.{i}.jpg" for i in range(50)], ["c"] * 50 + ["d"] * 50),
        ([f"c1_{i}.jpg" for i in range(50)] + [f"c2_{i}.jpg" for i in range(50)], ["c"] * 50 + ["d"] * 50),
        # The numbers start anew in each class: the same name is another photo there.
        ([f"{i // 3}_{i % 3}.png" for i in range(48)] * 2, ["a"] * 48 + ["b"] * 48),
        ([f"{i}.png" for i in range(48)] * 2, ["a"] * 48 + ["b"] * 48),
        (["a.png"], None),
        ([], None),
    ],
)
def test_names_without_groups_give_no_proposal(names: list[str], labels: list[str] | None) -> None:
    assert propose_pattern(names, labels or ["x"] * len(names)) is None


def test_hymenoptera_has_no_pattern(real_data: Path) -> None:
    table = read_manifest(real_data / "hymenoptera").table
    assert propose_pattern(table["path"].tolist(), table["label"].tolist()) is None
