"""Names in matplotlib figures: fonts that contain their characters, or escapes if there are none."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from excite.errors import ExciteWarning
from excite.system.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT = "DejaVu Sans"
"""Comes with matplotlib."""


def figure_names(names: Iterable[str], width: int) -> dict[str, str]:
    """Names for a figure, on one line of at most ``width`` columns.

    A character that no installed font contains becomes an escape such as ``\\u0e41``, with a warning.
    """
    visible = {name: printable(name) for name in names}
    _, missing = find_fonts(frozenset("".join(visible.values())))
    if missing:
        _warn_once(missing)
    return {
        name: shortened("".join(_escape(c) if c in missing else c for c in text), width)
        for name, text in visible.items()
    }


def set_fonts(figure: Figure) -> None:
    """Draw every text of a figure literally, in fonts that contain its characters."""
    texts = figure.findobj(Text)
    families, _ = find_fonts(frozenset("".join(text.get_text() for text in texts)))
    for text in texts:
        text.set_fontfamily(list(families))
        text.set_parse_math(False)


@lru_cache(maxsize=64)
def find_fonts(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Font families that contain the characters, the default first, and the characters missing in all."""
    families = [DEFAULT]
    missing = characters - _covered(font_manager.findfont(DEFAULT), characters) - {"\n"}
    for search in (_known_fonts, _new_fonts):
        while missing:
            best, family = max(
                ((len(_covered(path, missing)), family) for family, path in search()),
                key=lambda one: one[0],
                default=(0, ""),
            )
            if not best:
                break
            families.append(family)
            missing -= _covered(dict(search())[family], missing)
    return tuple(families), missing


def shortened(name: str, width: int) -> str:
    """A name of at most ``width`` columns; the middle of a longer one is omitted."""
    if display_width(name) <= width:
        return name
    half = (width - 3) // 2
    return _cut(name, half) + "..." + _cut(name[::-1], width - 3 - half)[::-1]


def display_width(text: str) -> int:
    """Number of columns of a text in a fixed-width font; wide characters, such as Chinese ones, take two."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text: str, width: int) -> str:
    taken = 0
    for end, character in enumerate(text):
        taken += _columns(character)
        if taken > width:
            return text[:end]
    return text


def _escape(character: str) -> str:
    """An escape; nothing for a variation selector."""
    if "\ufe00" <= character <= "\ufe0f":
        return ""
    return character.encode("unicode_escape").decode()


@lru_cache
def _warn_once(missing: frozenset[str]) -> None:
    what = f"no installed font contains {_listed(missing)}; figures show escapes instead"
    warnings.warn(f"{what}; install a font such as Noto Sans", ExciteWarning, stacklevel=3)


def _listed(missing: frozenset[str]) -> str:
    names = [f"U+{ord(character):04X}" for character in sorted(missing)]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more characters" if len(names) > 5 else "")


def _covered(path: str, characters: frozenset[str]) -> frozenset[str]:
    """The characters that a font file contains; none if it cannot be read, such as a bitmap font."""
    try:
        known = FT2Font(path).get_charmap()
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(character for character in characters if ord(character) in known)


def _known_fonts() -> list[tuple[str, str]]:
    """(family, file) of the upright fonts that matplotlib knows, sans-serif and regular ones first."""
    entries = [
        entry
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal"
        and not entry.name.startswith("Last Resort")  # has a placeholder for every character
    ]
    entries.sort(key=lambda e: ("Sans" not in e.name, "Mono" in e.name, abs(_weight(e.weight) - 400), e.name))
    fonts: dict[str, str] = {}
    for entry in entries:
        if (
            getattr(entry, "index", 0) == 0
        ):  # older versions of matplotlib draw only the first of a collection
            fonts.setdefault(entry.name, str(entry.fname))
    return list(fonts.items())


@lru_cache(maxsize=1)
def _new_fonts() -> list[tuple[str, str]]:
    """The same, including fonts installed after matplotlib wrote its font list."""
    known = {str(entry.fname) for entry in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            try:
                font_manager.fontManager.addfont(path)
            except (OSError, RuntimeError, ValueError):
                continue
    return _known_fonts()


def _weight(weight: int | str) -> int:
    return weight if isinstance(weight, int) else font_manager.weight_dict.get(weight, 400)
