"""What can be told of a run's images without their object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from excite.data.sources import PixelSubset
from excite.errors import ExciteError
from excite.explain.run_images import images_of_run, refuse_cross_validation
from excite.explain.shortcuts import ShortcutReport, measure_shortcuts, name_findings, pixel_tests
from excite.inference.features import extract_features
from excite.runs.classifier import Classifier
from excite.runs.derive import preprocessing_of
from excite.runs.run import Run
from excite.system.progress import Display

MOST_SHORTCUT = 1000  # images
MOST_QUICK = 400  # images for what needs no network
SMALLEST = 48  # pixels of the shorter side of images with something around the object


def shortcuts_of_run(
    run: Run, classifier: Classifier, *, objects: Path | None = None, display: Display | None = None
) -> ShortcutReport:
    """What can be told of a run's images without their object.

    A linear probe did not train the network, so all images count. A network that was trained has fitted its
    features to the labels of the training images, so only the validation and test images do.

    Raises:
        ExciteError: for a network that does not end in a linear layer, a cross-validation, and a run with too
            few of these images.
    """
    display = display or Display()
    refuse_cross_validation(run)
    splits = ("train", "val", "test") if run.config.recipe == "probe" else ("val", "test")
    images = images_of_run(
        run, classifier.preprocessing, splits, most=MOST_SHORTCUT, objects=objects, display=display
    )
    preprocessing = replace(classifier.preprocessing, tta="none")

    def features(pixels: np.ndarray) -> np.ndarray:
        return extract_features(
            classifier.model, PixelSubset(pixels), preprocessing, device=classifier.device
        )

    return measure_shortcuts(
        features,
        images.pixels,
        images.targets,
        images.codes,
        files=images.file_table(),
        masks=images.masks,
        progress=display.stage("altering images"),
    )


def region_findings(run: Run) -> list[str]:
    """Shortcuts in the colors of regions of a run's images: the part that needs no network, in seconds.

    Nothing is found in small images, which show nothing but the object, where images are missing, and where
    groups are too few.
    """
    table = run.manifest.table
    if float(table[["width", "height"]].min(axis=1).median()) < SMALLEST:
        return []
    preprocessing = preprocessing_of(run.config)
    try:
        images = images_of_run(run, preprocessing, None, most=MOST_QUICK, objects=None, display=Display())
        return name_findings(pixel_tests(images.pixels, images.targets, images.codes))
    except ExciteError:
        return []
