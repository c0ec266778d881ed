"""Names in figures: in a font that contains them, or as escapes; of many, only some."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from excite.errors import ExciteWarning
from excite.reporting.fonts import display_width, figure_names, find_fonts, shortened
from excite.reporting.png_figures import confusion_matrix, save


def matrix(classes: list[str]) -> dict[str, object]:
    return {"confusion": np.eye(len(classes), dtype=int).tolist(), "classes": dict.fromkeys(classes)}


def has_font(character: str) -> bool:
    return not find_fonts(frozenset(character))[1]


def test_chinese_and_korean_names_are_drawn_without_a_warning(tmp_path: Path) -> None:
    if not has_font("猫고"):
        pytest.skip("no installed font has Chinese and Korean characters")
    figure = confusion_matrix(matrix(["猫", "고양이", "犬の写真"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(figure, tmp_path / "matrix.png")
    label = figure.axes[0].get_xticklabels()[0]
    assert label.get_text() == "猫"
    files = [font_manager.findfont(family) for family in label.get_fontfamily()]
    assert any(ord("猫") in FT2Font(file).get_charmap() for file in files)


def test_characters_without_a_font_become_escapes_with_one_warning() -> None:
    character = next(
        chr(code) for code in range(0x16800, 0x1F000) if chr(code).isprintable() and not has_font(chr(code))
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        names = [figure_names([f"a{character}"], 40) for _ in range(2)]
    assert list(names[0].values()) == [f"a\\U{ord(character):08x}"]
    assert [one.category for one in told] == [ExciteWarning]
    assert f"U+{ord(character):04X}" in str(told[0].message)


def test_names_are_drawn_literally(tmp_path: Path) -> None:
    names = ["$x^2$ $", r"\alpha_{", "_hidden", "[b]", "a\nb"]
    figure = confusion_matrix(matrix(names))
    save(figure, tmp_path / "matrix.png")  # mathtext would refuse the first two
    drawn = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert drawn == [*names[:4], r"a\nb"]
    assert not any(text.get_parse_math() for text in figure.findobj(Text))


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "every"), [(2, 1), (60, 1), (61, 2), (250, 5)])
def test_of_many_classes_only_some_are_labeled(tmp_path: Path, classes: int, every: int) -> None:
    names = [f"class {number}" for number in range(classes)]
    figure = confusion_matrix(matrix(names))
    save(figure, tmp_path / "matrix.png")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == names[::every]
    assert ("1 in" in axes.get_xlabel()) == (every > 1)
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(boxes))


def test_long_names_leave_room_for_the_matrix(tmp_path: Path) -> None:
    figure = confusion_matrix(matrix(["x" * 300, "y" * 300]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(figure, tmp_path / "matrix.png")
    assert figure.axes[0].get_window_extent().width > 100


def test_a_name_is_shortened_in_its_middle() -> None:
    assert shortened("short", 10) == "short"
    assert shortened("beginning of a name end", 12) == "begi...e end"
    assert display_width(shortened("猫" * 100, 20)) <= 20
