"""Coverage of the 95 % intervals of averages over labels, on simulated predictions with known true values.

    python benchmarks/label_intervals.py --groups 40 100 --draws 200

Three labels of different frequency, correlated within an image and within groups of three images; one value
in ten is unknown. The true values are those of 60,000 groups. Prints, for each number of groups and each
metric, the fraction of intervals that hold the true value; its standard error is 1.5 points with 200
draws.
"""

from __future__ import annotations

import argparse

import numpy as np

from excite.evaluation.label_measure import measure_labels
from excite.evaluation.label_predictions import LabelPredictions

METRICS = (
    ("macro", "auroc"),
    ("macro", "average_precision"),
    ("macro", "f1"),
    ("macro", "log_loss"),
    ("micro", "auroc"),
    ("micro", "f1"),
    ("subset_accuracy",),
    ("hamming_loss",),
)
RATES = np.array([0.4, 0.15, 0.3])
THRESHOLDS = np.array([0.4, 0.25, 0.5])
PER_GROUP, UNKNOWN, MANY = 3, 0.1, 60_000


def draw(groups: int, random: np.random.Generator) -> LabelPredictions:
    """Predictions of a data set with this number of groups."""
    codes = np.repeat(np.arange(groups), PER_GROUP)
    severity = random.normal(size=(groups, 1))[codes] + 0.7 * random.normal(size=(len(codes), 1))
    logits = np.log(RATES / (1 - RATES)) + severity + 1.3 * random.normal(size=(len(codes), len(RATES)))
    targets = (random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    targets[random.random(logits.shape) < UNKNOWN] = -1
    scores = 1 / (1 + np.exp(-(logits + random.normal(size=logits.shape))))
    names = codes.astype(str).astype(object)
    return LabelPredictions(targets, scores, ("a", "b", "c"), groups=names, thresholds=THRESHOLDS)


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--groups", type=int, nargs="+", default=[40, 100])
    parser.add_argument("--draws", type=int, default=200)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    true = measure_labels(draw(MANY, random), intervals=False)
    columns = [f"{groups} groups" for groups in arguments.groups]
    rows: dict[tuple[str, ...], list[str]] = {metric: [] for metric in METRICS}
    for groups in arguments.groups:
        held = dict.fromkeys(METRICS, 0)
        for _ in range(arguments.draws):
            found = measure_labels(draw(groups, random))
            for metric in METRICS:
                figure, value = found, true
                for key in metric:
                    figure, value = figure[key], value[key]
                held[metric] += figure["low"] <= value["value"] <= figure["high"]
        for metric, count in held.items():
            rows[metric].append(f"{100 * count / arguments.draws:.1f} %")
    print(f"| metric | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for metric, cells in rows.items():
        print(f"| {' '.join(metric)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
