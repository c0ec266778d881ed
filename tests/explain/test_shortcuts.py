"""Planted shortcuts are found and named, and pictures without one stay clean."""

from __future__ import annotations

import numpy as np
import pytest

from excite.evaluation.intervals import Interval
from excite.evaluation.refitted_auroc import Auroc
from excite.explain.alterations import (
    ALTERATIONS,
    altered,
    keep_frame,
    mask_middle,
    shuffle_patches,
    with_masks,
)
from excite.explain.shortcuts import (
    Measurement,
    ShortcutReport,
    measure_shortcuts,
    name_findings,
    pixel_tests,
)
from tests.explain.simulated import pictures


def small_features(pixels: np.ndarray) -> np.ndarray:
    """Thumbnails: what a network without knowledge of the classes sees."""
    return pixels[:, ::4, ::4].reshape(len(pixels), -1).astype(np.float64)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "named"),
    [("frame", "color of the frame"), ("watermark", "bottom right corner"), ("tint", "color of the whole")],
)
def test_a_planted_shortcut_is_found_and_named(plant: str, named: str) -> None:
    tests = pixel_tests(*pictures(plant=plant))
    findings = name_findings(tests)
    assert len(findings) == 1
    assert findings[0].startswith(named)


@pytest.mark.slow
def test_a_clean_set_stays_clean() -> None:
    for seed in range(5):
        assert not name_findings(pixel_tests(*pictures(seed=seed)))


@pytest.mark.slow
def test_the_report_says_what_is_there_without_the_object() -> None:
    pixels, targets, groups = pictures(plant="frame")
    masks = np.zeros(pixels.shape[:3], dtype=bool)
    masks[:, 10:38, 10:38] = True
    files = np.random.default_rng(0).normal(size=(len(targets), 3))
    report = measure_shortcuts(small_features, pixels, targets, groups, files=files, masks=masks)
    by_name = {test.name: test for test in report.tests}
    assert by_name["frame only"].telling
    assert by_name["background only"].telling
    assert not by_name["metadata only"].telling
    assert not by_name["object only"].auroc.value > by_name["background only"].auroc.value
    assert "of the excess over 0.5 is left" in report.sentence
    assert report.findings
    clean = measure_shortcuts(small_features, *pictures(seed=3))
    assert "No test without the object" in clean.sentence
    assert not clean.findings


def test_alterations_leave_what_they_say() -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (2, 40, 40, 3)).astype(np.uint8)
    masked = altered(pixels, next(a for a in ALTERATIONS if a.name == "middle masked"))
    assert (masked == 0).all(axis=3).mean() == pytest.approx(0.7, abs=0.03)
    frame = keep_frame(pixels[0])
    assert (frame[:4] == pixels[0][:4]).all()
    assert (frame[4:36, 4:36] == 0).all()
    assert (mask_middle(pixels[0])[0] == pixels[0][0]).all()
    shuffled = shuffle_patches(pixels[0])
    assert not (shuffled == pixels[0]).all()
    np.testing.assert_array_equal(np.sort(shuffled.ravel()), np.sort(pixels[0].ravel()))
    for alteration in ALTERATIONS:
        found = altered(pixels, alteration)
        assert found.shape == pixels.shape
        assert found.dtype == np.uint8
    mean = altered(pixels, next(a for a in ALTERATIONS if a.name == "mean color only"))
    np.testing.assert_allclose(mean[:, 0, 0], pixels.mean(axis=(1, 2)), atol=0.5)
    masks = np.zeros((2, 40, 40), dtype=bool)
    masks[:, :10] = True
    both = with_masks(pixels, masks, keep=True) + with_masks(pixels, masks, keep=False)
    np.testing.assert_array_equal(both, pixels)


def test_a_telling_corner_is_not_named_beside_a_telling_frame() -> None:
    def one(name: str, value: float, low: float, high: float, telling: bool) -> Measurement:
        bounds = Interval(low, high, "score")
        return Measurement(
            name, "", "pixels", False, Auroc(value, bounds, bounds, 0.5, 0.005, 90, 90), telling
        )

    frame, corner = one("frame", 0.9, 0.8, 0.95, True), one("top left corner", 0.9, 0.8, 0.95, True)
    assert [text.partition(":")[0] for text in name_findings([frame, corner])] == ["color of the frame"]
    corner = one("top left corner", 0.99, 0.97, 1.0, True)
    assert len(name_findings([frame, corner])) == 2
    whole = one("whole", 0.9, 0.8, 0.95, True)
    assert "No test" in ShortcutReport((whole,), (), 90, 90).sentence
