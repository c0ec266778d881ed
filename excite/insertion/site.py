"""A site, and the table that sites are printed in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from excite.system.notebook import table_html
from excite.system.text import shorten_middle

if TYPE_CHECKING:
    import pandas as pd

# Defined in families.py.
SHOWN, REPR_WIDTH = 10, 30  # sites of a repr, and columns of their paths
PLACEMENTS = ("standard", "pre", "post", "identity", "inner")


@dataclass(frozen=True)
class Site:
    """A place in a network where attention is or can be.

    Args:
        path: the module that hosts the attention; new parameters are ``<path>.attention.*``.
        block: path of the block that it belongs to; the same as ``path`` outside known blocks.
        kind: full name of the block's class.
        position: how the attention is applied: ``after`` the module, ``before`` it, or ``on the shortcut``.
        channels: number of channels there; 0 if the features are not (N, C, H, W), or if the number is
            unknown.
        stage: level of resolution, 1 the finest; layer1 to layer4 of a ResNet are 2 to 5, as in the paper.
            From the path if it contains the stage, else from the shapes; None if neither tells.
        placement: ``standard``, ``pre``, ``post``, ``identity``, or ``inner``.
        has_attention: whether the site has attention already, inserted or part of the architecture.
    """

    path: str
    block: str
    kind: str
    position: str
    channels: int
    stage: int | None
    placement: str
    has_attention: bool


class SiteTable(tuple[Site, ...]):
    """Sites in the order of the model; ``print`` shows a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        counted = f"{len(self)} site{'' if len(self) == 1 else 's'}"
        more = len(self) - SHOWN
        rest = [f"... and {more} more; print() shows all"] if more > 0 else []
        return "\n".join([counted, *_lines(self[:SHOWN], REPR_WIDTH), *rest])

    def _repr_html_(self) -> str:
        """The first sites, for a notebook."""
        header, *rows = _cells(self[:SHOWN])
        more = f"{len(self):,} sites; .table is a DataFrame" if len(self) > SHOWN else ""
        return table_html(header, rows, right=("stage", "channels"), below=more)

    @property
    def table(self) -> pd.DataFrame:
        """One row per site, with the attributes of ``Site``."""
        import pandas as pd

        return pd.DataFrame([asdict(site) for site in self], columns=[each.name for each in fields(Site)])

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _lines(sites: Iterable[Site], longest: int | None = None) -> list[str]:
    """A table; ``longest`` is the largest width of a path, which is shortened in the middle."""
    rows = _cells(sites, longest)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _cells(sites: Iterable[Site], longest: int | None = None) -> list[tuple[str, ...]]:
    """The header and the rows of a table."""
    rows: list[tuple[str, ...]] = [("module", "position", "block", "stage", "channels", "attention")]
    for site in sites:
        path = site.path if longest is None else shorten_middle(site.path, longest)
        kind = site.kind.rpartition(".")[2]
        stage = "?" if site.stage is None else str(site.stage)
        channels = str(site.channels or "?")
        attention = "yes" if site.has_attention else "-"
        rows.append((path, site.position, kind, stage, channels, attention))
    return rows
