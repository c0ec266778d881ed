"""A site, and the table that sites are printed in."""

from __future__ import annotations

from dataclasses import dataclass

# What they mean stands in families.py.
PLACEMENTS = ("standard", "pre", "post", "identity", "inner")


@dataclass(frozen=True)
class Site:
    """One place in a model where attention sits or can sit.

    Args:
        path: the module that attention meets; new parameters are ``<path>.attention.*``.
        block: the block that it belongs to, its path; the same as ``path`` where no known block is.
        kind: full name of the block's class.
        way: how attention meets the module: ``after``, ``before``, ``on the shortcut``.
        channels: of the features there; 0 where they are not (N, C, H, W) or could not be found.
        stage: level of resolution, 1 the finest; a ResNet's layer1 to layer4 are 2 to 5, as in the paper.
            From the path where that says it, else from the shapes; None where neither does.
        has_attention: attention sits here already, inserted or as the block's own.
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
    """Sites in the order of the model; prints as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        rows = [("module", "way", "block", "stage", "channels", "attention")]
        for site in self:
            kind = site.kind.rpartition(".")[2]
            stage = "?" if site.stage is None else str(site.stage)
            channels = str(site.channels or "?")
            rows.append(
                (site.path, site.position, kind, stage, channels, "yes" if site.has_attention else "-")
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
