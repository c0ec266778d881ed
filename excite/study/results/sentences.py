"""Sentences of a study: verdicts, power, and limitations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from excite.evaluation.metrics import LOWER_IS_BETTER
from excite.evaluation.power import largest_difference
from excite.evaluation.sequential import AT_THE_PLAN
from excite.reporting.tables import NAMES, PERCENT
from excite.reporting.text import many
from excite.study.results.analysis import SAME_IMAGES, Analysis, ArmFigures
from excite.study.results.comparisons import Comparison
from excite.study.results.estimates import Estimate

MINUS = "\u2212"
METHODS = {
    "crossed": "crossed trainings and groups",
    "corrected": "corrected resampled t-test",
    "": "",
}
FIXED, SEQUENTIAL = "one look", "all looks"
"""What the interval of a method holds for."""


def verdict(comparison: Comparison, metric: str, comparisons: int) -> str:
    """The verdict on one pair of arms, in one sentence.

    Args:
        comparisons: the number of comparisons in the plan.
    """
    estimate = comparison.estimate
    name, value = NAMES[metric][0], estimate.value
    if math.isnan(value):
        return f"{comparison.second} against {comparison.first}: no verdict yet, {estimate.reason}."
    change = "raised" if value > 0 else "lowered" if value < 0 else "did not change"
    text = f"{comparison.second} {change} {name}"
    text += f" by {amount(abs(value), metric)}" if value else ""
    text += f" against {comparison.first}"
    if estimate.low is None or estimate.high is None:
        return f"{text}: no verdict yet, {estimate.reason}."
    number = len(comparison.looks.pairs) if comparison.looks else 1
    over = "" if number == 1 else f" over {number} looks"
    text += f", 95 % interval{over} {bounds(estimate.low, estimate.high, metric)}: "
    if comparison.significant:
        better = (value > 0) != (metric in LOWER_IS_BETTER)
        return f"{text}significantly {'better' if better else 'worse'} ({_p(comparison)})."
    text += "not significant"
    if estimate.p is not None and estimate.p < 0.05:
        among = "" if comparisons == 1 else f" among {many(comparisons, 'comparison')}"
        text += f"{over}{among} ({_p(comparison)})"
    return f"{text}; {_what_it_would_take(comparison)}."


def amount(value: float, metric: str, *, unit: bool = True) -> str:
    """A difference: percentage points for fractions, three decimals for other metrics."""
    if metric not in PERCENT:
        return f"{value:.3f}"
    text = f"{100 * value:.1f}" if abs(value) >= 0.001 or value == 0 else f"{100 * value:.2f}"
    return f"{text} point{'' if text == '1.0' else 's'}" if unit else text


def signed(value: float, metric: str, *, unit: bool = True) -> str:
    """A difference with its sign; "-" if it is undefined."""
    if math.isnan(value):
        return "-"
    return (MINUS if value < 0 else "+" if value > 0 else "") + amount(abs(value), metric, unit=unit)


def bounds(low: float, high: float, metric: str) -> str:
    """An interval of a difference, clipped to possible values."""
    low, high = possible(low, metric), possible(high, metric)
    return " to ".join(signed(value, metric, unit=False).lstrip("+") for value in (low, high))


def possible(difference: float, metric: str) -> float:
    """A difference, clipped to the range of the metric."""
    largest = largest_difference(metric)
    return min(max(difference, -largest), largest)


def level(value: float | None, metric: str) -> str:
    """The value of a metric."""
    if value is None or math.isnan(value):
        return "-"
    return f"{100 * value:.1f} %" if metric in PERCENT else f"{value:.3f}"


def interval(estimate: Estimate | None, metric: str) -> str:
    """The bounds of an estimate, or ""."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    if metric in PERCENT:  # the interval of a few seeds may exceed the range
        return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f} %"
    return f"{estimate.low:.3f} to {estimate.high:.3f}"


def power_text(comparison: Comparison, metric: str) -> str:
    """The smallest difference that the study detects with a power of 80 %."""
    if comparison.smallest is None:
        return ""
    sample = f"{many(comparison.seeds, 'seed')} and {many(comparison.groups, 'group')}"
    if math.isinf(comparison.smallest):
        what = f"no possible difference in {NAMES[metric][0]}"
        return f"{sample} detect {what} with 80 % power; add groups of images or seeds"
    return (
        f"{sample} detect a difference of "
        f"{amount(comparison.smallest, metric)} in {NAMES[metric][0]} with 80 % power"
    )


