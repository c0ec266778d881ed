"""Parity: whether an exported file gives the probabilities of the run, on real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from excite.bundle.predictor import VectorDifference
from excite.bundle.read_back import ask
from excite.errors import ExciteError

BATCH_SIZES = (1, 7, 32)
# Another order of summation changes probabilities by about 1e-6, a wrong padding by 1e-2 or more.
LIMIT, LOG_LIMIT = 1e-5, 1e-4
SMALLEST = 1e-12  # lower probabilities are compared as if they were this; float32 rounds the others' sum
SATURATED, MOST_SATURATED = 0.9999, 0.9


@dataclass(frozen=True)
class Reading:
    """What an exported file gives.

    Args:
        probabilities: (B, N, C) for each batch size.
        other_pixels: number of image files from which its reader decodes other pixels than the run; None: it
            takes pixels only.
        vectors: differences from its test vectors; None: it has none.
        evidence: largest difference between its probabilities and what its evidence adds up to; None: it has
            none.
    """

    probabilities: np.ndarray
    other_pixels: int | None = None
    vectors: VectorDifference | None = None
    evidence: float | None = None


# Pixels (N, S, S, 3), the paths of their N images, batch sizes -> what the file gives.
Ask = Callable[[np.ndarray, Sequence[str], Sequence[int]], Reading]


Decide = Callable[[np.ndarray], np.ndarray]


class Written(NamedTuple):
    """What a writer returns.

    Args:
        ask: gives the probabilities of the written file.
        notes: what a user of the file should know.
        expected: pixels (N, S, S, 3) -> the probabilities (N, C) that it must give; None: those of the run.
    """

    ask: Ask
    notes: tuple[str, ...] = ()
    expected: Callable[[np.ndarray], np.ndarray] | None = None


@dataclass(frozen=True)
class Parity:
    """The difference between an exported file and the run.

    Args:
        images: number of compared images.
        batch_sizes: each image was compared in batches of each size.
        largest: largest difference of a probability.
        largest_log: largest difference of the logarithm of a probability; those below 1e-12 count as 1e-12.
        same_class: number of images with the same most probable class, or the same labels.
        warning: why the comparison proves little; None if it does not.
    """

    images: int
    batch_sizes: tuple[int, ...]
    largest: float
    largest_log: float
    same_class: int
    warning: str | None = None


def ask_bundle(path: Path, pixels: np.ndarray, images: Sequence[str], batch_sizes: Sequence[int]) -> Reading:
    """Ask a bundle in a fresh process, without PyTorch.

    Raises:
        ExciteError: if it cannot be read, or its reader imports a library of the training.
    """
    answer = ask(path, pixels, images, batch_sizes)
    if answer.imported:
        raise ExciteError(f"reading the file imports {', '.join(answer.imported)}; please report this bug")
    return Reading(answer.probabilities, answer.other_pixels, answer.vectors, answer.evidence)


def measure_parity(
    expected: np.ndarray, reading: Reading, batch_sizes: Sequence[int], *, decide: Decide | None = None
) -> Parity:
    """Compare what a file gives with the probabilities (N, C) of the run.

    Args:
        decide: probabilities (N, C) -> the predicted class (N,) or labels (N, L); None: the most probable
            one.

    Raises:
        ExciteError: if the shapes differ.

    Example:
        >>> expected = np.array([[0.25, 0.75], [0.5, 0.5]])
        >>> parity = measure_parity(expected, Reading(expected[None] + [[1e-6, -1e-6]]), (1,))
        >>> round(parity.largest, 9), parity.same_class, parity.warning
        (1e-06, 2, None)
    """
    actual = np.asarray(reading.probabilities, dtype=np.float64)
    if actual.shape != (len(batch_sizes), *expected.shape):
        raise ExciteError(f"its output has shape {actual.shape[1:]}, expected {expected.shape}")
    logs = np.log(actual.clip(SMALLEST)) - np.log(expected.clip(SMALLEST))
    decide = decide or _most_probable
    chosen = decide(expected)
    same = np.stack([(decide(each) == chosen).reshape(len(expected), -1).all(axis=1) for each in actual])
    return Parity(
        len(expected),
        tuple(batch_sizes),
        float(np.abs(actual - expected).max()),
        float(np.abs(logs).max()),
        int(same.all(axis=0).sum()),
        _warning(expected, chosen),
    )


def require_parity(parity: Parity, reading: Reading) -> None:
    """Raises: ExciteError if an exported file differs from the run by more than rounding."""
    hint = "the file was not written; please report this bug"
    # "not <=" also refuses NaN.
    if not (parity.largest <= LIMIT and parity.largest_log <= LOG_LIMIT):
        what = (
            f"its probabilities differ from those of the run by up to {parity.largest:.2g}, their logarithms"
        )
        raise ExciteError(f"{what} by {parity.largest_log:.2g}", hint=hint)
    if reading.other_pixels:
        what = f"{reading.other_pixels} of {parity.images} images are decoded to other pixels than in the run"
        raise ExciteError(what, hint=hint)
    vectors = reading.vectors
    if vectors is not None and not (vectors.pixels == 0 and vectors.probability <= LIMIT):
        raise ExciteError(f"its test vectors differ by {vectors.probability:.2g}", hint=hint)
    if reading.evidence is not None and not reading.evidence <= LIMIT:
        raise ExciteError(f"its evidence differs from its probabilities by {reading.evidence:.2g}", hint=hint)


def _most_probable(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows.argmax(axis=1))


def _warning(expected: np.ndarray, chosen: np.ndarray) -> str | None:
    """Why equal probabilities on these images would prove little.

    Args:
        chosen: the predicted class (N,) or labels (N, L).
    """
    certain = expected.max(axis=1) if chosen.ndim == 1 else np.abs(expected - 0.5).min(axis=1) + 0.5
    saturated = float((certain > SATURATED).mean())
    if len(expected) > 1 and len(np.unique(chosen, axis=0)) == 1:
        noun = "class" if chosen.ndim == 1 else "labels"
        return f"all images get the same {noun}, so the comparison proves little"
    if saturated >= MOST_SATURATED:
        return f"{saturated:.0%} of the probabilities are above {SATURATED}, so the comparison proves little"
    return None
