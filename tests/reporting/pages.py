"""A page as a browser reads it."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser
from urllib.parse import unquote


class Page(HTMLParser):
    """A parsed page: its text, addresses, downloads, and tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.downloads: dict[str, list[list[str]]] = {}
        self.parts: list[str] = []
        self.hidden = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.parts.append(" ")
        self.hidden += tag == "style"
        address = given.get("href") or given.get("src") or ""
        if "download" in given:
            head, _, content = address.partition(",")
            assert head == "data:text/csv;charset=utf-8"
            self.downloads[str(given["download"])] = list(
                csv.reader(io.StringIO(unquote(content), newline=""))
            )
        elif address:
            self.addresses.append(address)

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag == "style"

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.parts).split())
