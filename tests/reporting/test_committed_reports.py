"""The reports in docs/ agree with the template, and contain no images and no names of machines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REPORTS = sorted((ROOT / "docs" / "reports").glob("*.html"))
STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_it_agrees_with_the_template_and_contains_no_images_or_paths(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    templates = ROOT / "excite" / "reporting" / "templates"
    style, template = (
        (templates / name).read_text(encoding="utf-8") for name in ("style.html", "report.html")
    )
    assert STYLE.search(page)[0] == STYLE.search(style)[0]  # type: ignore[index]
    for heading in re.findall(r"<h2>([^<{]+)</h2>", template):
        assert f"<h2>{heading}</h2>" in page or heading in ("Subgroups", "Robustness", "Learning curves")
    assert "<img" not in page
    assert "data:image" not in page
    assert not re.search(r"/(home|root|tmp|work|Users|mnt|srv|opt)/", page)


def test_there_are_two() -> None:
    assert [path.stem for path in REPORTS] == ["mpox_by_patient", "mpox_by_photo"]
