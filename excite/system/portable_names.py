"""Names of files that every system can write."""

from __future__ import annotations

import re

_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\..*)?")
_REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


def unportable_reason(name: str) -> str:
    """Why Windows cannot write a file of this name; "" if every system can.

    >>> unportable_reason("aux.txt"), unportable_reason("a.txt")
    ('aux.txt is reserved', '')
    """
    if refused := _REFUSED.search(name):
        return f"{refused[0]!r} is not allowed"
    if _RESERVED.fullmatch(name.rstrip(" .")):
        return f"{name} is reserved"
    return "it ends in a dot or a space" if name != name.rstrip(" .") else ""


def portable_name(text: str, longest: int = 60) -> str:
    """A name for a file, of letters, digits, hyphens, dots, and underscores, from any text.

    >>> portable_name("CT: head/neck"), portable_name("con"), portable_name("...")
    ('CT_head_neck', '_con', '_')
    """
    name = re.sub(r"[^\w.-]+", "_", text)[:longest].strip(". ") or "_"
    return f"_{name}" if unportable_reason(name) else name
