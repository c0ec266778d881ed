"""Cross-validation: pooled predictions of all folds, and intervals of means over folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.calibrated_range import calibrated_range
from excite.evaluation.decision_rule import join_rules
from excite.evaluation.intervals import LEVEL, RESAMPLES
from excite.evaluation.matching import matched_repeats
from excite.evaluation.measure import metric_names
from excite.evaluation.metric_intervals import ANALYTIC, INTERVAL_METHODS, MetricIntervals
from excite.evaluation.metrics import CALIBRATION_ERRORS, UNDEFINED_OVERALL
from excite.evaluation.predictions import Predictions
from excite.evaluation.ranges import mean_in_range
from excite.evaluation.resampling import GroupSums, Values


def pool(folds: Sequence[Predictions]) -> Predictions:
    """Pool the test predictions of all folds of one repeat: one out-of-fold prediction per image.

    Each image keeps the threshold of its fold.

    Raises:
        ExciteError: without folds, for folds with different classes, and for an image or group in two folds.
    """
    if not folds:
        raise ExciteError("no folds to pool")
    first = folds[0]
    owner: dict[str, int] = {}
    for number, fold in enumerate(folds):
        if fold.classes != first.classes:
            raise ExciteError(f"the classes of fold {number + 1} differ from those of fold 1")
        if (fold.paths is None) != (first.paths is None) or (fold.groups is None) != (first.groups is None):
            raise ExciteError("either all folds or none must have paths and groups")
        for group in set() if fold.groups is None else set(fold.groups) - {""}:
            if owner.setdefault(group, number) != number:
                what = f"group {group!r} is in fold {owner[group] + 1} and in fold {number + 1}"
                raise ExciteError(what, hint="split by group")
    return Predictions(
        np.concatenate([fold.targets for fold in folds]),
        np.concatenate([fold.probabilities for fold in folds]),
        first.classes,
        None
        if first.groups is None
        else np.concatenate([fold.groups for fold in folds if fold.groups is not None]),
        None if first.paths is None else tuple(path for fold in folds for path in fold.paths or ()),
        None
        if any(fold.photos is None for fold in folds)
        else np.concatenate([fold.photos for fold in folds if fold.photos is not None]),
        join_rules([(fold.rule, len(fold)) for fold in folds]),
        first.order,
    )


def mean_of_folds(folds: Sequence[Predictions]) -> dict[str, Any]:
    """The AUROC of each fold, averaged over the folds in which it is defined.

    Pooled predictions also rank images of different folds, whose models were trained on different images. A
    fold with more images of a class leaves fewer of them for training, so that its probabilities are lower:
    without signal, the pooled AUROC is below 0.5 (Parker, Günter & Bedo 2007; benchmarks/pooled_auroc.py).
    The mean of the folds is not, but it is undefined in a fold without one of the classes (Forman & Scholz
    2010).

    Args:
        folds: the test predictions of each fold, also of several repeats.

    Returns:
        ``value``, or None if it is undefined in all folds; ``folds``, the number of folds that count.
    """
    areas = []
    for fold in folds:
        area = float(GroupSums(fold).point().overall["auroc"][0])
        if not np.isnan(area):
            areas.append(area)
    return {"value": float(np.mean(areas)) if areas else None, "folds": len(areas)}


def measure_repeats(
    repeats: Sequence[Predictions],
    *,
    method: str = ANALYTIC,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Metrics of pooled predictions, averaged over the repeats of a cross-validation.

    All repeats share the same images, so a resample draws the same groups in each: repeats reduce the
    variance between trainings but do not increase the number of images.

    Args:
        repeats: predictions from ``pool``, matched by path.
        method: as for ``measure``.
        level: level of the intervals.
        resamples: number of bootstrap resamples.

    Returns:
        ``n``, ``groups``, ``repeats``; each of ``measure.metric_names`` as ``{"value", "low", "high",
        "method"}``; calibration errors have ``calibrated``, also averaged over the repeats.

    Raises:
        ExciteError: without repeats, for repeats of different images, and for an unknown method.
    """
    if method not in INTERVAL_METHODS:
        raise unknown_name("interval", method, INTERVAL_METHODS)
    matched = matched_repeats(repeats)
    tables = [GroupSums(one) for one in matched]
    points = [table.point() for table in tables]
    intervals = MetricIntervals(
        matched, tables, points, method=method, level=level, resamples=resamples, seed=seed
    )
    result: dict[str, Any] = {
        "n": len(matched[0]),
        "groups": matched[0].group_count,
        "repeats": len(repeats),
    }
    for name in metric_names(matched[0]):
        value = float(_mean(points, name)[0])
        if np.isnan(value):
            result[name] = {"value": None, "reason": UNDEFINED_OVERALL[name]}
        elif name in CALIBRATION_ERRORS:
            ranges = [calibrated_range(one, equal=name, level=level, seed=seed) for one in matched]
            low, high = np.mean(ranges, axis=0).tolist()
            result[name] = {"value": value, "calibrated": {"low": low, "high": high}}
        else:
            result[name] = {"value": value, **intervals.overall(name).to_dict()}
    return result


