"""A site, and the table that sites are printed in."""

from __future__ import annotations

from dataclasses import dataclass

# Defined in families.py.
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

    def __str__(self) -> str:
        rows = [("module", "position", "block", "stage", "channels", "attention")]
        for site in self:
            kind = site.kind.rpartition(".")[2]
            stage = "?" if site.stage is None else str(site.stage)
            channels = str(site.channels or "?")
            attention = "yes" if site.has_attention else "-"
            rows.append((site.path, site.position, kind, stage, channels, attention))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
