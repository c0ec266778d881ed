"""Confident learning finds planted wrong labels, as cleanlab finds them, and counts a photo once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from excite.evaluation.label_noise import LabelNoise, find_label_noise
from excite.evaluation.predictions import Predictions

from .simulated import softmax


def with_flipped_labels(
    classes: int, images: int, *, flipped: int = 0, sharpness: float = 3.0, seed: int = 0
) -> tuple[Predictions, np.ndarray]:
    """Predictions by a fair classifier, and which labels (N,) bool are wrong."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, images)
    logits = random.normal(size=(images, classes))
    logits[np.arange(images), truth] += sharpness
    wrong = np.zeros(images, dtype=bool)
    wrong[random.choice(images, flipped, replace=False)] = True
    labels = np.where(wrong, (truth + random.integers(1, classes, images)) % classes, truth)
    names = tuple(f"c{number}" for number in range(classes))
    return Predictions(labels, softmax(logits), names), wrong


def first_rows(found: LabelNoise) -> list[int]:
    return [one.rows[0] for one in found.candidates]


@pytest.mark.parametrize("seed", range(5))
def test_candidates_of_two_classes_are_those_of_cleanlab(seed: int) -> None:
    predictions, _ = with_flipped_labels(2, 300, flipped=30, sharpness=1.5, seed=seed)
    labels, probabilities = predictions.targets, predictions.probabilities
    found = find_label_noise(predictions)
    cleanlab = pytest.importorskip("cleanlab.filter", reason="cleanlab is not installed")
    expected = cleanlab.find_label_issues(
        labels,
        probabilities,
        filter_by="confident_learning",
        return_indices_ranked_by="normalized_margin",
    )
    assert first_rows(found) == expected.tolist()
    assert len(expected) > 10
    cleanlab = pytest.importorskip("cleanlab.count", reason="cleanlab is not installed")
    assert found.thresholds == pytest.approx(cleanlab.get_confident_thresholds(labels, probabilities))


@pytest.mark.parametrize("seed", range(5))
def test_the_thresholds_of_many_classes_are_cleanlabs(seed: int) -> None:
    predictions, _ = with_flipped_labels(4, 500, flipped=50, sharpness=6.0, seed=seed)
    labels, probabilities = predictions.targets, predictions.probabilities
    cleanlab = pytest.importorskip("cleanlab.count", reason="cleanlab is not installed")
    found = find_label_noise(predictions)
    assert found.thresholds == pytest.approx(cleanlab.get_confident_thresholds(labels, probabilities))


def test_no_number_of_wrong_labels_is_estimated() -> None:
    """The paper's equation 3 gives 65 to 77 here, where every label is right."""
    predictions, _ = with_flipped_labels(3, 600, sharpness=1.5)
    assert {field.name for field in dataclasses.fields(find_label_noise(predictions))} == {
        "units",
        "thresholds",
        "candidates",
    }


@pytest.mark.parametrize("seed", range(5))
def test_every_candidate_follows_the_papers_definition(seed: int) -> None:
    predictions, _ = with_flipped_labels(3, 120, flipped=20, sharpness=1.0, seed=seed)
    labels, probabilities = predictions.targets.tolist(), predictions.probabilities.tolist()
    thresholds = []
    for label in range(3):
        own = [row[label] for row, given in zip(probabilities, labels, strict=True) if given == label]
        thresholds.append(sum(own) / len(own))
    doubts = {}
    for number, (row, given) in enumerate(zip(probabilities, labels, strict=True)):
        confident = [label for label in range(3) if row[label] >= thresholds[label]]
        if confident and row[given] < max(row):
            counted = max(confident, key=lambda label: row[label])
            if counted != given:
                margin = row[given] - max(row[label] for label in range(3) if label != given)
                doubts[number] = (f"c{counted}", margin)
    found = find_label_noise(predictions).candidates
    assert {one.rows[0]: (one.suggested, pytest.approx(one.margin)) for one in found} == doubts
    margins = [one.margin for one in found]
    assert margins == sorted(margins)


@pytest.mark.parametrize(("sharpness", "share"), [(6.0, 0.9), (4.0, 0.7)])
def test_planted_wrong_labels_are_found(sharpness: float, share: float) -> None:
    recalls, precisions = [], []
    for seed in range(10):
        predictions, wrong = with_flipped_labels(3, 600, flipped=30, sharpness=sharpness, seed=seed)
        rows = first_rows(find_label_noise(predictions))
        recalls.append(wrong[rows].sum() / wrong.sum())
        precisions.append(wrong[rows].mean())
        assert wrong[rows[:10]].all()  # the strongest doubts are right
    assert np.mean(recalls) > share
    assert np.mean(precisions) > 0.95


def test_correct_labels_and_a_fair_classifier_give_few_candidates() -> None:
    predictions, _ = with_flipped_labels(2, 1000, sharpness=5.0)
    assert len(find_label_noise(predictions).candidates) <= 0.005 * 1000


def test_a_photo_with_many_copies_counts_once() -> None:
    single, _ = with_flipped_labels(2, 200, flipped=20, sharpness=1.5)
    times = np.random.default_rng(1).integers(1, 15, len(single))
    rows = np.repeat(np.arange(len(single)), times)
    photos = np.array([f"photo {row}" for row in rows], dtype=object)
    copies = Predictions(single.targets[rows], single.probabilities[rows], single.classes, photos=photos)
    alone, together = find_label_noise(single), find_label_noise(copies)
    assert together.units == 200
    assert together.thresholds == pytest.approx(alone.thresholds)
    assert [rows[one.rows[0]] for one in together.candidates] == first_rows(alone)
    assert [len(one.rows) for one in together.candidates] == [times[row] for row in first_rows(alone)]


def test_a_photo_with_two_labels_counts_once_for_each() -> None:
    photos = np.array(["m1", "m1", "m2", "m2", "n1", "n1", "n1", "n1"], dtype=object)
    shares = np.array([0.9, 0.9, 0.2, 0.2, 0.3, 0.3, 0.3, 0.3])
    targets = np.array([0, 0, 0, 0, 1, 1, 1, 0])
    said = Predictions(targets, np.stack([shares, 1 - shares], axis=1), ("a", "b"), photos=photos)
    found = find_label_noise(said)
    assert found.units == 4
    assert {one.rows for one in found.candidates} == {(7,), (2, 3)}
