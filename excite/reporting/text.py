"""Small pieces of text that pages and tables share."""

from __future__ import annotations


def many(count: int, one: str, more: str | None = None) -> str:
    """A count with its noun: ``1 group``, ``2 groups``; ``more`` is an irregular plural."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"
