"""What each part of a given split is used for, in one line."""

from __future__ import annotations

from collections.abc import Sequence

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest


def describe_split(given: Sequence[str], manifest: Manifest, config: TrainConfig) -> str:
    """What the images of each split are used for, and which of them were drawn from the given ones.

    Args:
        given: the splits that the data came with.
        manifest: the images with their final splits.
        config: resolved options.
    """
    n = {split: len(manifest.part(split)) for split in manifest.splits}
    if config.recipe == "probe":
        fitted = f"{n['train'] + n['val']} training and validation images fit the probe and its calibration"
    else:
        fitted = f"{n['train']} training images fit the network, {n['val']} validation images select the "
        fitted += "epoch, the calibration, and the thresholds"
    text = f"given split ({', '.join(given)}): {fitted}, {n['test']} test images measure it"
    if config.test_from == "val":
        return f"{text}; the test images are the given val, the validation images are drawn from train"
    drawn = [split for split in ("val", "test") if split not in given]
    if not drawn:
        return text
    names = {"val": "validation", "test": "test"}
    text += f"; the {' and '.join(names[split] for split in drawn)} images are drawn from train"
    return text + (" (--test-from val tests on the given val)" if drawn == ["test"] else "")
