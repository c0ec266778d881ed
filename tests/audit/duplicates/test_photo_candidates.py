"""Candidates against brute force, and descriptions of pictures and their mirror images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.decomposition import PCA

from excite.audit.duplicates.local_features import Features, mirrored
from excite.audit.duplicates.photo_candidates import (
    _whitening,
    candidates,
    describe,
    descriptions,
    learn_vocabulary,
)


def unit_vectors(seed: int, count: int, length: int = 8) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(count, length)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def brute(straight: np.ndarray, flipped: np.ndarray, k: int) -> dict[tuple[int, int, bool], float]:
    """Each picture with all others, straight and mirrored, of which the k most similar count."""
    pairs: dict[tuple[int, int, bool], float] = {}
    for row in range(len(straight)):
        found = []
        for mirror, query in ((False, straight[row]), (True, flipped[row])):
            for other in range(len(straight)):
                if other != row and (value := float(query @ straight[other])) > 0:
                    found.append((value, (min(row, other), max(row, other), mirror)))
        for value, pair in sorted(found, reverse=True)[:k]:
            pairs[pair] = max(value, pairs.get(pair, 0.0))
    return pairs


@pytest.mark.parametrize("k", [1, 3])
def test_candidates_are_the_nearest_neighbors_of_each_picture(k: int) -> None:
    straight, flipped = unit_vectors(0, 30), unit_vectors(1, 30)
    found = candidates(straight, flipped, k)
    expected = brute(straight, flipped, k)
    assert {(a, b, mirror) for _, a, b, mirror in found} == set(expected)
    for value, a, b, mirror in found:
        assert value == pytest.approx(expected[a, b, mirror], abs=1e-5)
    values = [value for value, *_ in found]
    assert values == sorted(values, reverse=True)


def test_pairs_with_known_pictures_cross_from_known_to_new() -> None:
    straight, flipped = unit_vectors(0, 20), unit_vectors(1, 20)
    found = candidates(straight, flipped, 2, known=12)
    assert found
    assert all(a < 12 <= b for _, a, b, _ in found)


def features(seed: int, count: int) -> Features:
    random = np.random.default_rng(seed)
    descriptors = random.integers(0, 256, (count, 128), dtype=np.uint8)
    points = random.random((count, 2)).astype(np.float32)
    return Features(points, descriptors, np.zeros((8, 8), np.int8))


@pytest.mark.slow
def test_a_mirror_image_is_described_as_the_mirrored_picture() -> None:
    pictures = [features(seed, 20) for seed in range(6)]
    vocabulary = learn_vocabulary(pictures)
    turned = [dataclasses.replace(one, descriptors=mirrored(one.descriptors)) for one in pictures]
    straight, flipped = descriptions(pictures)
    assert np.allclose(straight, describe(pictures, vocabulary), atol=1e-6)
    assert np.allclose(flipped, describe(turned, vocabulary), atol=1e-6)
    assert np.linalg.norm(straight, axis=1) == pytest.approx(np.ones(6), abs=1e-5)


def test_a_picture_without_features_has_a_zero_vector_and_no_neighbors() -> None:
    pictures = [features(seed, 20) for seed in range(4)] + [features(9, 0)]
    straight, flipped = descriptions(pictures)
    assert not straight[4].any()
    assert all(4 not in (a, b) for _, a, b, _ in candidates(straight, flipped, 5))
    empty, _ = descriptions([features(0, 0)])
    assert empty.shape[0] == 1
    assert not empty.any()


def test_whitening_is_scikit_learns_up_to_signs_and_scale() -> None:
    """Similarities of whitened vectors are compared, since the axes of a PCA have no sign."""
    sample = np.random.default_rng(0).normal(size=(60, 40)) @ np.diag(np.linspace(1, 3, 40))
    mean, matrix = _whitening(sample)
    ours = (sample - mean) @ matrix
    theirs = PCA(matrix.shape[1], whiten=True).fit_transform(sample)
    scale = np.linalg.norm(theirs) / np.linalg.norm(ours)
    assert scale * scale * ours @ ours.T == pytest.approx(theirs @ theirs.T, abs=1e-6)
