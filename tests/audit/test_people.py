"""Pages show no images of what may be people, unless they are asked to: one switch for all of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

import excite
from excite.audit.people import may_show_people
from excite.cli.app import run as excite_cli
from excite.data.manifest import Manifest
from tests.conftest import SMALL, make_pictures


def manifest(names: list[str], groups: list[str] | None = None) -> Manifest:
    half = len(names) // 2
    table = pd.DataFrame(
        {"path": [f"/photos/{name}" for name in names], "label": half * ["a"] + half * ["b"]}
    )
    return Manifest(table if groups is None else table.assign(group=groups), ("a", "b"))


PLAIN = ["hill.png", "sea.png", "tree.png", "road.png"]


@pytest.mark.parametrize(
    ("names", "groups", "people"),
    [
        (PLAIN, None, False),
        (PLAIN, ["photo-0123", "photo-0123", "", ""], False),  # near-duplicates that the audit joined
        (PLAIN, ["P1", "P1", "P2", ""], True),
        ([f"P{k // 3}_{k}.png" for k in range(12)], None, True),
    ],
)
def test_groups_and_names_like_groups_may_be_people(
    names: list[str], groups: list[str] | None, people: bool
) -> None:
    assert may_show_people(manifest(names, groups)) is people


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of pictures whose names say nothing, with two copies; and with names of ten groups each."""
    place = tmp_path_factory.mktemp("photos")
    for file in list(make_pictures(place / "named", classes=2, size=(20, 20)).rglob("*.png")):
        word = "".join(chr(97 + int(digit)) for digit in file.stem.split("_")[1])
        target = place / "plain" / file.parent.name / f"{word}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
        file.rename(file.with_name(f"{file.parent.name}{file.name}"))
    for label in "ab":
        copied = next((place / "plain" / label).iterdir())
        shutil.copy(copied, copied.with_name("again.png"))
    return place


@pytest.mark.parametrize(
    ("data", "options", "shown"),
    [
        ("plain", [], True),
        ("named", [], False),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("plain", ["--no-thumbnails"], False),
                ("named", ["--thumbnails"], True),
                ("plain", ["--group-pattern", "^(.)"], False),
            )
        ),
    ],
)
def test_one_switch_for_report_figure_and_audit(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, options: list[str], shown: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if data == "plain":
        assert excite_cli(["audit", str(photos / data), "--out", "audit", *options]) == 0
        assert ("data:image" in Path("audit/audit.html").read_text()) is shown
    given: dict[str, object] = (
        {"thumbnails": options == ["--thumbnails"]} if options and "thumb" in options[0] else {}
    )
    if "--group-pattern" in options:
        given = {"group_pattern": options[1]}
    run = excite.train(photos / data, out="run", epochs=1, quiet=True, **SMALL, **given)
    assert run.config.thumbnails is shown
    assert (run.figures / "samples.png").exists() is shown
    assert ("data:image" in (run.path / "report.html").read_text()) <= shown
