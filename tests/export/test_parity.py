"""The comparison of an exported file with its run."""

from __future__ import annotations

import numpy as np
import pytest

from excite.bundle.predictor import VectorDifference
from excite.errors import ExciteError
from excite.export.parity import Reading, measure_parity, require_parity

EXPECTED = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])


def moved(amount: float, batch: int, row: int) -> np.ndarray:
    rows = np.stack([EXPECTED, EXPECTED])
    rows[batch, row, :2] += [amount, -amount]
    return rows


def test_the_largest_difference_over_images_classes_and_batch_sizes() -> None:
    parity = measure_parity(EXPECTED, Reading(moved(-0.15, 1, 2)), (1, 7))
    assert parity.images == 3
    assert parity.largest == pytest.approx(0.15)
    assert parity.largest_log == pytest.approx(np.log(2))
    assert parity.same_class == 2


def test_rounding_is_accepted_and_anything_more_is_not() -> None:
    for amount, accepted in ((9e-6, True), (1.2e-5, False), (np.nan, False)):
        reading = Reading(moved(amount, 0, 0))
        parity = measure_parity(EXPECTED, reading, (1, 7))
        if accepted:
            require_parity(parity, reading)
        else:
            with pytest.raises(ExciteError, match="its probabilities differ"):
                require_parity(parity, reading)


def test_small_probabilities_are_compared_by_their_logarithm() -> None:
    expected = np.array([[1 - 1e-6, 1e-6], [0.5, 0.5]])
    rows = expected.copy()
    rows[0, 1] = 1.1e-6
    parity = measure_parity(expected, Reading(rows[None]), (1,))
    assert parity.largest < 1e-6
    with pytest.raises(ExciteError, match=r"their logarithms by 0\.095"):
        require_parity(parity, Reading(rows[None]))
    beyond = np.array([[1.0, 1e-13], [0.5, 0.5]])
    assert measure_parity(beyond, Reading(np.array([[[1.0, 0.0], [0.5, 0.5]]])), (1,)).largest_log == 0


def test_other_pixels_and_other_test_vectors_are_refused() -> None:
    parity = measure_parity(EXPECTED, Reading(EXPECTED[None]), (1,))
    with pytest.raises(ExciteError, match="2 of 3 images are decoded to other pixels"):
        require_parity(parity, Reading(EXPECTED[None], other_pixels=2))
    for vectors in (VectorDifference(1, 0.0), VectorDifference(0, 1e-3)):
        with pytest.raises(ExciteError, match="its test vectors differ"):
            require_parity(parity, Reading(EXPECTED[None], 0, vectors))


def test_evidence_that_does_not_add_up_is_refused() -> None:
    parity = measure_parity(EXPECTED, Reading(EXPECTED[None]), (1,))
    require_parity(parity, Reading(EXPECTED[None], evidence=1e-6))
    with pytest.raises(ExciteError, match=r"its evidence differs from its probabilities by 0\.01"):
        require_parity(parity, Reading(EXPECTED[None], evidence=0.01))


def test_an_output_of_another_shape_is_refused() -> None:
    with pytest.raises(ExciteError, match=r"shape \(3, 2\), expected \(3, 3\)"):
        measure_parity(EXPECTED, Reading(EXPECTED[None, :, :2]), (1,))


def test_it_says_when_the_comparison_proves_little() -> None:
    def warning(rows: np.ndarray) -> str | None:
        return measure_parity(rows, Reading(rows[None]), (1,)).warning

    assert warning(EXPECTED) is None
    assert warning(EXPECTED[[0, 0]]) == "all images get the same class, so the comparison proves little"
    saturated = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert warning(saturated) == "100% of the probabilities are above 0.9999, so the comparison proves little"
