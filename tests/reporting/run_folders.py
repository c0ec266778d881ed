"""Run folders written from simulated predictions, without a training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.evaluation.abstention import with_abstention
from excite.evaluation.calibration import Calibration
from excite.evaluation.folds import corrected_mean, measure_repeats
from excite.evaluation.measure import measure
from excite.evaluation.operating_point import at_threshold, choose_threshold
from excite.evaluation.prediction_sets import PredictionSets
from excite.evaluation.predictions import Predictions
from excite.evaluation.reliability import before_and_after, class_calibration
from excite.evaluation.set_metrics import measure_sets
from excite.evaluation.subgroups import subgroups
from excite.runs.label_candidates import write_candidates
from excite.runs.run import Run
from tests.evaluation.simulated import softmax

TEMPERATURE = 1.6
MANY = 50  # classes; subgroups of so many take seconds


def simulated(
    classes: Sequence[str], groups: int, size: int, *, seed: int = 0, name: str = "test", alone: bool = False
) -> Predictions:
    """Groups of ``size`` images and one class; the classes alternate.

    Args:
        alone: name no group.
    """
    random = np.random.default_rng(seed)
    targets = np.repeat(np.arange(groups) % len(classes), size)
    logits = random.normal(size=(len(targets), len(classes)))
    logits[np.arange(len(targets)), targets] += 1.5
    codes = np.repeat(np.arange(groups), size)
    names = np.array(["" if alone else f"{name}-{code}" for code in codes], dtype=object)
    paths = tuple(f"/data/{name}/{row}.png" for row in range(len(targets)))
    return Predictions(targets, softmax(1.2 * logits), tuple(classes), names, paths)


def write_run(
    folder: Path,
    classes: Sequence[str] = ("benign", "malignant"),
    *,
    groups: int = 40,
    size: int = 3,
    alone: bool = False,
    test: Predictions | None = None,
    extras: Mapping[str, Any] | None = None,
    resamples: int = 200,
    audit: bool = True,
    positive: bool = True,
) -> Run:
    """A finished training as ``excite train`` leaves it.

    Args:
        test: predictions of the test images; None: simulated ones.
        extras: further entries of the test figures.
        resamples: fewer than the real ones, for speed.
        positive: of two classes the second is the positive one, with a threshold.
    """
    folder.mkdir(parents=True)
    test = test or simulated(classes, groups, size, alone=alone)
    val = simulated(classes, max(groups // 2, 2 * len(classes)), size, seed=1, name="val", alone=alone)
    train = simulated(classes, 2 * groups, size, seed=2, name="train", alone=alone)
    manifest = _manifest({"train": train, "val": val, "test": test})
    manifest.save(folder / "manifest.csv")
    config = TrainConfig(
        data="/data", model="densenet121", attention="se", lr=0.001, epochs=5, out=str(folder)
    ).replace(attention_options={"reduction": 8}, group_pattern=r"^(\d+)_", channels_last=False)
    (folder / "config.yaml").write_text(config.to_yaml())
    chosen = None
    if positive and len(classes) == 2:
        chosen = choose_threshold(val, classes[1], sensitivity=0.95)
    if chosen is not None:
        test, val = test.with_rule(chosen.rule), val.with_rule(chosen.rule)
    figures = measure(test, resamples=resamples)
    figures["duplicates_in_train"] = 0
    calibration = Calibration(TEMPERATURE, (0.0,) * len(classes))
    figures["calibration"] = before_and_after(calibration.inverse.apply(test), calibration)
    figures["class_calibration"] = class_calibration(test)
    figures["prediction_sets"] = measure_sets(test, PredictionSets.fit(val))
    if chosen is not None:
        at_test = at_threshold(test, classes[1], chosen.threshold)
        figures["operating_point"] = {"chosen": asdict(chosen), "test": at_test}
    figures["abstention"] = with_abstention(test, 0.6)
    sites = ["Lagos" if code % 10 == 0 else "Essen" for code in test.group_codes]
    if len(classes) < MANY:
        figures["subgroups"] = [subgroups(test, sites, name="site", resamples=resamples)]
    figures |= extras or {}
    _write(folder, "metrics.json", {"val": measure(val, resamples=resamples), "test": figures})
    _save(test, folder / "predictions.csv")
    _save(val, folder / "val_predictions.csv")
    history().to_csv(folder / "metrics.csv", index=False)
    _write(
        folder,
        "classifier.json",
        {
            "architecture": {"name": "densenet121", "attention": "se", "where": ["a.se", "b.se"]},
            "preprocessing": {"image_size": 96},
            "classes": list(classes),
            "calibration": calibration.to_dict(),
        },
    )
    _write(folder, "environment.json", ENVIRONMENT)
    if audit:
        _write(folder, "audit.json", AUDIT)
    return Run.open(folder)


def write_cross_validation(
    folder: Path,
    *,
    folds: int = 5,
    repeats: int = 1,
    resamples: int = 200,
    pooled: Predictions | None = None,
) -> Run:
    """A finished cross-validation: pooled predictions and a row a fold, no model and no history."""
    folder.mkdir(parents=True)
    classes = ("benign", "malignant")
    pooled = pooled or simulated(classes, 60, 3)
    manifest = _manifest({"": pooled}).with_columns(fold_0=pooled.group_codes % folds)
    manifest.save(folder / "manifest.csv")
    (folder / "config.yaml").write_text(TrainConfig(data="/data", epochs=5).to_yaml())
    rows, accuracies = [], []
    for repeat in range(repeats):
        for fold in range(folds):
            part = pooled.take(pooled.group_codes % folds == fold)
            figures = measure(part, intervals=False)
            row: dict[str, Any] = {"repeat": repeat, "fold": fold, "run": f"repeat-{repeat}/fold-{fold}"}
            row |= {"n": len(part), "groups": part.group_count, "train": len(pooled) - len(part)}
            row |= {name: figures[name]["value"] for name in ("accuracy", "balanced_accuracy", "log_loss")}
            row["auroc"] = None if fold == 0 else figures["auroc"]["value"]
            rows.append(row)
            accuracies.append(row["accuracy"] + 0.001 * repeat)
    mean = corrected_mean(
        accuracies, train=len(pooled) * (folds - 1) / folds, test=len(pooled) / folds, metric="accuracy"
    )
    figures = measure(pooled, resamples=resamples) | {"duplicates_in_train": 0}
    if repeats > 1:  # means of repeats have no classes and no matrix of their own
        figures = {key: value for key, value in figures.items() if key not in ("classes", "confusion")}
        figures |= measure_repeats([pooled] * repeats, resamples=resamples)
    figures["auroc"]["mean_of_folds"] = {"value": 0.7654, "folds": folds * repeats - 1}
    doubts = write_candidates(Run(folder), pooled)
    shared = {"temperature": TEMPERATURE, "intercept": [0.25, -0.25]}
    ensemble = {"members": folds * repeats, "calibration": shared, "abstain_below": 0.0}
    found = {"test": figures, "folds": rows, "corrected": {"accuracy": asdict(mean)}}
    _write(folder, "metrics.json", found | {"ensemble": ensemble, "label_noise": doubts})
    _save(pooled, folder / "predictions.csv", fold=pooled.group_codes % folds)
    _write(folder, "environment.json", ENVIRONMENT)
    _write(folder, "audit.json", AUDIT)
    return Run.open(folder)


def history(epochs: int = 5) -> pd.DataFrame:
    random = np.random.default_rng(0)
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    table = pd.DataFrame({name: random.random(epochs) for name in names})
    return table.assign(epoch=range(1, epochs + 1), seconds=[30.0 * epoch for epoch in range(1, epochs + 1)])


def _manifest(parts: Mapping[str, Predictions]) -> Manifest:
    tables = [
        pd.DataFrame(
            {
                "path": part.paths,
                "label": [part.classes[target] for target in part.targets],
                "group": part.groups,
                "split": split,
            }
        )
        for split, part in parts.items()
    ]
    return Manifest(pd.concat(tables), next(iter(parts.values())).classes)


def _save(predictions: Predictions, path: Path, **further: Any) -> None:
    assert predictions.groups is not None
    names = predictions.classes
    columns = {f"p:{name}": predictions.probabilities[:, index] for index, name in enumerate(names)}
    if (rule := predictions.rule) is not None:
        columns[f"threshold:{rule.label}"] = rule.of_images(len(predictions))
    table = pd.DataFrame(
        {
            "path": predictions.paths,
            "label": [names[target] for target in predictions.targets],
            "group": predictions.groups,
            "predicted": [names[guess] for guess in predictions.predicted],
            **columns,
            **further,
        }
    )
    table.to_csv(path, index=False, lineterminator="\r\n")


def _write(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    (folder / name).write_text(json.dumps(content, allow_nan=False))


ENVIRONMENT = {
    "excite": "0.1.0",
    "git": {"commit": "0123456789abcdef", "changed": True},
    "command": ["/usr/bin/excite", "train", "/data", "--group-pattern", r"^(\d+)_", "--lr", "0.001"],
    "python": "3.11.7",
    "system": "Linux",
    "libraries": {"torch": "2.6.0"},
    "device": "cpu",
    "threads": 1,
    "processes": 1,
    "seed": 0,
}
AUDIT = {
    "images": 480,
    "groups": 160,
    "group_sizes": {"largest": 3, "singletons": 0},
    "oversized_groups": [],
    "passes": ["files", "same picture", "same photo"],
    "kinds": {"identical file": 1, "same picture": 2, "same photo": 317},
    "leaks": {"groups": 0, "images": {}, "fractions": {}},
    "label_conflicts": [{"labels": {"benign": 1, "malignant": 1}, "images": ["a", "b"]}],
    "shortcuts": [
        {"feature": "size", "score": 0.81, "chance": 0.5, "highest": 0.56, "images": 9, "groups": 9}
    ],
    "name_pattern": None,
    "files": {"bad": [{"path": "c", "kind": "empty", "reason": "is empty"}], "odd": []},
}
