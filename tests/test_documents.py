"""Documents: links lead somewhere, commands have the options that they show, and Python examples work."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer.main
from torch import nn
from torchvision.models.resnet import BasicBlock

import excite
from excite.cli.app import app
from excite.config.train_config import TrainConfig
from excite.plugins import registry

ROOT = Path(excite.__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMANDS = typer.main.get_command(app)
CHOICES = {
    field.name: field.metadata["limits"].choices
    for field in dataclasses.fields(TrainConfig)
    if field.metadata.get("limits") and field.metadata["limits"].choices
}
# Commands that are shown in tables and sentences, not in blocks.
INLINE_COMMAND = re.compile(r"`(excite [a-z][^`]*)`")

# Pages in which what a block prints stands below it: docs/site/notebooks.py --execute runs them.
RUN_AS_A_WHOLE = re.compile(r"^```\n\n```text$", re.MULTILINE)

_ = excite.train, excite.Classifier  # imported once here: OpenCV and others set environment variables

pages = pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def prose(page: Path) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pages
def test_links_and_anchors_exist(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        exists = target.is_relative_to(ROOT) and target.exists()
        if not exists or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_document_is_in_an_index() -> None:
    """In that of the documents, or in one that it links to, such as that of the tutorial."""
    indexes, linked = [ROOT / "docs" / "index.md"], set()
    for index in indexes:
        links = {(index.parent / link).resolve() for link in LINK.findall(prose(index)) if "://" not in link}
        indexes += [page for page in links - linked if page.name == "index.md" and page not in indexes]
        linked |= links
    assert set(DOCUMENTS) <= linked | set(indexes)


@pages
def test_source_files_exist(page: Path) -> None:
    """Paths of Python files in backticks start at the repository or at the package."""
    paths = re.findall(r"`((?:\w+/)+\w+\.py)`", prose(page))
    paths += re.findall(r"\bpython ((?:\w+/)+\w+\.py)", page.read_text(encoding="utf-8"))
    assert not [path for path in paths if not any((top / path).is_file() for top in (ROOT, ROOT / "excite"))]


def shown_commands(page: Path) -> Iterator[list[str]]:
    """Every excite command of the page, split as a shell does, without its comment."""
    text = page.read_text(encoding="utf-8")
    indented = "\n".join(re.findall(r"^(?: {4}|\$ )(excite .*(?:\n {6,}--.*)*)", text, re.MULTILINE))
    shell = "\n".join([*blocks(page, "bash"), indented]).replace("\\\n", " ")
    lines = [
        part
        for line in shell.splitlines()
        for part in re.split(r"&&|\|\|| \| ", line.split(" # ")[0].split("  #")[0])
    ]
    lines += INLINE_COMMAND.findall(prose(page))
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ["excite"]:
            yield words[1:]


def problem(words: list[str]) -> str | None:
    """Why the command line would refuse this command; types and files are not checked."""
    command, words = COMMANDS, list(words)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    # Options that an earlier line shows, and those of every command, which are accepted after it, too.
    words = [word for word in words if word not in ("...", "--quiet", "--debug")]
    try:
        values, rest, _ = command.make_parser(command.context_class(command)).parse_args(words)
    except Exception as error:  # the parser's own exceptions are not public
        return str(error) or type(error).__name__
    if getattr(command, "commands", None):
        return f"no command {rest[0]!r}" if rest else None
    if rest:
        return f"too many arguments: {rest}"
    for name, value in values.items():
        if value is not None and value not in CHOICES.get(name, (value,)):
            return f"{value!r} is not one of {CHOICES[name]}"
    return None


@pages
def test_commands_have_these_options(page: Path) -> None:
    found = {" ".join(words): problem(words) for words in shown_commands(page)}
    assert not {command: reason for command, reason in found.items() if reason}


def test_the_readme_begins_with_the_two_commands_that_ci_runs() -> None:
    lines = [line.split("#") for line in blocks(ROOT / "README.md", "bash")[0].splitlines()]
    assert [line[0].strip() for line in lines] == [
        'pip install ".[train]" && excite train digits',
        'pip install -e ".[dev]" && pytest',
    ]
    assert all(len(line) == 2 for line in lines)


def test_a_wrong_command_is_noticed() -> None:
    assert problem(["trian", "photos"])
    assert problem(["train", "photos", "--epoch", "3"])
    assert problem(["train", "photos", "--flips", "sideways"])
    assert problem(["study", "start", "photos"])
    assert problem(["doctor", "photos"])
    assert not problem(["study", "run", "photos", "--arm", "a:resnet50", "--seeds", "5"])
    assert not problem(["train", "photos", "--flips=none", "--no-identity"])


EXAMPLES = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")
    for page in DOCUMENTS
    if not RUN_AS_A_WHOLE.search(page.read_text(encoding="utf-8"))
    for number, code in enumerate(blocks(page, "python"))
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_python_examples_use_names_that_exist(code: str) -> None:
    """``from excite.x import y`` and ``excite.x.y`` in the code."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("excite"):
            if "keras" in str(node.module):
                continue
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
        elif isinstance(node, ast.Attribute):
            path = ast.unparse(node).split(".")
            if path[0] == "excite" and path[1] != "keras" and all(map(str.isidentifier, path)):
                value: Any = excite
                for part in path[1:]:
                    assert hasattr(value, part), f"excite has no {'.'.join(path[1:])}"
                    value = getattr(value, part)


class SmallNet(nn.Sequential):
    """A network of a known block, for examples with a ``model``."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 16, 3), BasicBlock(16, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def loader() -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.randn(4, 3, 12, 12), torch.arange(4))]


@pytest.mark.parametrize("code", EXAMPLES)
def test_python_examples_run(code: str) -> None:
    """Those that need no files, no downloads, no Keras, and no coremltools."""
    if re.search(r"keras|coremltools|Classifier\.load|Run\.open|train\(", code):
        pytest.skip("needs files, Keras, or coremltools")
    torch.manual_seed(0)
    model = SmallNet().eval()
    if "fold_constant_gates(" in code:
        model = excite.insert(model, "se", identity=True)
    names = {"model": model, "loader": loader(), "other_loader": loader(), "np": np, "torch": torch}
    try:
        exec(compile(code, "<example>", "exec"), names)
    finally:
        if "register(" in code:
            for of in registry._REGISTERED.values():
                for name in [name for name, plugin in of.items() if plugin.module == "__main__"]:
                    del of[name]
