"""The reports in docs/ look as the template makes them today, and show neither a picture nor a machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REPORTS = sorted((ROOT / "docs" / "reports").glob("*.html"))
STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_it_is_of_this_template_without_pictures_and_places(path: Path) -> None:
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
