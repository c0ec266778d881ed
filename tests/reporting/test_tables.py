"""Cells of tables: undefined metrics, missing intervals, and warnings become notes."""

from __future__ import annotations

from excite.reporting.tables import Cell, Notes, cell, letter, metric_text, number_text


def test_an_undefined_metric_has_a_note_with_the_reason() -> None:
    notes = Notes()
    gone = {"value": None, "reason": "no image belongs to this class"}
    bare = {"value": 0.5, "low": None, "high": None, "reason": "3 groups are too few"}
    shares = [cell("ppv", gone, notes), cell("auroc", bare, notes), cell("npv", gone, notes)]
    assert [(one.value, one.mark) for one in shares] == [
        ("not defined", "a"),
        ("0.500", "b"),
        ("not defined", "a"),
    ]
    assert notes.lines == [
        ("a", "not defined: no image belongs to this class"),
        ("b", "no interval: 3 groups are too few"),
    ]
    assert metric_text(gone) == "not defined: no image belongs to this class"
    assert metric_text(bare) == "0.500 (no interval: 3 groups are too few)"


def test_a_rough_interval_has_a_note_with_the_reason() -> None:
    notes = Notes()
    rough = {"value": 0.5, "low": 0.2, "high": 0.8, "warning": "4 groups of class 'b'; about 5 are needed"}
    assert cell("mcc", rough, notes) == Cell("0.500", "0.200 to 0.800", "a")
    assert notes.lines == [("a", "rough interval: 4 groups of class 'b'; about 5 are needed")]
    expected = "0.500 (0.200 to 0.800; rough interval: 4 groups of class 'b'; about 5 are needed)"
    assert metric_text(rough, "mcc") == expected
    assert number_text("auroc", None) == "not defined"
    assert [letter(number) for number in (0, 25, 26, 27, 52)] == ["a", "z", "aa", "ab", "ba"]
