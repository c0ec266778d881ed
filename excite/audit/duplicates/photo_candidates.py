"""Candidates for pairs of one photo: nearest neighbors among one short vector (VLAD) per picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from excite.audit.duplicates.local_features import Features, mirrored
from excite.audit.duplicates.nearest_neighbors import nearest

WORDS = 48
LENGTH = 256
"""Length of a vector after PCA with whitening (Jégou and Chum 2012), fitted to a sample of the pictures."""
_SAMPLED_PICTURES = 2000
_SAMPLED_PER_PICTURE = 30
_FEWEST_FOR_PCA = 32

Candidate = tuple[float, int, int, bool]
"""(similarity, a, b, mirror) with a < b; mirror: whether one of the two was mirrored."""


@dataclass(frozen=True)
class Vocabulary:
    """The visual words and the PCA that descriptions are computed with.

    Args:
        words: (w, 128) visual words.
        mean, matrix: (w * 128,) and (w * 128, d) of the PCA.
    """

    words: np.ndarray
    mean: np.ndarray
    matrix: np.ndarray


def candidates(straight: np.ndarray, flipped: np.ndarray, k: int, known: int = 0) -> list[Candidate]:
    """The ``k`` nearest neighbors of each picture, mirrored or not, the most similar pair first.

    A pair occurs at most twice, once mirrored and once not.

    Args:
        straight, flipped: the results of ``descriptions``; a row of zeros has no neighbors.
        known: unless 0, only pairs of a row before this one and a row from it on are compared.
    """
    vectors = straight[:known] if known else straight
    forward, ahead = nearest(vectors, straight[known:], k + 1)
    backward, mirror = nearest(vectors, flipped[known:], k + 1)
    rows, similarity = np.hstack([forward, backward]), np.hstack([ahead, mirror])
    query = np.arange(known, len(straight))[:, None]
    similarity = np.where((rows == query) | (rows < 0), 0.0, similarity)
    best: dict[tuple[int, int, bool], float] = {}
    for line, column in enumerate(np.argsort(-similarity, axis=1)[:, :k]):
        one = known + line
        for place in column.tolist():
            other, value = int(rows[line, place]), float(similarity[line, place])
            if value > 0:
                pair = (min(one, other), max(one, other), place >= forward.shape[1])
                best[pair] = max(value, best.get(pair, 0.0))
    return sorted(((value, *pair) for pair, value in best.items()), key=lambda item: (-item[0], *item[1:]))


def descriptions(features: Sequence[Features]) -> tuple[np.ndarray, np.ndarray]:
    """VLAD (Jégou et al. 2010) of pictures and of their mirror images, reduced by PCA, two (n, d) float32.

    The vector of a picture without features is zero.
    """
    vocabulary = learn_vocabulary(features)
    return describe(features, vocabulary), describe(features, vocabulary, mirror=True)


def learn_vocabulary(features: Sequence[Features]) -> Vocabulary:
    """Learn visual words and PCA from a sample of the pictures; no words if no picture has features."""
    useful = [row for row, one in enumerate(features) if len(one)]
    if not useful:
        return Vocabulary(np.zeros((0, 128)), np.zeros(0, np.float32), np.zeros((0, 1), np.float32))
    words = _words([features[row] for row in useful])
    random = np.random.default_rng(0)
    sampled = random.choice(useful, min(len(useful), _SAMPLED_PICTURES), replace=False)
    mean, matrix = _whitening(np.stack([_vlad(features[row].descriptors, words) for row in sampled]))
    return Vocabulary(words, mean, matrix)


def describe(features: Sequence[Features], vocabulary: Vocabulary, *, mirror: bool = False) -> np.ndarray:
    """Unit vectors of the pictures or their mirror images, (n, d) float32; zeros if there are no features."""
    described = np.zeros((len(features), vocabulary.matrix.shape[1]), np.float32)
    for row, one in enumerate(features):
        if len(one) and len(vocabulary.words):
            descriptors = mirrored(one.descriptors) if mirror else one.descriptors
            vector = _vlad(descriptors, vocabulary.words) - vocabulary.mean
            described[row] = _unit(vector @ vocabulary.matrix)
    return described


def _words(features: Sequence[Features]) -> np.ndarray:
    from sklearn.cluster import KMeans

    random = np.random.default_rng(0)
    chosen = random.choice(len(features), min(len(features), _SAMPLED_PICTURES), replace=False)
    parts = []
    for row in chosen:
        descriptors = features[row].descriptors
        some = random.choice(len(descriptors), min(len(descriptors), _SAMPLED_PER_PICTURE), replace=False)
        parts += [descriptors[some], mirrored(descriptors[some])]
    sample = np.concatenate(parts).astype(np.float32) / 255
    return KMeans(min(WORDS, len(sample)), n_init=1, max_iter=15, random_state=0).fit(sample).cluster_centers_


def _vlad(descriptors: np.ndarray, words: np.ndarray) -> np.ndarray:
    """The sum of residuals of each word, normalized to unit length, (words * 128,) float32."""
    values = descriptors.astype(np.float32) / 255
    word = (values @ words.T - (words * words).sum(axis=1) / 2).argmax(axis=1)
    member = (word[None] == np.arange(len(words))[:, None]).astype(np.float32)
    sums = member @ values - member.sum(axis=1, keepdims=True) * words
    return _unit(_unit(sums).ravel())


def _whitening(sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, matrix) of a PCA with whitening, from the Gram matrix, smaller than the covariance."""
    if len(sample) < _FEWEST_FOR_PCA:
        return np.zeros(sample.shape[1], np.float32), np.eye(sample.shape[1], dtype=np.float32)
    mean = sample.mean(axis=0)
    centered = sample - mean
    values, rows = np.linalg.eigh(centered @ centered.T)
    # Whitening would amplify the noise of directions with almost no variance.
    size = min(LENGTH, len(sample) // 2, int((values > 1e-3 * values[-1]).sum()))
    size = max(1, size)
    return mean, centered.T @ (rows[:, -size:] / values[-size:])


def _unit(values: np.ndarray) -> np.ndarray:
    return (values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-9)).astype(np.float32)
