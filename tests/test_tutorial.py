"""The tutorial: its steps in two languages have the same code, and each has what a step promises."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import excite

DOCS = Path(excite.__file__).parents[1] / "docs"
STEPS = sorted((DOCS / "tutorial").glob("[0-9]*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
steps = pytest.mark.parametrize("step", STEPS, ids=lambda step: step.stem)


def chinese(step: Path) -> Path:
    return DOCS / "zh" / "tutorial" / step.name


def without_comments(language: str, code: str) -> str:
    """What the code does, without comments and docstrings, which are in the language of the page."""
    if language == "python":
        tree = ast.parse(code)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:]
        return ast.dump(tree)
    return re.sub(r"(?m)\s+# .*$", "", code)


def test_there_are_seven_steps_in_both_languages() -> None:
    assert [step.name[0] for step in STEPS] == list("1234567")
    assert [step.name for step in STEPS] == sorted(
        p.name for p in (DOCS / "zh" / "tutorial").glob("[0-9]*.md")
    )


@steps
def test_both_languages_have_the_same_code_and_output(step: Path) -> None:
    """CI runs the English code, so that the Chinese code has been run, too."""
    pages = [BLOCK.findall(path.read_text(encoding="utf-8")) for path in (step, chinese(step))]
    english, other = [
        [(language, without_comments(language, code)) for language, code in page] for page in pages
    ]
    assert english == other


@steps
def test_each_step_has_a_picture_a_question_and_the_usual_mistake(step: Path) -> None:
    for path, headings in (
        (step, ("The usual mistake", "A question")),
        (chinese(step), ("常见错误", "思考题")),
    ):
        text = path.read_text(encoding="utf-8")
        for heading in headings:
            assert re.search(rf"^## {heading}$", text, re.MULTILINE), f"{path}: {heading}"
        pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
        assert pictures
        for picture in pictures:
            assert (path.parent / picture).stat().st_size < 60_000


@steps
def test_every_block_of_output_is_filled(step: Path) -> None:
    for path in (step, chinese(step)):
        outputs = [
            text for language, text in BLOCK.findall(path.read_text(encoding="utf-8")) if language == "text"
        ]
        assert outputs
        assert all(output.strip() for output in outputs)


def terms(page: Path) -> list[str]:
    """The first column of a glossary."""
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [row.split("|")[1].strip() for row in rows if row.split("|")[1].strip() not in ("term", "英文")]


def test_the_chinese_glossary_has_every_term_in_the_same_order() -> None:
    assert terms(DOCS / "zh" / "glossary.md") == terms(DOCS / "reference" / "glossary.md")
