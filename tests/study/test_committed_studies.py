"""The study pages in docs/ agree with the template, and their texts quote them."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "docs" / "studies"
TEMPLATES = ROOT / "excite" / "reporting" / "templates"
PAGES = sorted(PLACE.glob("*.html"))
STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)


def styles(name: str) -> list[str]:
    return STYLE.findall((TEMPLATES / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_it_agrees_with_the_template_and_contains_no_images_or_paths(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    assert STYLE.findall(page) == styles("style.html") + styles("study.html")
    template = (TEMPLATES / "study.html").read_text(encoding="utf-8")
    for heading in re.findall(r"<h2[^>]*>([^<{]+)</h2>", template):
        assert re.search(rf"<h2[^>]*>{re.escape(heading)}</h2>", page), heading
    assert "<img" not in page
    assert "data:image" not in page
    assert not re.search(r"/(home|root|tmp|work|Users|mnt|srv|opt)/", page)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_cell_names_its_column_for_phones(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    for table in re.findall(r'<div class="table[^"]*stack[^>]*>(<table>.*?</table>)', page, re.DOTALL):
        columns = re.findall(r'<th scope="col">(.*?)</th>', table)
        for row in re.findall(r"<tr>(.*?)</tr>", table.partition("<tbody>")[2], re.DOTALL):
            labels = re.findall(r'<td[^>]* data-label="([^"]*)"', row)
            assert len(labels) == row.count("<td")
            assert labels == columns[-len(labels) :]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_its_text_contains_the_command_and_the_verdicts(path: Path) -> None:
    """The write-up beside a page quotes its sentences word for word, perhaps cut short with [...]."""
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "excite study run " in text
    assert f"({path.name})" in text
    page = re.sub(r"\s+", " ", unescape(path.read_text(encoding="utf-8")))
    quoted = "\n".join(line[1:].strip() for line in text.splitlines() if line.startswith(">"))
    sentences = [" ".join(one.split()) for one in quoted.split("\n\n")]
    assert sentences
    for sentence in sentences:
        assert sentence.removesuffix(" [...]") in page


def test_each_text_has_a_page_and_a_link_to_it() -> None:
    texts = sorted(path.stem for path in PLACE.glob("*.md"))
    assert texts == [path.stem for path in PAGES]
    guide = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    for name in texts:
        assert f"(studies/{name}.md)" in guide
