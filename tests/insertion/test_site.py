"""The table of sites as text."""

from __future__ import annotations

from excite.insertion.site import Site, SiteTable


def test_unknown_values_are_question_marks_and_columns_are_aligned() -> None:
    table = SiteTable(
        [
            Site("layer1.0.bn2", "layer1.0", "torch.BasicBlock", "after", 64, 2, "standard", True),
            Site("head", "head", "own.Head", "before", 0, None, "pre", False),
        ]
    )
    header, first, second = str(table).splitlines()
    assert header.split() == ["module", "position", "block", "stage", "channels", "attention"]
    assert first.split() == ["layer1.0.bn2", "after", "BasicBlock", "2", "64", "yes"]
    assert second.split() == ["head", "before", "Head", "?", "?", "-"]
    assert header.index("position") == first.index("after") == second.index("before")
