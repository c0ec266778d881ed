"""Definitions of the metrics: formulas on counts and sums, for one set of images or many resamples at once.

Formulas are scikit-learn's, with three exceptions: macro F1 leaves out classes without images; MCC and kappa
are undefined instead of 0 if all images belong to one class; the Brier score is halved for any number of
classes. NaN means undefined; ``measure`` gives the reason.
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
RANKED = ("auroc", "average_precision")  # they depend on the order of the probabilities only: ``ranking``
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
    """Counts and sums for B weightings of the images (one, or bootstrap resamples) and C classes.

    Args:
        images: (B,) number of images.
        true: (C, B) images of each class.
        predicted: (C, B) images predicted as each class.
        correct: (C, B) correctly predicted images of each class.
        nll: (B,) sum of the negative log-likelihoods, in nats.
        brier: (B,) sum over images and classes of (probability - truth)² / 2.
        gaps: name in ``CALIBRATION_ERRORS`` -> (bins, B) sum of confidences minus number of correct images in
            each bin.
        ranks: (C,) of the classes; None: they have no order.
        distances: (3, B) sums of ``ordinal_terms``; None likewise.
    """

    images: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray
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


def metrics_over_classes(sums: Sums) -> dict[str, np.ndarray]:
    """Name -> (B,), the metrics of ``OVERALL`` except ``RANKED``; with an order also ``ORDINAL``."""
    n, true, predicted = sums.images, sums.true, sums.predicted
    correct = sums.correct.sum(axis=0)
    by_chance = (true * predicted).sum(axis=0)  # agreement expected by chance, times n
    with np.errstate(invalid="ignore", divide="ignore"):
        true_spread, predicted_spread = n**2 - (true**2).sum(axis=0), n**2 - (predicted**2).sum(axis=0)
        # Gorodkin 2004. The infinite denominator gives 0 if all images are predicted as one class, as in
        # scikit-learn.
        mcc = (correct * n - by_chance) / np.sqrt(
            np.where(predicted_spread > 0, true_spread * predicted_spread, np.inf)
        )
        values = {
            "accuracy": correct / n,
            "balanced_accuracy": mean_of_defined(sums.correct / true),
            # A class without images does not count, even if it is predicted.
            "macro_f1": mean_of_defined(np.where(true > 0, 2 * sums.correct / (true + predicted), np.nan)),
            "mcc": np.where(true_spread > 0, mcc, np.nan),
            "kappa": np.where(true_spread > 0, (correct * n - by_chance) / (n**2 - by_chance), np.nan),
            "log_loss": sums.nll / n,
            "brier": sums.brier / n,
        }
        if sums.ranks is not None and sums.distances is not None:
            values |= ordinal_metrics(sums.distances, true, predicted, sums.ranks)
        return values | {name: np.abs(gaps).sum(axis=0) / n for name, gaps in sums.gaps.items()}


def metrics_per_class(sums: Sums) -> dict[str, np.ndarray]:
    """Name -> (C, B), the metrics of ``PER_CLASS`` except ``RANKED``."""
    n, positives, predicted, tp = sums.images, sums.true, sums.predicted, sums.correct
    negatives, predicted_negatives = n - positives, n - predicted
    fp, fn = predicted - tp, positives - tp
    tn = negatives - fp
    with np.errstate(invalid="ignore", divide="ignore"):
        product = positives * negatives * predicted * predicted_negatives
        mcc = (tp * tn - fp * fn) / np.sqrt(np.where(predicted * predicted_negatives > 0, product, np.inf))
        return {
            "sensitivity": tp / positives,
            "specificity": tn / negatives,
            "ppv": tp / predicted,
            "npv": tn / predicted_negatives,
            "f1": 2 * tp / (positives + predicted),
            "mcc": np.where(positives * negatives > 0, mcc, np.nan),
        }


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis, ignoring NaN; NaN if there are no other values."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(defined, values, 0).sum(axis=0) / defined.sum(axis=0)


def undefined_reason(name: str, true: int) -> str:
    """Why a metric of a class is undefined; ``true`` is the number of its images."""
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
