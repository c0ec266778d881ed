"""Sentences of a study: what it compares, what it may say, what more it would take."""

from __future__ import annotations

import math
from collections.abc import Sequence

from excite.evaluation.metrics import LOWER_IS_BETTER
from excite.evaluation.power import largest_difference
from excite.reporting.tables import NAMES, PERCENT
from excite.reporting.text import many
from excite.study.results.analysis import SAME_IMAGES, Analysis, ArmFigures, Comparison
from excite.study.results.estimates import Estimate

MINUS = "\u2212"
METHODS = {
    "crossed": "trainings and groups of images crossed",
    "corrected": "corrected resampled t",
    "": "",
}


def verdict(comparison: Comparison, metric: str, comparisons: int) -> str:
    """What can be said of one pair of arms, in one sentence."""
    estimate = comparison.estimate
    name, value = NAMES[metric][0], estimate.value
    moved = "raised" if value > 0 else "lowered" if value < 0 else "left"
    said = f"{comparison.second} {moved} {name}"
    said += f" by {amount(abs(value), metric)}" if value else " as it was"
    said += f" against {comparison.first}"
    if estimate.low is None or estimate.high is None:
        return f"{said}: nothing can be said yet, {estimate.reason}."
    said += f", 95 % interval {bounds(estimate.low, estimate.high, metric)}: "
    if comparison.significant:
        better = (value > 0) != (metric in LOWER_IS_BETTER)
        return f"{said}shown, it is {'better' if better else 'worse'} ({_p(comparison)})."
    said += "not shown"
    if estimate.p is not None and estimate.p < 0.05:
        said += f", as one of {comparisons} comparisons ({_p(comparison)})"
    return f"{said}; {_what_it_would_take(comparison)}."


def amount(value: float, metric: str, *, unit: bool = True) -> str:
    """A difference: points for shares, three decimals else."""
    if metric not in PERCENT:
        return f"{value:.3f}"
    text = f"{100 * value:.1f}" if abs(value) >= 0.001 or value == 0 else f"{100 * value:.2f}"
    return f"{text} point{'' if text == '1.0' else 's'}" if unit else text


def signed(value: float, metric: str, *, unit: bool = True) -> str:
    """A difference with its sign, a true minus."""
    return (MINUS if value < 0 else "+" if value > 0 else "") + amount(abs(value), metric, unit=unit)


def bounds(low: float, high: float, metric: str) -> str:
    """An interval of a difference, within what is possible."""
    low, high = possible(low, metric), possible(high, metric)
    return " to ".join(signed(value, metric, unit=False).lstrip("+") for value in (low, high))


def possible(difference: float, metric: str) -> float:
    """A difference, or the largest that the metric allows."""
    largest = largest_difference(metric)
    return min(max(difference, -largest), largest)


def level(value: float | None, metric: str) -> str:
    """A figure itself."""
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if metric in PERCENT else f"{value:.3f}"


def interval(estimate: Estimate | None, metric: str) -> str:
    """Its bounds, or ""."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    if metric in PERCENT:  # beyond 0 and 100 % there is nothing, whatever a few seeds make of it
        return f"{100 * max(estimate.low, 0.0):.1f} to {100 * min(estimate.high, 1.0):.1f} %"
    return f"{estimate.low:.3f} to {estimate.high:.3f}"


def power_text(comparison: Comparison, metric: str) -> str:
    """The smallest difference that so many seeds and groups show 8 times of 10."""
    if comparison.smallest is None:
        return ""
    behind = f"{many(comparison.seeds, 'seed')} and {many(comparison.groups, 'group')}"
    if math.isinf(comparison.smallest):
        what = f"no possible difference in {NAMES[metric][0]}"
        return f"{behind} show {what} 8 times of 10; more groups of images, or more seeds, might"
    return (
        f"{behind} show a difference of "
        f"{amount(comparison.smallest, metric)} in {NAMES[metric][0]} 8 times of 10"
    )


def design_text(analysis: Analysis, folds: int | None) -> str:
    """How the cells are paired, and what the intervals are made of."""
    pairing = (
        "The same seed and fold mean the same split, initial weights, order of images and augmentation in "
    )
    pairing += "every arm; each difference is taken within such a pair. "
    if folds is None and analysis.design != SAME_IMAGES:
        return pairing + (
            "Each seed splits the data anew, so that trainings share images: intervals and p are those of "
            "the corrected resampled t (Nadeau & Bengio 2003)."
        )
    text = pairing + (
        "All seeds test the same images. Intervals and p take both for a sample, the trainings and the "
        "groups of images (Dorfman, Berbaum & Metz 1992)"
    )
    if folds is not None:
        text += (
            f"; as the {folds} folds share training images, {1 / (folds - 1):.2g} of the variance is added"
        )
    return text + "."


FEW_GROUPS = 100
"""Groups in folds below which "significant" is said too readily: 6.9 % of equal arms at 60 of them, 5.1 % at 200
(benchmarks/study_verdicts.py)."""


def reliance(analysis: Analysis) -> list[str]:
    """What a reader must know before the verdicts."""
    said = []
    if analysis.done < analysis.planned:
        said.append(f"{analysis.done} of {analysis.planned} cells are done: all below may still change.")
    if len(analysis.comparisons) > 1:
        said.append(
            f"{len(analysis.comparisons)} comparisons: 'shown' goes by Holm's adjusted p, so that one false "
            "alarm among all of them has a chance of 5 % at most."
        )
    folded = any(cell.fold for cell in analysis.cells)
    groups = min((one.groups for one in analysis.comparisons), default=FEW_GROUPS)
    if folded and groups < FEW_GROUPS:
        said.append(
            f"{groups} groups are few for folds: what these very groups teach moves all folds alike, which "
            "no interval here sees. Take a result near the line for open."
        )
    return said


def memory_text(arm: ArmFigures) -> str:
    return "-" if arm.memory is None else f"{arm.memory / 2**20:,.0f} MiB"


def count_text(count: int) -> str:
    """A count with a unit that leaves three digits."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def differences(comparison: Comparison, metric: str) -> list[tuple[str, str, str]]:
    """(how, interval, p) of the difference by each way that it was looked at."""
    rows = []
    ways: Sequence[tuple[str, Estimate]] = [(METHODS[comparison.estimate.method], comparison.estimate)]
    if comparison.estimate.method == "crossed" and comparison.corrected.low is not None:
        ways = [*ways, (METHODS["corrected"], comparison.corrected)]
    for name, one in ways:
        if one.low is not None and one.high is not None and one.p is not None:
            rows.append((name, bounds(one.low, one.high, metric), p_text(one.p)))
    boot = comparison.bootstrap
    if boot is not None and boot.low is not None and boot.high is not None and boot.p is not None:
        between = bounds(boot.low, boot.high, metric)
        rows.append(("bootstrap over groups alone", between, p_text(boot.p)))
    return rows


def p_text(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _p(comparison: Comparison) -> str:
    assert comparison.holm is not None
    p = p_text(comparison.holm)
    return f"p {p}" if p.startswith("<") else f"p = {p}"


def _what_it_would_take(comparison: Comparison) -> str:
    if not comparison.estimate.value:
        return "there is no difference to show"
    if comparison.more_seeds is None:
        return "no number of seeds would show a difference of this size on these images; more images might"
    return (
        f"about {many(comparison.more_seeds, 'more seed', 'more seeds')} would show a difference of this size"
    )
