"""AUROC of a cross-validation without signal: pooled out-of-fold predictions, and the mean of the folds.

Run by hand: ``python benchmarks/pooled_auroc.py --runs 400``. The features are noise, so that the true AUROC
of every classifier is 0.5. The classifier is a logistic regression on 20 features, as in a linear probe.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold

from excite.evaluation.folds import mean_of_folds, pool
from excite.evaluation.measure import measure
from excite.evaluation.predictions import Predictions

FEATURES = 20


def cross_validate(
    random: np.random.Generator, images: int, positive: float, stratified: bool
) -> list[Predictions]:
    """The predictions of five folds for features that tell nothing."""
    features = random.normal(size=(images, FEATURES))
    targets = (np.arange(images) < round(positive * images)).astype(int)
    splitter = (StratifiedKFold if stratified else KFold)(
        5, shuffle=True, random_state=int(random.integers(2**31))
    )
    folds = []
    for train, test in splitter.split(features, targets):
        model = LogisticRegression(C=1.0).fit(features[train], targets[train])
        paths = tuple(str(row) for row in test)
        folds.append(Predictions(targets[test], model.predict_proba(features[test]), ("a", "b"), paths=paths))
    return folds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=400)
    given = parser.parse_args()
    print("| images, positive | folds | pooled AUROC | mean of the folds |\n|---|---|---|---|")
    for images, positive in ((50, 0.5), (100, 0.2), (200, 0.5), (200, 0.1), (1000, 0.2)):
        for stratified in (True, False):
            random = np.random.default_rng(0)
            pooled, means = [], []
            for _ in range(given.runs):
                folds = cross_validate(random, images, positive, stratified)
                pooled.append(measure(pool(folds), intervals=False)["auroc"]["value"])
                means.append(mean_of_folds(folds)["value"])
            kind = "stratified" if stratified else "random"
            errors = [np.std(values) / np.sqrt(given.runs) for values in (pooled, means)]
            print(
                f"| {images:,}, {100 * positive:g} % | {kind} | {np.mean(pooled):.3f} ± {errors[0]:.3f} | "
                f"{np.mean(means):.3f} ± {errors[1]:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
