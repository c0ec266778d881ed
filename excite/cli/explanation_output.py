"""The tables of attention and of shortcuts, as ``excite explain`` prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from excite.cli.output import plain_table
from excite.cli.plain_table import PlainTable

if TYPE_CHECKING:
    from excite.explain.gate_analysis import AttentionReport
    from excite.explain.shortcuts import ShortcutReport


def attention_table(report: AttentionReport) -> PlainTable:
    """One row per site; its columns leave room for the name of a site on 80 columns."""
    columns = ("variation", "class", "image", "nothing", "static", "rank", "accuracy")
    table = plain_table("site", *columns, "", right=columns, names=("site",))
    for each in report.sites:
        parts = each.shares
        shares = (
            ["-"] * 3
            if parts is None
            else [f"{v:.0%}" for v in (parts.of_class, parts.of_image, parts.of_nothing)]
        )
        table.add_row(
            each.site.path.removesuffix(".attention"),
            f"{each.site.variation:.2%}",
            *shares,
            f"{each.kinds.static}/{each.kinds.channels}",
            str(each.kinds.rank),
            f"{100 * each.ablation.difference:+.2f}",
            "*" if each.ablation.harmless else "",
        )
    return table


def shortcut_table(report: ShortcutReport) -> PlainTable:
    """One row per test; what is left of the pictures continues on the next line."""
    from excite.explain.shortcuts import text_of

    table = plain_table("test", "what is left", "AUROC", "shuffled", "")
    for test in report.tests:
        above = "*" if test.telling else ""
        table.add_row(test.name, test.text, text_of(test.auroc), f"{test.auroc.shuffled:.2f}", above)
    return table
