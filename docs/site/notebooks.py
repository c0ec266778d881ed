"""Notebooks from pages: ``python docs/site/notebooks.py FOLDER`` writes those of the tutorial.

With ``--execute``, it runs all pages that show what their blocks print: the tutorial and most of how-to.
A page is the source: its Python blocks become cells, its shell blocks cells with ``%%bash``, and what stands
between them text, with the pictures inside. Blocks of output are left out: running a notebook fills them.
"""

from __future__ import annotations

import argparse
import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat

DOCS = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```\n?", re.DOTALL | re.MULTILINE)
BY_HAND = "<!-- run by hand: "  # with the reason, such as data that CI does not have
OUTPUT = re.compile(r"^```\n\n```text$", re.MULTILINE)
PICTURE = re.compile(r"(!\[[^\]]*\]\()([^)\s]+)(\))")
# Jupyter asks programs for colors and progress bars that its cells then show as codes.
SETUP = """import os

for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):
    os.environ.pop(name, None)"""
TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


def pages_to_run() -> list[Path]:
    """The pages that are run as a whole, those in which what a block prints stands below it.

    Not the Chinese ones, which have the same code, nor those that say ``BY_HAND``.
    """
    pages = sorted([*DOCS.glob("tutorial/*.md"), *DOCS.glob("how-to/*.md")])
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    return [page for page, text in texts.items() if OUTPUT.search(text) and BY_HAND not in text]


def tutorial_pages() -> list[Path]:
    """The steps of the tutorial in all languages."""
    return sorted([*DOCS.glob("tutorial/[0-9]*.md"), *DOCS.glob("zh/tutorial/[0-9]*.md")])


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """(language, text) of each block of a page, in order; the language of prose is ``markdown``."""
    end = 0
    for block in BLOCK.finditer(text):
        yield "markdown", text[end : block.start()]
        yield block[1], block[2]
        end = block.end()
    yield "markdown", text[end:]


def with_pictures(text: str, folder: Path) -> str:
    """The text with each picture in place of its path, so that a notebook is one file."""

    def inside(match: re.Match[str]) -> str:
        path = folder / match[2]
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        return f"{match[1]}data:{TYPES[path.suffix]};base64,{data}{match[3]}"

    return PICTURE.sub(inside, text)


def notebook(page: Path) -> nbformat.NotebookNode:
    """The page as a notebook."""
    made = nbformat.v4.new_notebook()
    made.cells.append(nbformat.v4.new_code_cell(SETUP))
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for language, text in blocks(page.read_text(encoding="utf-8")):
        if language == "python":
            made.cells.append(nbformat.v4.new_code_cell(text.rstrip()))
        elif language == "bash":
            made.cells.append(nbformat.v4.new_code_cell(f"%%bash\n{text.rstrip()}"))
        elif language == "markdown" and text.strip():
            made.cells.append(nbformat.v4.new_markdown_cell(with_pictures(text.strip(), page.parent)))
    for number, cell in enumerate(made.cells):
        cell["id"] = f"cell-{number}"
    return made


def printed(cell: nbformat.NotebookNode) -> str:
    """What a cell wrote to standard output."""
    text = "".join(each["text"] for each in cell["outputs"] if each.get("name") == "stdout")
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def with_outputs(page: str, made: nbformat.NotebookNode) -> str:
    """The page with what each cell printed in the block of output after it, where it has one."""
    cells = iter([cell for cell in made.cells if cell["cell_type"] == "code"][1:])
    last: nbformat.NotebookNode | None = None

    def update(block: re.Match[str]) -> str:
        nonlocal last
        if block[1] in ("python", "bash"):
            last = next(cells)
        elif block[1] == "text" and last is not None:
            text = printed(last)
            last = None
            return f"```text\n{text}\n```\n" if text else ""
        return block[0]

    return BLOCK.sub(update, page)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the notebooks are written and executed")
    parser.add_argument("--execute", action="store_true", help="run them; a cell that fails ends the command")
    parser.add_argument(
        "--update", action="store_true", help="run them, and write what they print into pages"
    )
    parser.add_argument("--only", default="", help="pages whose path contains this text")
    options = parser.parse_args()
    execute = options.execute or options.update
    for page in pages_to_run() if execute else tutorial_pages():
        name = page.relative_to(DOCS)
        if options.only not in str(name):
            continue
        made, place = notebook(page), options.folder / name.with_suffix("")
        place.mkdir(parents=True, exist_ok=True)
        if execute:
            from nbclient import NotebookClient

            start = time.perf_counter()
            NotebookClient(made, timeout=600, resources={"metadata": {"path": str(place)}}).execute()
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        if options.update:
            for each in (page, DOCS / "zh" / name):
                if each.exists():
                    each.write_text(with_outputs(each.read_text(encoding="utf-8"), made), encoding="utf-8")
        nbformat.write(made, place / f"{page.stem}.ipynb")


if __name__ == "__main__":
    main()
