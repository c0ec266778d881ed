"""Words that ``docs/reference/glossary.md`` rules out appear nowhere a user reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

import excite
from excite.cli.app import app

ROOT = Path(excite.__file__).parents[1]
PACKAGE = ROOT / "excite"
GLOSSARY = ROOT / "docs" / "reference" / "glossary.md"


def rows() -> list[list[str]]:
    """The cells of each row of the glossary: term, meaning, symbol, source, words that are not used."""
    lines = [line for line in GLOSSARY.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "term" and not set(row[0]) <= {"-"}]


RULED_OUT = {word: row[0] for row in rows() for word in row[4].split(", ") if word}
PATTERN = re.compile(
    r"(?<![\w-])("
    + "|".join(re.escape(word).replace("\\ ", r"[\s_-]") for word in RULED_OUT)
    + r")s?(?![\w-])",
    re.IGNORECASE,
)


def complaints(place: str, text: str) -> list[str]:
    return [f"{place}: {match[0]!r} in {text.strip()[:80]!r}" for match in PATTERN.finditer(text)]


def test_the_pattern_finds_what_it_is_for() -> None:
    assert len(RULED_OUT) > 15
    for word in RULED_OUT:
        assert complaints("a page", f"the {word} of it")
        assert complaints("a name", f"two_{word.replace(' ', '_')}s".replace("_", " "))
    assert not complaints("a page", "resettled strategies")


def test_terms_are_defined_once_and_their_files_exist() -> None:
    terms = [row[0] for row in rows()]
    assert len(terms) == len(set(terms)) > 40
    for term, meaning, _, source, _ in rows():
        assert meaning, term
        for path in re.findall(r"`([^`]*)`", source):
            assert (PACKAGE / path).exists(), f"{term}: excite/{path} does not exist"


def commands(command: object, name: str = "excite") -> Iterator[tuple[str, str]]:
    """(where, text) of every help text of the command line."""
    for text in (getattr(command, "help", None), getattr(command, "epilog", None)):
        yield name, text or ""
    for parameter in getattr(command, "params", []):
        names = [*getattr(parameter, "opts", []), *getattr(parameter, "secondary_opts", [])]
        yield f"{name} {names}", " ".join([*names, getattr(parameter, "help", None) or ""])
    for part, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{name} {part}")


def test_help_texts() -> None:
    texts = list(commands(typer.main.get_command(app)))
    assert len(texts) > 100
    assert not [line for place, text in texts for line in complaints(place, text)]


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of the strings in every call that makes an error."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = getattr(getattr(node, "func", None), "id", "")
        if isinstance(node, ast.Call) and (name.endswith("Error") or name in ("require", "unknown_name")):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    yield inner.lineno, inner.value


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_error_messages_and_public_names(path: Path) -> None:
    found = [line for number, text in messages(path) for line in complaints(f"{path}:{number}", text)]
    names = {path.stem}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    for name in names:
        if not name.startswith("_"):
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")
            found += complaints(f"{path}: {name}", words)
    assert not found


TEMPLATES = PACKAGE / "reporting" / "templates"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *TEMPLATES.iterdir()])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_and_templates(path: Path) -> None:
    if path != GLOSSARY:
        text = re.sub(r"(?s)<style>.*?</style>", "", path.read_text(encoding="utf-8"))
        if path.name == "CHANGELOG.md":  # its table gives the old names
            text = re.sub(r"(?m)^\|.*", "", text)
        text = text.replace("CLAIM", "")  # the reporting guideline
        assert not [line for row in text.splitlines() for line in complaints(path.name, row)]
