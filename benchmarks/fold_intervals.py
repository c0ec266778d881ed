"""Coverage of intervals of a mean over folds: python benchmarks/fold_intervals.py

Cross-validations of a linear discriminant on simulated data. The true value is what a training on the
images of all folds but one achieves on average, estimated by the mean over all simulated cross-validations.
The standard error is that of Nadeau and Bengio (2003); the intervals differ in how they use it:

- t: mean ± quantile · error; its width is that within the range, which costs no coverage;
- range: ``excite.evaluation.ranges.mean_in_range``: Wilson's for an effective sample size, or for the log
  loss symmetric on a logarithmic scale.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import expit, stdtrit
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from excite.evaluation.folds import corrected_mean
from excite.evaluation.ranges import range_of

METRICS = ("accuracy", "auroc", "log_loss", "brier")
DESIGNS = (  # images, distance of the classes in standard deviations, folds
    (60, 4.0, 5),
    (100, 1.0, 5),
    (100, 2.0, 5),
    (100, 3.5, 5),
    (200, 2.0, 10),
    (200, 3.5, 10),
)
DIMENSIONS = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=600, help="simulated cross-validations per design")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    print("images distance folds  metric      true   t: covers  too high  too low  outside   width", end="")
    print("   range: covers  too high  too low   width  none")
    for images, distance, folds in DESIGNS:
        values = np.array(
            [cross_validation(random, images, distance, folds) for _ in range(arguments.repeats)]
        )
        for column, metric in enumerate(METRICS):
            print(f"{images:6d} {distance:8.1f} {folds:5d}  {report(values[:, :, column], metric, folds)}")


def cross_validation(random: np.random.Generator, images: int, distance: float, folds: int) -> np.ndarray:
    """(folds, metrics) of a linear discriminant."""
    targets = np.arange(images) % 2
    points = random.normal(size=(images, DIMENSIONS))
    points[:, 0] += distance * (targets - 0.5)
    places = np.arange(images) // 2 % folds  # stratified, as both classes alternate
    rows = []
    for fold in range(folds):
        train, test = places != fold, places == fold
        means = [points[train & (targets == label)].mean(axis=0) for label in (0, 1)]
        rest = points[train] - np.stack(means)[targets[train]]
        weights = np.linalg.solve(rest.T @ rest / (train.sum() - 2), means[1] - means[0])
        scores = expit(points[test] @ weights - weights @ (means[0] + means[1]) / 2).clip(1e-15, 1 - 1e-15)
        right = (scores > 0.5) == targets[test]
        losses = (roc_auc_score(targets[test], scores), log_loss(targets[test], scores))
        rows.append((right.mean(), *losses, brier_score_loss(targets[test], scores)))
    return np.array(rows)


def report(values: np.ndarray, metric: str, folds: int) -> str:
    """Coverage and width of both intervals, of those cross-validations that have one."""
    truth, (bottom, top) = float(values.mean()), range_of(metric)
    found = [corrected_mean(row, train=folds - 1, test=1, metric=metric) for row in values]
    kept = np.array([one.low is not None for one in found])
    mean, error = (np.array([getattr(one, name) for one in found]) for name in ("mean", "standard_error"))
    half = float(stdtrit(folds - 1, 0.975)) * error
    plain = np.stack([mean - half, mean + half])[:, kept]
    inside = np.array([(one.low, one.high) for one in found if one.low is not None], dtype=float).T
    outside = 100 * ((plain[0] < bottom) | (plain[1] > top)).mean()
    text = f"{metric:9s} {truth:6.3f}   {_covers(plain, truth)} {outside:8.1f}"
    cut = np.clip(plain, bottom, top)
    text += f" {np.mean(cut[1] - cut[0]):7.3f}          {_covers(inside, truth)}"
    return f"{text} {np.mean(inside[1] - inside[0]):7.3f} {100 * (~kept).mean():5.1f}"


def _covers(bounds: np.ndarray, truth: float) -> str:
    high, low = 100 * (bounds[0] > truth).mean(), 100 * (bounds[1] < truth).mean()
    return f"{100 - high - low:9.1f} {high:9.1f} {low:8.1f}"


if __name__ == "__main__":
    main()
