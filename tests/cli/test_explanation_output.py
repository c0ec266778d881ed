"""The tables of excite explain can be read on 80 columns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from excite.cli.explanation_output import attention_table, shortcut_table


def site(path: str, *, harmless: bool) -> Any:
    return SimpleNamespace(
        site=SimpleNamespace(path=path, variation=0.1234),
        shares=SimpleNamespace(of_class=1.0, of_image=0.84, of_nothing=0.16),
        kinds=SimpleNamespace(static=1152, channels=1152, rank=12),
        ablation=SimpleNamespace(difference=-0.1234, harmless=harmless),
    )


def test_a_site_of_attention_is_one_line() -> None:
    paths = ["blocks.0.0.se", "features.denseblock1.denselayer1"]
    report: Any = SimpleNamespace(
        sites=[site(f"{path}.attention", harmless=path == paths[0]) for path in paths]
    )
    header, first, second = attention_table(report).lines(80)
    numbers = ["12.34%", "100%", "84%", "16%", "1152/1152", "12", "-12.34"]
    assert first.split() == [paths[0], *numbers, "*"]
    assert second.split()[1:] == numbers
    assert second.startswith("feat")
    assert max(map(len, (header, first, second))) <= 80
    assert attention_table(report).lines()[2].split()[0] == paths[1]


def test_what_is_left_of_a_picture_is_not_shortened() -> None:
    text = "the strength of the edges, gray, without the middle of the picture"
    interval = SimpleNamespace(low=0.4, high=0.93)
    auroc = SimpleNamespace(value=0.81, interval=interval, shuffled=0.49)
    tests = [
        SimpleNamespace(name=name, text=text, auroc=auroc, telling=name == "whole")
        for name in ("whole", "bottom right corner")
    ]
    report: Any = SimpleNamespace(tests=tests)
    lines = shortcut_table(report).lines(80)
    assert max(map(len, lines)) <= 80
    column = slice(lines[0].index("what"), lines[0].index("AUROC"))
    shown = " ".join(line[column].strip() for line in lines[1:])
    assert shown == f"{text} {text}"
    assert [line.endswith("*") for line in lines if "0.81 (0.40 to 0.93)" in line] == [True, False]
