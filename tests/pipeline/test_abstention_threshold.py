"""A finished training keeps its classifier also if no threshold reaches the requested accuracy."""

from __future__ import annotations

import numpy as np

from excite.evaluation.abstention import choose_confidence
from excite.evaluation.predictions import Predictions
from excite.pipeline.abstention_threshold import ALWAYS_ABSTAIN, confidence_or_always
from excite.system.progress import Display
from tests.evaluation.simulated import simulate


class Notes(Display):
    """Collects the notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def test_a_reachable_accuracy_has_the_chosen_confidence_and_no_note() -> None:
    validation, notes = simulate(np.random.default_rng(0), 400), Notes()
    assert confidence_or_always(validation, 0.8, notes) == choose_confidence(validation, 0.8) < 1
    assert notes.lines == []


def test_no_probability_reaches_the_threshold_of_an_accuracy_that_is_not_shown() -> None:
    certain = Predictions(np.array([0, 1, 0]), np.eye(2)[[0, 1, 0]], ("a", "b"))
    notes = Notes()
    threshold = confidence_or_always(certain, 0.95, notes)
    assert threshold == ALWAYS_ABSTAIN
    assert (certain.confidences < threshold).all()
    assert len(notes.lines) == 1
    assert "3 validation groups do not show that any threshold reaches" in notes.lines[0]
