"""What several models that had not seen an image say of it on average: one of each repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from excite.errors import ExciteError
from excite.evaluation.pairing import shared_images
from excite.evaluation.predictions import Predictions


def mean_of_repeats(repeats: Sequence[Predictions]) -> Predictions:
    """The mean of each image's out-of-fold probabilities over the repeats of a cross-validation.

    Args:
        repeats: pooled predictions, as ``folds.pool`` gives them, matched by path.

    Returns:
        in the order of the first repeat.

    Raises:
        ExciteError: as ``matched_repeats``.
    """
    matched = matched_repeats(repeats)
    mean = np.mean([one.probabilities for one in matched], axis=0)
    return replace(repeats[0], probabilities=mean)


def matched_repeats(repeats: Sequence[Predictions]) -> list[Predictions]:
    """The repeats with their images in the order of the first.

    Raises:
        ExciteError: no repeats, or repeats of other images.
    """
    if not repeats:
        raise ExciteError("there are no repeats to average")
    matched = [shared_images(repeats[0], other)[1] for other in repeats]
    if any(len(one) != len(other) for one in matched for other in (repeats[0], *repeats)):
        raise ExciteError("the repeats are not of the same images")
    return matched
