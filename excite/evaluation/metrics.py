"""What each figure is: formulas on counts and sums, for one set of images or for many resamples at once.

scikit-learn's definitions where it has one; NaN here means "not defined", and ``measure`` says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

OVERALL = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "mcc",
    "kappa",
    "auroc",
    "average_precision",
    "log_loss",
    "brier",
    "ece",
    "ece_equal_mass",
)
PER_CLASS = ("sensitivity", "specificity", "ppv", "npv", "f1", "mcc", "auroc", "average_precision")
PROPORTIONS = ("accuracy", "sensitivity", "specificity", "ppv", "npv")  # so many of so many: Wilson
CALIBRATION_ERRORS = ("ece", "ece_equal_mass")
LOWER_IS_BETTER = ("log_loss", "brier", *CALIBRATION_ERRORS)
BINS = 15  # Guo et al. 2017, On calibration of modern neural networks

NO_IMAGE, EVERY_IMAGE = "no image is of this class", "every image is of this class"
ONE_CLASS = "all images are of one class"
UNDEFINED_OVERALL = dict.fromkeys(("mcc", "kappa", "auroc"), ONE_CLASS)


@dataclass(frozen=True, eq=False)
class Sums:
    """Counts and sums under B weightings of the images; C classes.

    Args:
        images: (B,) images.
        true: (C, B) images of each class.
        predicted: (C, B) images that were taken for each class.
        right: (C, B) images of each class that were taken for it.
        nll: (B,) sum of -log of the true class's probability, in nats.
        brier: (B,) sum over images and classes of (probability - truth)², halved.
        gaps: kind of bins -> (bins, B) sum of confidence minus number of right answers in each bin.
    """

    images: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    right: np.ndarray
    nll: np.ndarray
    brier: np.ndarray
    gaps: dict[str, np.ndarray]


def negative_log_likelihoods(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(N,) -log of the true class's probability, clipped as scikit-learn's ``log_loss`` does: at most 36."""
    likelihoods = probabilities[np.arange(len(targets)), targets]
    return -np.log(likelihoods.clip(np.finfo(np.float64).eps, 1))


def brier_terms(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(N,) half of the squared distance between probabilities and truth: between 0 and 1 for any C."""
    truth = np.zeros_like(probabilities)
    truth[np.arange(len(targets)), targets] = 1
    return ((probabilities - truth) ** 2).sum(axis=1) / 2


def overall(sums: Sums) -> dict[str, np.ndarray]:
    """Name -> (B,), all of ``OVERALL`` but the two that need a ranking."""
    n, true, predicted, right = sums.images, sums.true, sums.predicted, sums.right
    hits = right.sum(axis=0)
    chance = (true * predicted).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread_true, spread_predicted = n**2 - (true**2).sum(axis=0), n**2 - (predicted**2).sum(axis=0)
        # Gorodkin 2004; 0 where all images are taken for one class, as in scikit-learn.
        mcc = (hits * n - chance) / np.sqrt(
            np.where(spread_predicted > 0, spread_true * spread_predicted, np.inf)
        )
        values = {
            "accuracy": hits / n,
            "balanced_accuracy": mean_of_defined(right / true),
            # A class that no image is of does not count, even if images are taken for it.
            "macro_f1": mean_of_defined(np.where(true > 0, 2 * right / (true + predicted), np.nan)),
            "mcc": np.where(spread_true > 0, mcc, np.nan),
            "kappa": np.where(spread_true > 0, (hits * n - chance) / (n**2 - chance), np.nan),
            "log_loss": sums.nll / n,
            "brier": sums.brier / n,
        }
        return values | {name: np.abs(gaps).sum(axis=0) / n for name, gaps in sums.gaps.items()}


def per_class(sums: Sums) -> dict[str, np.ndarray]:
    """Name -> (C, B), all of ``PER_CLASS`` but the two that need a ranking."""
    n, true, predicted, right = sums.images, sums.true, sums.predicted, sums.right
    others, refused = n - true, n - predicted
    rejected = n - true - predicted + right
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = true * others * predicted * refused
        mcc = (right * rejected - (predicted - right) * (true - right)) / np.sqrt(
            np.where(predicted * refused > 0, spread, np.inf)
        )
        return {
            "sensitivity": right / true,
            "specificity": rejected / others,
            "ppv": right / predicted,
            "npv": rejected / refused,
            "f1": 2 * right / (true + predicted),
            "mcc": np.where(true * others > 0, mcc, np.nan),
        }


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is not NaN; NaN where nothing is left."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(defined, values, 0).sum(axis=0) / defined.sum(axis=0)


def undefined_reason(name: str, images: int, true: int, predicted: int) -> str:
    """Why a figure of one class has no value, from the counts of all images, the class, and the guesses."""
    if name == "ppv":
        return "no image was taken for this class"
    if name == "npv":
        return "every image was taken for this class"
    if name == "f1":
        return "no image is of this class or was taken for it"
    return NO_IMAGE if true == 0 else EVERY_IMAGE


def confusion(targets: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(C, C) counts; rows are the truth."""
    return np.bincount(targets * classes + predicted, minlength=classes**2).reshape(classes, classes)
