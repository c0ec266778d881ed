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
        ExciteError: no repeats, or repeats of other images.
    """
    if not repeats:
        raise ExciteError("there are no repeats to average")
    first = repeats[0]
    matched = [shared_images(first, other)[1] for other in repeats]
    if any(
        len(one) != len(first) or len(one) != len(other) for one, other in zip(matched, repeats, strict=True)
    ):
        raise ExciteError("the repeats are not of the same images")
    mean = np.mean([one.probabilities for one in matched], axis=0)
    return replace(first, probabilities=mean)