@dataclass(frozen=True)
class CorrectedMean:
    """A mean over folds and repeats whose training sets overlap.

    Args:
        mean, deviation: mean and standard deviation of the values.
        standard_error: corrected standard error of the mean.
        low, high: interval of the mean; None if the values do not vary, or are all at the end of the range.
        p: two-sided p-value of a mean of 0; for differences of two methods.
        values: number of values.
        reason: why there is no interval.
    """

    mean: float
    deviation: float
    standard_error: float
    low: float | None
    high: float | None
    p: float
    values: int
    reason: str | None = None


def corrected_mean(
    values: Sequence[float],
    *,
    train: float,
    test: float,
    metric: str | None = None,
    level: float = LEVEL,
) -> CorrectedMean:
    """Mean with the corrected resampled variance (Nadeau & Bengio 2003): (1/J + test/train) of the variance.

    Folds share training images, so their metrics are correlated, and the usual variance of the mean, 1/J of
    the variance, is too small.

    Args:
        values: J metrics, or differences of metrics of two methods, one per fold and repeat.
        train, test: number of training and test images of a fold; only their ratio matters.
        metric: name of the metric, in whose range the interval stays, see ``ranges.mean_in_range``; None: the
            values are differences, and the interval is Student's.
        level: level of the interval.

    Raises:
        ExciteError: for fewer than two values, values that are not finite, and sizes of 0.
    """
    numbers = np.asarray(values, dtype=np.float64)
    count = len(numbers)
    if count < 2 or not np.isfinite(numbers).all():
        raise ExciteError("a corrected variance needs at least two finite values", exit_code=BAD_USAGE)
    if train <= 0 or test <= 0:
        raise ExciteError(f"train and test must be positive, got {train:g} and {test:g}", exit_code=BAD_USAGE)
    mean, deviation = float(numbers.mean()), float(numbers.std(ddof=1))
    error = float(np.sqrt(1 / count + test / train)) * deviation
    quantile = float(stdtrit(count - 1, 0.5 + level / 2))
    # Without variance, p is 1 for a mean of 0 and else 0.
    certain = 1.0 if mean == 0 else 0.0
    p = 2 * float(stdtr(count - 1, -abs(mean) / error)) if error > 0 else certain
    if metric is None:
        return CorrectedMean(
            mean, deviation, error, mean - quantile * error, mean + quantile * error, p, count
        )
    found = mean_in_range(metric, mean, error, quantile, level=level)
    return CorrectedMean(mean, deviation, error, found.low, found.high, p, count, found.reason)


def _mean(values: Sequence[Values], name: str) -> np.ndarray:
    return np.mean([one.overall[name] for one in values], axis=0)
