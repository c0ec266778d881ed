"""What objects show of themselves in a notebook: small tables and pictures, escaped, without scripts."""

from __future__ import annotations

import base64
import html
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from excite.system.text import document_text

LARGEST_PICTURE = 150_000
"""Bytes of a picture that is embedded; larger ones are left out, since a notebook is saved with them."""

_CELL = "text-align:left;padding:2px 10px 2px 0"
_NUMBER = "text-align:right;padding:2px 10px 2px 0"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_ipython() if get_ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def escaped(text: object) -> str:
    """Text for HTML.

    >>> escaped("<b>\\x1b")
    '&lt;b&gt;\\\\x1b'
    """
    return html.escape(document_text(str(text)))


def facts_html(title: str, facts: Iterable[tuple[str, object]], *parts: str) -> str:
    """A title, names with their values, and further HTML below them.

    >>> facts_html("Run", [("n", 3)]).count("<tr>")
    1
    """
    rows = "".join(
        f'<tr><th style="{_CELL}">{escaped(name)}</th><td style="{_CELL}">{escaped(value)}</td></tr>'
        for name, value in facts
    )
    return f"<div><strong>{escaped(title)}</strong><table>{rows}</table>{''.join(parts)}</div>"


def table_html(
    header: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = (), below: str = ""
) -> str:
    """A table.

    Args:
        header: names of the columns.
        rows: their values, as text.
        right: columns of numbers.
        below: a line below the table, such as how many rows are not shown.
    """
    styles = [_NUMBER if name in right else _CELL for name in header]
    head = "".join(
        f'<th style="{style}">{escaped(name)}</th>' for name, style in zip(header, styles, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td style="{s}">{escaped(v)}</td>' for v, s in zip(row, styles, strict=True))
        + "</tr>"
        for row in rows
    )
    caption = f"<p>{escaped(below)}</p>" if below else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{caption}"


def picture_html(path: Path, description: str, *, width: int = 360) -> str:
    """A PNG file as part of the page; "" if there is none, or it is larger than ``LARGEST_PICTURE``.

    Args:
        description: what it shows, for readers who do not see it.
        width: in pixels of the page.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    if len(content) > LARGEST_PICTURE or not content.startswith(b"\x89PNG"):
        return ""
    source = base64.b64encode(content).decode()
    return f'<img src="data:image/png;base64,{source}" alt="{escaped(description)}" width="{width}">'
