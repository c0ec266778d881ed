"""Compare two configurations by several runs of each that differ only in the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from excite.data.paths import is_same_path
from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.matching import shared_images
from excite.evaluation.predictions import Predictions
from excite.evaluation.seed_comparison import compare_seeds
from excite.runs.compare import (
    chosen_metrics,
    differing_options,
    is_table,
    matched_paths,
    test_predictions,
    with_common_order,
)
from excite.runs.comparison import Comparison
from excite.runs.run import Run

Source = str | Path


def compare_configurations(
    first: Sequence[Source],
    second: Sequence[Source],
    metrics: Sequence[str] | None = None,
    *,
    ordinal: Sequence[str] = (),
) -> Comparison:
    """The difference of two configurations, with other seeds and other images as sources of chance.

    Args:
        first, second: run folders, or tables of predictions, of one configuration each. Runs of a
            configuration differ only in the seed, which tables cannot show.
        metrics, ordinal: as for ``runs.compare.compare_runs``.

    Returns:
        ``first`` and ``second``: names of the runs; ``n``, ``groups``; ``differing_options`` of the
        configurations (name -> both values), None for tables; ``metrics`` (name -> ``SeedDifference``).

    Raises:
        ExciteError: for a configuration with one run, a run on both sides or twice, runs of a configuration
            that differ in more than the seed, runs that were tested on different images, and an unknown
            metric.
    """
    sides = (list(first), list(second))
    for side in sides:
        if len(side) < 2:
            what = "a comparison of configurations needs at least two runs on each side, with different seeds"
            hint = "excite compare A B, without --with, compares two networks"
            raise ExciteError(what, where=side[0] if side else None, hint=hint, exit_code=BAD_USAGE)
    _refuse_repeated([*first, *second])
    for side in sides:
        _refuse_several_configurations(side)
    sources = [*first, *second]
    predictions = with_common_order(sources, _on_same_images(sources), ordinal)
    split = len(first)
    chosen = chosen_metrics(metrics, predictions[0])
    differences = compare_seeds(predictions[:split], predictions[split:], chosen)
    return Comparison(
        first=[str(source) for source in first],
        second=[str(source) for source in second],
        n=len(predictions[0]),
        groups=predictions[0].group_count,
        differing_options=differing_options(first[0], second[0]),
        metrics={name: asdict(value) for name, value in differences.items()},
    )


def _refuse_repeated(sources: Sequence[Source]) -> None:
    for number, source in enumerate(sources):
        if any(is_same_path(str(source), str(other)) for other in sources[:number]):
            hint = "name each run once, on one side"
            raise ExciteError("the run is named twice", where=source, hint=hint, exit_code=BAD_USAGE)


def _refuse_several_configurations(side: Sequence[Source]) -> None:
    """Raises: ExciteError for runs that differ in more than the seed, or not even in the seed."""
    runs = [source for source in side if not is_table(source)]
    for number, source in enumerate(runs):
        if differing := differing_options(runs[0], source):
            names = ", ".join(differing)
            what = f"differs from {runs[0]} in more than the seed: {names}"
            hint = "give the runs of one configuration on each side of --with"
            raise ExciteError(what, where=source, hint=hint, exit_code=BAD_USAGE)
        for other in runs[:number]:
            seed = Run.open(source).config.seed
            if seed == Run.open(other).config.seed:
                what = f"has the same seed as {other}: {seed}"
                hint = "train it with another --seed"
                raise ExciteError(what, where=source, hint=hint, exit_code=BAD_USAGE)


def _on_same_images(sources: Sequence[Source]) -> list[Predictions]:
    """The predictions of all runs for the photos of the test set, in the order of the first run."""
    first = test_predictions(sources[0])
    aligned = [first.by_photo()]
    for source in sources[1:]:
        one, other = matched_paths(sources[0], first, source, test_predictions(source))
        try:
            shared = shared_images(one, other)[1]
        except ExciteError as error:
            raise ExciteError(error.what, where=source, hint=error.hint, exit_code=BAD_USAGE) from error
        if not len(shared) == len(one) == len(other):
            what = f"was tested on other images than {sources[0]}: {len(shared)} of {len(other)} are shared"
            hint = "train all runs on one table that excite split has written; then --seed changes no split"
            raise ExciteError(what, where=source, hint=hint, exit_code=BAD_USAGE)
        aligned.append(shared.by_photo())
    return aligned
