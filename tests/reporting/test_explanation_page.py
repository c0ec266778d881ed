"""explain.html: one file whose only script is its own, with names escaped and failures said."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from excite.explain.images import Explanation
from excite.reporting.evidence_pictures import AGAINST, FOR, colored, common_scale, overlay
from excite.reporting.explanation_page import (
    ExplanationPage,
    checks,
    choose_examples,
    explanation_page,
    write_explanation,
)

AWKWARD = "<script>alert(1)</script>\"'&{{ 7*7 }}"


def explanation(
    label: str = "a", probability: float = 0.9, *, predicted: str = "a", adds_up: bool = True
) -> Explanation:
    values = np.array([[1.0, -0.5], [0.0, 2.0]])
    return Explanation(
        f"/x/{AWKWARD}.png", label, probability, "b", predicted, values, values, 0.5, 0.5, 3.0, 3.0,
        1e-7 if adds_up else 0.8, adds_up,
    )  # fmt: skip


def test_nothing_is_loaded_and_only_its_own_script_runs() -> None:
    page = ExplanationPage(AWKWARD, (AWKWARD, "b"), [explanation(AWKWARD)], [AWKWARD])
    text = explanation_page(page)
    assert text.count("<script") == 1
    assert "alert(1)</script>" not in text
    assert "default-src 'none'" in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)


def test_pictures_are_shown_only_if_they_are_given(tmp_path: Path) -> None:
    pixels = np.full((1, 32, 32, 3), 200, dtype=np.uint8)
    hidden = explanation_page(ExplanationPage("run", ("a", "b"), [explanation()], [""]))
    shown = ExplanationPage("run", ("a", "b"), [explanation()], [""], pixels)
    assert "image/jpeg" not in hidden
    assert "Pictures are not shown" in hidden
    assert explanation_page(shown).count("image/jpeg") == 1
    write_explanation(shown, tmp_path)
    assert (tmp_path / "maps" / "0001.png").is_file()


def test_evidence_that_does_not_add_up_is_said() -> None:
    one = ExplanationPage("run", ("a", "b"), [explanation(adds_up=False)], [""])
    [statement] = checks(one)
    assert statement.severity == "warn"
    assert "Approximate" in statement.text
    assert "0.8" in statement.text
    assert "Approximate" in one.explanations[0].check


def test_examples_are_of_every_class_right_and_wrong_sure_and_unsure() -> None:
    labels, found = [], []
    for true in ("a", "b"):
        for right in (True, False):
            for probability in np.linspace(0.5, 1, 20):
                labels.append(true)
                predicted = true if right else {"a": "b", "b": "a"}[true]
                found.append(explanation(predicted, float(probability), predicted=predicted))
    chosen = choose_examples(found, labels, 16)
    assert len(chosen) == len(set(chosen)) == 16
    for true in ("a", "b"):
        for right in (True, False):
            own = [n for n in chosen if labels[n] == true and (found[n].predicted == true) == right]
            assert len(own) == 4
            assert max(found[n].probability for n in own) == 1
            assert min(found[n].probability for n in own) == 0.5
    assert sorted(choose_examples(found[:3], labels[:3])) == [0, 1, 2]


def test_colors_have_the_sign_and_one_scale() -> None:
    picture = np.asarray(colored(np.array([[1.0, -1.0]]), 1.0, 32))
    assert tuple(picture[16, 2, :3]) == FOR
    assert tuple(picture[16, -3, :3]) == AGAINST
    weak = np.asarray(colored(np.array([[0.1, 0.1]]), 1.0, 32))
    assert weak[16, 16, 3] < picture[16, 2, 3] / 5
    assert common_scale([np.ones((2, 2)), 3 * np.ones((2, 2))]) == pytest.approx(3)
    assert common_scale([np.zeros((2, 2))]) == 1.0
    assert overlay(None, np.zeros((2, 2)), 1.0).getpixel((5, 5)) == (255, 255, 255)
