"""What each part of a given split is used for, in one line."""

from __future__ import annotations

from collections.abc import Sequence

from excite.config.train_config import TrainConfig

_NAMES = {"val": "validation", "test": "test"}


def describe_split(given: Sequence[str], config: TrainConfig) -> str:
    """Which images were drawn from the given splits, and what the validation images are used for.

    It continues the line that ``split_line`` begins.

    Args:
        given: the splits that the data came with.
        config: resolved options.
    """
    text = ", as in the data"
    drawn = [split for split in ("val", "test") if split not in given]
    if config.test_from == "val":
        text += "; the test images are the given val, the validation images are drawn from train"
    elif drawn:
        text += f"; the {' and '.join(_NAMES[split] for split in drawn)} images are drawn from train"
        text += " (--test-from val tests on the given val)" if drawn == ["test"] else ""
    if config.recipe == "probe":
        return f"{text}; the probe is fitted to training and validation images"
    return f"{text}; the validation images select the epoch, the calibration, and the thresholds"