def design_text(analysis: Analysis, folds: int | None) -> str:
    """How cells are paired, and what the intervals account for."""
    pairing = (
        "Cells with the same seed and fold share split, initial weights, order of images and augmentation "
    )
    pairing += "in all arms; differences are computed within such pairs. "
    if folds is None and analysis.design != SAME_IMAGES:
        return pairing + (
            "Each seed uses a new split, and trainings share images: intervals and p-values are those of the "
            "corrected resampled t-test (Nadeau & Bengio 2003)."
        )
    text = pairing + (
        "All seeds test the same images. Intervals and p-values account for the variation between trainings "
        "and between groups of images (Dorfman, Berbaum & Metz 1992)"
    )
    if folds is not None:
        text += (
            f"; because the {folds} folds share training images, the variance is increased by "
            f"{1 / (folds - 1):.0%}"
        )
    return text + "."


FEW_GROUPS = 100
"""Below this number of groups in folds, the false positive rate exceeds 5 %: 6.6 % with 60 groups, 5.0 % with
200 (benchmarks/study_verdicts.py)."""


def reliance(analysis: Analysis) -> list[str]:
    """What a reader must know before the verdicts."""
    notes = []
    if analysis.done < analysis.planned:
        notes.append(f"{analysis.done} of {analysis.planned} cells are done: all results may still change.")
    if analysis.planned_comparisons > 1:
        notes.append(
            f"{analysis.planned_comparisons} comparisons are planned: significance is decided by Holm's "
            "adjusted p, so the probability of any false positive is at most 5 %."
        )
    folded = any(cell.fold for cell in analysis.cells)
    groups = min((one.groups for one in analysis.comparisons), default=FEW_GROUPS)
    if folded and groups < FEW_GROUPS:
        notes.append(
            f"There are only {groups} groups for cross-validation: all folds train on the same few groups, "
            "which the intervals do not account for. Treat borderline results as undecided."
        )
    return notes


MOST_LOOKS = 8  # looks that are listed


def looks_text(analysis: Analysis) -> str:
    """How often the results have been looked at."""
    counts = [len(look.cells) for look in analysis.looks]
    if not counts:
        return "The results have not been looked at yet."
    *before, last = counts[-MOST_LOOKS:]
    cells = (
        f"{', '.join(map(str, before))} and {many(last, 'finished cell')}"
        if before
        else many(last, "finished cell")
    )
    times = "once" if not before else f"{len(counts)} times"
    return (
        f"The results have been looked at {times}, {'last ' if len(counts) > MOST_LOOKS else ''}with {cells}."
    )


def interval_text() -> str:
    """What the intervals of differences mean."""
    return (
        "Intervals and p-values of the verdicts are sequential: the probability that any look, of those so "
        "far and of those to come, shows a difference between equal arms is kept near or below 5 %. Of "
        f"these, {5 * AT_THE_PLAN:g} % are spent when the seeds planned at the first look are done, the rest "
        "is for seeds added later (Lan & DeMets 1983). Intervals of single arms and of the alternative "
        "analyses are fixed: they hold for one look."
    )


def memory_text(arm: ArmFigures) -> str:
    """The peak memory of an arm; "-" if it is unknown."""
    return "-" if arm.memory is None else f"{arm.memory / 2**20:,.0f} MiB"


def count_text(count: int) -> str:
    """A count with a unit that leaves three digits."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def differences(comparison: Comparison, metric: str) -> list[tuple[str, str, str]]:
    """(method, interval, p) of the difference by each method; p is not adjusted."""
    rows = []
    method = METHODS[comparison.estimate.method]
    methods: Sequence[tuple[str, Estimate]] = [(f"{method}, {SEQUENTIAL}", comparison.estimate)]
    if comparison.estimate.method == "crossed" and comparison.corrected.low is not None:
        methods = [*methods, (f"{METHODS['corrected']}, {FIXED}", comparison.corrected)]
    for name, one in methods:
        if one.low is not None and one.high is not None and one.p is not None:
            rows.append((name, bounds(one.low, one.high, metric), p_text(one.p)))
    swapped = comparison.swap_test
    if swapped is not None and swapped.low is not None and swapped.high is not None and swapped.p is not None:
        between = bounds(swapped.low, swapped.high, metric)
        rows.append((f"swap test over groups only, {FIXED}", between, p_text(swapped.p)))
    return rows


def p_text(value: float) -> str:
    """A p-value with three decimals, or ``< 0.001``."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _p(comparison: Comparison) -> str:
    assert comparison.holm is not None
    p = p_text(comparison.holm)
    return f"p {p}" if p.startswith("<") else f"p = {p}"


def _what_it_would_take(comparison: Comparison) -> str:
    if not comparison.estimate.value:
        return "there is no difference to detect"
    if comparison.more_seeds is None:
        return "no number of seeds would detect a difference of this size on these images; add images"
    seeds = many(comparison.more_seeds, "more seed", "more seeds")
    return f"about {seeds} would detect a difference of this size"
