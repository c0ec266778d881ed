"""Predictions are matched by path and class name, and repeats are averaged image by image."""

from __future__ import annotations

import numpy as np
import pytest

from excite.errors import ExciteError
from excite.evaluation.comparison import compare
from excite.evaluation.matching import mean_of_repeats, shared_images
from excite.evaluation.predictions import Predictions
from tests.evaluation.simulated_pairs import pair


def test_each_image_has_the_mean_of_its_predictions() -> None:
    random = np.random.default_rng(0)
    shares, others = random.dirichlet([1, 1, 1], 5), random.dirichlet([1, 1, 1], 5)
    targets, names, classes = np.array([0, 1, 2, 0, 1]), ("v", "w", "x", "y", "z"), ("a", "b", "c")
    order = np.array([3, 1, 4, 0, 2])
    first = Predictions(targets, shares, classes, paths=names)
    second = Predictions(targets[order], others[order], classes, paths=tuple(names[row] for row in order))
    mean = mean_of_repeats([first, second])
    assert mean.paths == names
    assert mean.probabilities == pytest.approx((shares + others) / 2)
    assert (mean.targets == targets).all()
    with pytest.raises(ExciteError, match="contain different images"):
        mean_of_repeats([first, second.take(np.arange(4))])
    with pytest.raises(ExciteError, match="no repeats"):
        mean_of_repeats([])


def named(predictions: Predictions, names: list[str]) -> Predictions:
    return Predictions(
        predictions.targets, predictions.probabilities, predictions.classes, predictions.groups, tuple(names)
    )


def test_images_are_matched_by_path_and_classes_by_name() -> None:
    first, second = pair(np.random.default_rng(0), 30)
    one = named(first, [f"{row}.png" for row in range(30)])
    order = np.random.default_rng(1).permutation(30)
    other = named(second.take(order), [f"{row}.png" for row in order])
    swapped = Predictions(
        1 - other.targets, other.probabilities[:, ::-1], ("b", "a"), other.groups, other.paths
    )
    left, right = shared_images(one, swapped)
    assert (right.probabilities == second.probabilities).all()
    assert left.classes == right.classes == ("a", "b")
    left, right = shared_images(one.take(np.arange(3, 20)), swapped.take(np.flatnonzero(order < 10)))
    assert left.paths == right.paths == tuple(f"{row}.png" for row in range(3, 10))
    assert compare(one, swapped, ["accuracy"], resamples=20)["accuracy"].n == 30


def test_predictions_of_other_images_or_classes_are_refused() -> None:
    first, second = pair(np.random.default_rng(0), 10)
    names = [f"{row}.png" for row in range(10)]
    with pytest.raises(ExciteError, match="share no images"):
        shared_images(named(first, names), named(second, [f"x{name}" for name in names]))
    with pytest.raises(ExciteError, match="10 and 5 images without paths"):
        shared_images(first, second.take(np.arange(5)))
    other = Predictions(first.targets, first.probabilities, ("a", "c"))
    with pytest.raises(ExciteError, match="only one of the predictions has 'b'"):
        shared_images(first, other)
    turned = Predictions(1 - first.targets, first.probabilities, first.classes)
    with pytest.raises(ExciteError, match=r"row 1 has label '[ab]' in one and '[ab]' in the other"):
        shared_images(first, turned)
    with pytest.raises(ExciteError, match="did you mean 'accuracy'"):
        compare(first, second, ["acuracy"])
