"""Definitions of the metrics: formulas on counts and sums, for one set of images or many resamples at once.

They are scikit-learn's definitions if it has one. NaN means undefined; ``measure`` gives the reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from excite.evaluation.ordinal import ordinal_metrics

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
ORDINAL = ("quadratic_kappa", "mean_absolute_error", "off_by_one")  # metrics of classes that have an order
RANKED = ("auroc", "average_precision")  # metrics of the ranking of the probabilities
PER_CLASS = ("sensitivity", "specificity", "ppv", "npv", "f1", "mcc", *RANKED)
PROPORTIONS = ("accuracy", "sensitivity", "specificity", "ppv", "npv")  # with Wilson's interval
CALIBRATION_ERRORS = ("ece", "ece_equal_mass")
LOWER_IS_BETTER = ("log_loss", "brier", *CALIBRATION_ERRORS, "mean_absolute_error")
BINS = 15  # Guo et al. 2017, On calibration of modern neural networks

NO_IMAGE, EVERY_IMAGE = "no image belongs to this class", "every image belongs to this class"
ONE_CLASS = "all images belong to one class"
UNDEFINED_OVERALL = dict.fromkeys(("mcc", "kappa", "auroc", "quadratic_kappa"), ONE_CLASS)


@dataclass(frozen=True, eq=False)
class Sums:
    """Counts and sums under B weightings of the images; C classes.

    Args:
        images: (B,) number of images.
        true: (C, B) images of each class.
        predicted: (C, B) images predicted as each class.
        right: (C, B) correctly predicted images of each class.
        nll: (B,) sum of the negative log-likelihoods, in nats.
        brier: (B,) sum over images and classes of (probability - truth)² / 2.
        gaps: kind of bins -> (bins, B) sum of confidences minus number of correct images in each bin.
        ranks: (C,) of the classes; None: they have no order.
        distances: (3, B) sums of ``ordinal_terms``; None likewise.
    """

    images: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    right: np.ndarray
    nll: np.ndarray
    brier: np.ndarray
    gaps: dict[str, np.ndarray]
    ranks: np.ndarray | None = None
    distances: np.ndarray | None = None


def negative_log_likelihoods(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(N,) negative log-likelihoods in nats, clipped at 36 as in scikit-learn's ``log_loss``."""
    likelihoods = probabilities[np.arange(len(targets)), targets]
    return -np.log(likelihoods.clip(np.finfo(np.float64).eps, 1))


def brier_terms(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(N,) half the squared distance between probabilities and truth, between 0 and 1 for any C."""
    truth = np.zeros_like(probabilities)
    truth[np.arange(len(targets)), targets] = 1
    return ((probabilities - truth) ** 2).sum(axis=1) / 2


def overall(sums: Sums) -> dict[str, np.ndarray]:
    """Name -> (B,), the metrics of ``OVERALL`` that need no ranking; with an order also ``ORDINAL``."""
    n, true, predicted, right = sums.images, sums.true, sums.predicted, sums.right
    hits = right.sum(axis=0)
    chance = (true * predicted).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread_true, spread_predicted = n**2 - (true**2).sum(axis=0), n**2 - (predicted**2).sum(axis=0)
        # Gorodkin 2004; 0 if all images are predicted as one class, as in scikit-learn.
        mcc = (hits * n - chance) / np.sqrt(
            np.where(spread_predicted > 0, spread_true * spread_predicted, np.inf)
        )
        values = {
            "accuracy": hits / n,
            "balanced_accuracy": mean_of_defined(right / true),
            # A class without images does not count, even if it is predicted.
            "macro_f1": mean_of_defined(np.where(true > 0, 2 * right / (true + predicted), np.nan)),
            "mcc": np.where(spread_true > 0, mcc, np.nan),
            "kappa": np.where(spread_true > 0, (hits * n - chance) / (n**2 - chance), np.nan),
            "log_loss": sums.nll / n,
            "brier": sums.brier / n,
        }
        if sums.ranks is not None and sums.distances is not None:
            values |= ordinal_metrics(sums.distances, true, predicted, sums.ranks)
        return values | {name: np.abs(gaps).sum(axis=0) / n for name, gaps in sums.gaps.items()}


def per_class(sums: Sums) -> dict[str, np.ndarray]:
    """Name -> (C, B), the metrics of ``PER_CLASS`` that need no ranking."""
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
    """Mean over the first axis, ignoring NaN; NaN if there are no other values."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(defined, values, 0).sum(axis=0) / defined.sum(axis=0)


def undefined_reason(name: str, images: int, true: int, predicted: int) -> str:
    """Why a metric of a class is undefined, from the numbers of all, true and predicted images."""
    if name == "ppv":
        return "no image is predicted as this class"
    if name == "npv":
        return "every image is predicted as this class"
    if name == "f1":
        return "no image belongs to this class or is predicted as it"
    return NO_IMAGE if true == 0 else EVERY_IMAGE


def confusion(targets: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(C, C) counts; rows are labels, columns predictions."""
    return np.bincount(targets * classes + predicted, minlength=classes**2).reshape(classes, classes)
