"""The abstention threshold of a trained classifier, which exists whether or not the accuracy is reached."""

from __future__ import annotations

import numpy as np

from excite.errors import ExciteError
from excite.evaluation.abstention import choose_confidence
from excite.evaluation.predictions import Predictions
from excite.system.progress import Display

ALWAYS_ABSTAIN = float(np.nextafter(1.0, 2.0))  # above every probability


def confidence_or_always(validation: Predictions, accuracy: float, display: Display) -> float:
    """The confidence of ``choose_confidence``; if there is none, a note and a threshold that none reaches.

    A finished training is not lost because too few validation images show the accuracy.
    """
    try:
        return choose_confidence(validation, accuracy)
    except ExciteError as error:
        display.note(f"the classifier would abstain on every image: {error}")
        return ALWAYS_ABSTAIN
