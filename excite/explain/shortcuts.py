"""Can the classes be told without the object? The same head, refitted on altered pictures.

Each alteration removes the object or most of what is known about it. The network computes features of the
altered pictures, and a linear head is fitted to them in grouped folds (Bissoto et al. 2019,
https://arxiv.org/abs/1904.08818, trained networks on such pictures; the features here stay the same, so that
it takes minutes). What can be told from pictures without the object can be learned instead of the object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from excite.evaluation.refitted_auroc import Auroc, GroupedFolds
from excite.explain.alterations import (
    ALTERATIONS,
    REGIONS,
    WHOLE,
    Alteration,
    altered,
    region_statistics,
    with_masks,
)

MARGIN = 0.55  # a region or file that tells less is not named, however significant

Features = Callable[[np.ndarray], np.ndarray]  # pixels (N, S, S, 3) uint8 -> features (N, F)

NETWORK, PIXELS, FILES = "network", "pixels", "files"


@dataclass(frozen=True)
class Measurement:
    """One measurement: how well the classes can be told from part of the information.

    Args:
        name: such as ``frame only``.
        text: what the pictures show.
        source: ``network``, a head on its features; ``pixels``, a linear classifier on a few color
            statistics; ``files``, one on size, format, and bytes.
        shows_object: whether the object can still be recognized in part.
        auroc: with an interval.
        telling: whether the classes can be told: the AUROC is at least ``MARGIN``, and its interval, widened
            for the number of tests, lies above 0.5.
    """

    name: str
    text: str
    source: str
    shows_object: bool
    auroc: Auroc
    telling: bool

    def to_dict(self) -> dict[str, Any]:
        """As in ``shortcuts.json``."""
        return {
            "name": self.name,
            "text": self.text,
            "source": self.source,
            "shows_object": self.shows_object,
            "auroc": self.auroc.to_dict(),
            "telling": self.telling,
        }


@dataclass(frozen=True)
class ShortcutReport:
    """What can be told without the object.

    Args:
        tests: whole pictures first.
        findings: what is named: regions, color, files.
        images, groups: that were tested.
    """

    tests: tuple[Measurement, ...]
    findings: tuple[str, ...]
    images: int
    groups: int

    @property
    def sentence(self) -> str:
        """What of the answer is there without the object."""
        whole = self.tests[0].auroc
        without = [test for test in self.tests[1:] if test.source == NETWORK and not test.shows_object]
        telling = [test for test in without if test.telling]
        start = f"With whole pictures the AUROC is {text_of(whole)}."
        if not telling:
            return f"{start} No test without the object is shown to be above chance."
        best = max(telling, key=lambda test: test.auroc.value)
        retained = (best.auroc.value - 0.5) / max(whole.value - 0.5, 1e-9)
        return (
            f"{start} With {best.name} ({best.text}) it is still {text_of(best.auroc)}: "
            f"{min(retained, 1):.0%} of the excess over 0.5 is left."
        )

    def to_dict(self) -> dict[str, Any]:
        """The contents of ``shortcuts.json``."""
        return {
            "images": self.images,
            "groups": self.groups,
            "sentence": self.sentence,
            "findings": list(self.findings),
            "tests": [test.to_dict() for test in self.tests],
        }


def text_of(auroc: Auroc) -> str:
    """Such as "0.80 (0.70 to 0.88)"."""
    low, high = auroc.interval.low, auroc.interval.high
    return f"{auroc.value:.2f}" + ("" if low is None or high is None else f" ({low:.2f} to {high:.2f})")


class ShortcutTests:
    """Tests on the same images in the same folds.

    Args:
        targets, groups: (N,) class and group of each image.
        seed: of the folds.
    """

    def __init__(self, targets: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> None:
        self.folds = GroupedFolds(targets, groups, seed=seed)

    def run(
        self,
        tables: Sequence[tuple[str, str, str, bool, np.ndarray]],
    ) -> list[Measurement]:
        """A test for each (name, text, source, shows_object, features), with levels for as many tests."""
        found = []
        for name, text, source, shows_object, features in tables:
            auroc = self.folds.auroc(features, tests=len(tables))
            telling = auroc.value >= MARGIN and (auroc.corrected.low or 0.0) > 0.5
            found.append(Measurement(name, text, source, shows_object, auroc, telling))
        return found


def pixel_tests(
    pixels: np.ndarray, targets: np.ndarray, groups: np.ndarray, files: np.ndarray | None = None
) -> list[Measurement]:
    """The tests that need no network, in seconds: colors of regions, and metadata of the files.

    Args:
        pixels: (N, S, S, 3) uint8.
        files: (N, F) metadata of the files as numbers; None: not tested.

    Raises:
        ExciteError: as ``GroupedFolds``.
    """
    tests = ShortcutTests(targets, groups)
    return tests.run(_pixel_tables(pixels, files))


def _pixel_tables(
    pixels: np.ndarray, files: np.ndarray | None
) -> list[tuple[str, str, str, bool, np.ndarray]]:
    tables = [
        (name, "colors of this region alone", PIXELS, name == "middle", table)
        for name, table in region_statistics(pixels).items()
    ]
    if files is not None:
        tables.append(("metadata only", "size, format, and bytes of the files", FILES, False, files))
    return tables


def measure_shortcuts(
    features: Features,
    pixels: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    *,
    files: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> ShortcutReport:
    """Refit the head on whole and altered pictures, and test regions and files without the network.

    Args:
        features: of the network, which was not trained on the labels of these images.
        pixels: (N, S, S, 3) uint8, preprocessed.
        targets, groups: (N,) class and group of each image.
        files: (N, F) metadata of the files as numbers.
        masks: (N, S, S) bool, True on the object; None: unknown.
        progress: called with (alterations done, alterations).

    Raises:
        ExciteError: as ``GroupedFolds``.
    """
    variants: list[tuple[Alteration, Callable[[], np.ndarray]]] = [
        (each, partial(altered, pixels, each)) for each in (WHOLE, *ALTERATIONS)
    ]
    if masks is not None:
        for name, keep in (("object only", True), ("background only", False)):
            kind = Alteration(name, f"the {name.split()[0]} by your masks", keep, WHOLE.alter)
            variants.append((kind, partial(with_masks, pixels, masks, keep=keep)))
    tests = ShortcutTests(targets, groups)
    tables = []
    for number, (kind, pictures) in enumerate(variants):
        tables.append((kind.name, kind.text, NETWORK, kind.shows_object, features(pictures())))
        if progress is not None:
            progress(number + 1, len(variants))
    found = tests.run(tables + _pixel_tables(pixels, files))
    return ShortcutReport(
        tuple(found), tuple(name_findings(found)), len(targets), int(tests.folds.codes.max()) + 1
    )


def name_findings(tests: Sequence[Measurement]) -> list[str]:
    """What the telling tests of regions and files have in common, the most general first.

    If the sides of the frame and the middle tell the classes by their colors, it is the color of the whole
    picture; if the middle does not, or clearly less, the frame; corners are named if the sides tell nothing,
    or clearly less.
    """
    by_name = {test.name: test for test in tests if test.source != NETWORK}
    frame, middle = by_name.get("frame"), by_name.get("middle")
    findings = []
    if frame is not None and frame.telling:
        least = frame.auroc.interval.low or 0.0
        if middle is not None and middle.telling and (middle.auroc.interval.high or 1.0) >= least:
            findings.append(
                "color of the whole picture, such as that of a camera or light: the middle tells the classes "
                f"with AUROC {text_of(middle.auroc)}, the frame with {text_of(frame.auroc)}"
            )
        else:
            findings.append(f"color of the frame: AUROC {text_of(frame.auroc)}")
    for name in REGIONS[2:]:
        corner = by_name.get(name)
        if corner is None or not corner.telling:
            continue
        low = corner.auroc.interval.low or 0.0
        if frame is None or not frame.telling or low > (frame.auroc.interval.high or 1.0):
            findings.append(f"{name}: AUROC {text_of(corner.auroc)}")
    files = by_name.get("metadata only")
    if files is not None and files.telling:
        findings.append(f"size, format, or bytes of the files: AUROC {text_of(files.auroc)}")
    return findings
