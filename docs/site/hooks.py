"""What MkDocs calls while it builds the site: pages made from the code, notebooks, links, languages."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import nbformat
from api_pages import api_pages
from command_pages import command_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from notebooks import DOCS, notebook, tutorial_pages

ROOT = Path(__file__).parents[2]
# Documents of the repository's root -> their pages.
ROOT_PAGES = {
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CHANGELOG.md": "project/changelog.md",
    "README.md": "project/readme.md",
    "README.zh.md": "zh/readme.md",
}
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    pages = api_pages(ROOT / "excite") | command_pages()
    pages |= {page: (ROOT / name).read_text(encoding="utf-8") for name, page in ROOT_PAGES.items()}
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    for page in tutorial_pages():
        uri = page.relative_to(DOCS).with_suffix(".ipynb").as_posix()
        files.append(File.generated(config, uri, content=nbformat.writes(notebook(page))))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links between the repository's root and ``docs`` become links between pages."""
    uri = page.file.src_uri
    source = {there: name for name, there in ROOT_PAGES.items()}.get(uri, f"docs/{uri}")

    def page_link(match: re.Match[str]) -> str:
        path, hash, anchor = match[2].partition("#")
        if not path or "://" in path:
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        target = ROOT_PAGES.get(target, target.removeprefix("docs/"))
        return f"{match[1]}{posixpath.relpath(target, posixpath.dirname(uri) or '.')}{hash}{anchor}{match[3]}"

    parts = FENCE.split(markdown)
    text = "".join(part if part.startswith("```") else LINK.sub(page_link, part) for part in parts)
    if DOCS / uri in tutorial_pages():
        label = "下载本页的 notebook" if uri.startswith("zh/") else "This page as a notebook"
        text += f"\n\n[{label}]({Path(uri).with_suffix('.ipynb').name})\n"
    return text


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Docstrings announce a literal block with two colons, of which readers see one."""
    return html.replace("::</p>", ":</p>")


def on_page_context(context: dict, page: Page, config: MkDocsConfig, nav: object) -> dict:
    """Labels and fonts follow the language of the page; pages are rendered one after the other."""
    config.theme["language"] = "zh" if page.file.src_uri.startswith("zh/") else "en"
    return context
