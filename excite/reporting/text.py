"""Small pieces of text that pages and tables share."""

from __future__ import annotations


def many(count: int, one: str, more: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"
