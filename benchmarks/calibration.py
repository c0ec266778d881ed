"""Calibration, its band, thresholds, and prediction sets on simulated data, where the truth is known.

Run by hand: ``python benchmarks/calibration.py balance``, ``band``, ``thresholds``, ``abstention``, ``sets``
or ``copies``; ``--runs`` as in docs/experiments/calibration.md. Each row compares the usual choice with that
of excite.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from excite.errors import ExciteError
from excite.evaluation.abstention import choose_confidence
from excite.evaluation.calibrated_range import calibrated_range
from excite.evaluation.calibration import Calibration, fit_calibration, fit_temperature
from excite.evaluation.operating_point import choose_threshold
from excite.evaluation.prediction_sets import PredictionSets
from excite.evaluation.predictions import Predictions
from excite.evaluation.reliability import calibration_error, class_calibration

NAMES = ("a", "b")
NEW_IMAGES = 20_000


def percent(values: ArrayLike) -> str:
    return f"{100 * np.mean(np.asarray(values)):6.1f}"


def grouped(
    random: np.random.Generator,
    groups: int,
    size: int,
    *,
    signal: float = 1.2,
    alike: float = 1.0,
    prevalence: float = 0.5,
    temperature: float = 1.0,
) -> Predictions:
    """Groups of one class, easy or hard together; with ``temperature`` 1, each probability is exact.

    The score of an image is normal around ±signal with variance alike² + 1, so that linear discriminant
    analysis gives its probability; ``temperature`` divides the logits.
    """
    positive = np.repeat(random.random(groups) < prevalence, size)
    score = np.where(positive, signal, -signal) + alike * np.repeat(random.normal(size=groups), size)
    score = score + random.normal(size=groups * size)
    logit = 2 * signal * score / (1 + alike**2) + np.log(prevalence / (1 - prevalence))
    p = expit(logit / temperature)
    codes = np.repeat(np.arange(groups), size).astype(str)
    return Predictions(positive.astype(int), np.stack([1 - p, p], axis=1), NAMES, codes)


def balance(runs: int) -> None:
    """A logistic regression with and without class weights; 10 % of the images are positive."""
    print(
        "training | validation | calibration | mean probability % | log loss | net benefit at 0.3 |", end=""
    )
    print(" ECE above its band % | classwise ECE above its band %")
    for weights in ("balanced", None):
        for images, size in ((30, 1), (100, 1), (300, 1), (1000, 1), (30, 10)):
            rows = [_balanced_run(np.random.default_rng(seed), images, size, weights) for seed in range(runs)]
            for number, name in enumerate(("none", "temperature", "with intercepts")):
                means = np.mean([row[number] for row in rows], axis=0)
                validation = f"{images} images" if size == 1 else f"{images} groups of {size}"
                print(
                    f"{weights or 'plain':8} | {validation:16} | {name:15} | {100 * means[0]:5.1f} | "
                    f"{means[1]:.4f} | {means[2]:+.4f} | {100 * means[3]:5.1f} | {100 * means[4]:5.1f}"
                )


def _balanced_run(
    random: np.random.Generator, images: int, size: int, weights: str | None
) -> list[tuple[float, ...]]:
    def draw(count: int, copies: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        positive = np.repeat(random.random(count) < 0.1, copies)
        shared = np.repeat(random.normal(size=(count, 5)), copies, axis=0)
        own = random.normal(size=shared.shape)
        noise = shared if copies == 1 else np.sqrt(0.7) * shared + np.sqrt(0.3) * own
        return noise + 0.75 * positive[:, None], positive.astype(int), np.repeat(np.arange(count), copies)

    x, y, _ = draw(400)
    model = LogisticRegression(class_weight=weights).fit(x, y)

    def logits(inputs: np.ndarray) -> np.ndarray:
        return np.stack([np.zeros(len(inputs)), 1.5 * model.decision_function(inputs)], axis=1)

    x, y, codes = draw(images, size)
    temperature = fit_temperature(logits(x), y, codes)
    alone = Calibration(temperature, (0.0, 0.0))
    fitted = (Calibration.identity(2), alone, fit_calibration(logits(x), y, codes)[0])
    x, y, _ = draw(NEW_IMAGES)
    rows: list[tuple[float, ...]] = []
    for calibration in fitted:
        p = calibration.probabilities(logits(x))
        called = p[:, 1] >= 0.3
        benefit = (called & (y == 1)).mean() - (called & (y == 0)).mean() * 0.3 / 0.7
        few = Predictions(y[:500], p[:500], NAMES)
        classwise = class_calibration(few)["classwise_ece"]
        warned = calibration_error(few) > calibrated_range(few, draws=200)[1]
        loss = -np.log(p[np.arange(len(y)), y]).mean()
        rows.append(
            (p[:, 1].mean(), loss, benefit, warned, classwise["value"] > classwise["calibrated"]["high"])
        )
    return rows


def band(runs: int) -> None:
    """How often the calibration error is above its band: calibrated probabilities, and logits doubled."""
    print("groups | calibrated, ECE: without groups | by groups | equal mass | classwise || logits doubled:")
    settings = ((111, 14, 1.0), (27, 14, 1.0), (40, 5, 1.0), (111, 14, 2.0), (27, 14, 2.0), (200, 1, 1.0))
    for groups, size, alike in settings:
        cells = []
        for temperature in (1.0, 0.5):
            found = []
            for seed in range(runs):
                random = np.random.default_rng(seed)
                test = grouped(random, groups, size, alike=alike, signal=1.2 * alike, temperature=temperature)
                alone = Predictions(test.targets, test.probabilities, NAMES)
                error, by_mass = calibration_error(test), calibration_error(test, mass=True)
                classwise = class_calibration(test)["classwise_ece"]
                found.append(
                    (
                        error > calibrated_range(alone, draws=400)[1],
                        error > calibrated_range(test, draws=400)[1],
                        by_mass > calibrated_range(test, equal="ece_equal_mass", draws=400)[1],
                        classwise["value"] > classwise["calibrated"]["high"],
                    )
                )
            cells.append(" ".join(percent(column) for column in np.transpose(found)))
        print(f"{groups:4} x {size:2}, alike {alike:g} | {cells[0]} || {cells[1]}", flush=True)


def thresholds(runs: int) -> None:
    """The sensitivity on new images of a threshold chosen for 95 %, usual and as an order statistic."""
    print("positives | usual % | order statistic % | guaranteed % | specificity: usual | order statistic")
    new = grouped(np.random.default_rng(10**6), NEW_IMAGES, 1, alike=0)
    for positives, size in ((10, 1), (19, 1), (20, 1), (50, 1), (200, 1), (20, 5), (50, 5)):
        rows = []
        other = grouped(np.random.default_rng(10**6), NEW_IMAGES, size) if size > 1 else new
        scores, ill = other.probabilities[:, 1], other.targets == 1
        for seed in range(runs):
            held = grouped(np.random.default_rng(seed), 4 * positives, size, alike=float(size > 1))
            codes = held.group_codes
            chosen_groups = np.concatenate(
                [np.unique(codes[held.targets == label])[:positives] for label in (0, 1)]
            )
            held = held.take(np.isin(codes, chosen_groups))
            falling = np.sort(held.probabilities[held.targets == 1, 1])[::-1]
            usual = falling[max(1, int(np.ceil(round(0.95 * len(falling), 9)))) - 1]
            point = choose_threshold(held, "b", sensitivity=0.95)
            rows.append(
                [
                    (scores[ill] >= usual).mean(),
                    (scores[ill] >= point.threshold).mean(),
                    point.guaranteed,
                    (scores[~ill] < usual).mean(),
                    (scores[~ill] < point.threshold).mean(),
                ]
            )
        name = f"about {positives} groups of {size}" if size > 1 else f"about {positives}"
        print(f"{name:22} |" + " |".join(percent(column) for column in np.transpose(rows)), flush=True)


def abstention(runs: int) -> None:
    """Selective accuracy on new images at a confidence chosen for 95 %."""
    print(
        "validation | usual: accuracy % | below 95 % | coverage % || tested: no threshold % | accuracy % |",
        end="",
    )
    print(" below 95 % of all runs | coverage %")
    for groups, size in ((30, 1), (100, 1), (300, 1), (1000, 1), (100, 5)):
        alike = float(size > 1)
        new = grouped(np.random.default_rng(10**6), 5 * NEW_IMAGES // size, size, alike=alike)
        order = np.argsort(-new.confidences)
        falling, right = new.confidences[order], np.cumsum(new.correct[order])
        usual, tested = [], []
        for seed in range(runs):
            held = grouped(np.random.default_rng(seed), groups, size, alike=alike)
            usual.append(_selective(falling, right, _usual_confidence(held, 0.95)))
            try:
                tested.append(_selective(falling, right, choose_confidence(held, 0.95)))
            except ExciteError:
                continue
        first, second = np.array(usual), np.array(tested).reshape(-1, 2)
        none = 1 - len(second) / runs
        accuracy = percent(second[:, 0]) if len(second) else "     -"
        below = percent((second[:, 0] < 0.95).sum() / runs)
        print(
            f"{groups:5} x {size} | {percent(first[:, 0])} | {percent(first[:, 0] < 0.95)} | "
            f"{percent(first[:, 1])} || {percent(none)} | {accuracy} | {below} | "
            f"{percent(second[:, 1].sum() / runs)}",
            flush=True,
        )


def _selective(falling: np.ndarray, right: np.ndarray, threshold: float) -> tuple[float, float]:
    """Selective accuracy and coverage on new images."""
    accepted = max(1, int(np.searchsorted(-falling, -threshold, side="right")))
    return right[accepted - 1] / accepted, accepted / len(falling)


def _usual_confidence(held: Predictions, accuracy: float) -> float:
    """The lowest confidence with this selective accuracy on the validation images themselves."""
    order = np.argsort(-held.confidences)
    accuracies = np.cumsum(held.correct[order]) / np.arange(1, len(order) + 1)
    reached = np.flatnonzero(accuracies >= accuracy)
    return float(held.confidences[order][reached[-1]]) if len(reached) else 1.0


def sets(runs: int) -> None:
    """Coverage and size of prediction sets of ten classes on new images."""
    print("validation | level | fitted scores: coverage % | held-out scores: coverage % | mean size")
    for groups, size in ((20, 1), (100, 1), (180, 1), (1000, 1), (40, 5)):
        rows = [list(_sets_run(np.random.default_rng(seed), groups, size)) for seed in range(runs)]
        for number, level in enumerate((0.8, 0.9, 0.95)):
            means = np.mean([row[number] for row in rows], axis=0)
            print(
                f"{groups:5} x {size} | {level:4} | {100 * means[0]:5.1f} | {100 * means[1]:5.1f} | "
                f"{means[2]:.2f}",
                flush=True,
            )


def _sets_run(random: np.random.Generator, groups: int, size: int) -> Iterator[tuple[float, float, float]]:
    def draw(count: int, copies: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        targets = np.repeat(random.integers(0, 10, count), copies)
        logits = random.normal(size=(len(targets), 10))
        logits[np.arange(len(targets)), targets] += 1.8 + 0.8 * np.repeat(random.normal(size=count), copies)
        return 2 * logits + np.linspace(-1, 1, 10), targets, np.repeat(np.arange(count), copies)

    logits, targets, codes = draw(groups, size)
    calibration, held_out = fit_calibration(logits, targets, codes)
    names = tuple("abcdefghij")
    fitted, honest = (
        PredictionSets.fit(Predictions(targets, p, names, codes.astype(str)))
        for p in (calibration.probabilities(logits), held_out)
    )
    logits, targets, _ = draw(4000, 1)
    new = calibration.probabilities(logits)
    rows = np.arange(len(targets))
    for level in (0.8, 0.9, 0.95):
        first, second = fitted.contains(new, level), honest.contains(new, level)
        yield first[rows, targets].mean(), second[rows, targets].mean(), second.sum(axis=1).mean()


def copies(runs: int) -> None:
    """The confidence after calibration on 20 photos that are all correct, alone and with 14 copies each."""
    for count in (1, 14):
        targets = np.repeat(np.arange(20) % 2, count)
        logits, photos = 4.0 * np.eye(2)[targets], np.repeat(np.arange(20), count)
        for name, codes in (("images", None), ("photos", photos)):
            temperature = fit_temperature(logits, targets, codes)
            confidence = Calibration(temperature, (0.0, 0.0)).probabilities(logits).max()
            print(f"20 photos x {count:2}, counted by {name}: confidence {confidence:.3f}")


SUBJECTS = {
    "balance": balance,
    "band": band,
    "thresholds": thresholds,
    "abstention": abstention,
    "sets": sets,
    "copies": copies,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("--runs", type=int, default=200)
    given = parser.parse_args()
    SUBJECTS[given.subject](given.runs)
