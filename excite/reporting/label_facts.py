"""The contents of a run of several labels per image, read once for its report and its model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from excite.data.labels import PRESENT, UNKNOWN
from excite.data.manifest import SPLITS
from excite.evaluation.label_predictions import LabelPredictions
from excite.reporting.kept_text import kept_text
from excite.reporting.run_facts import RunFacts
from excite.reporting.sentences import FINE, WARN, Statement, audit_statements, disjointness, few_groups
from excite.reporting.tables import interval_text, number_text
from excite.reporting.text import many


class LabelFacts(RunFacts):
    """The files of a run whose images may have several labels; see ``RunFacts``."""

    @cached_property
    def labeled(self) -> LabelPredictions:
        """Predictions for the test images."""
        return self.run.predicted_labels()

    @cached_property
    def counts(self) -> tuple[list[str], list[tuple[str, list[str]]]]:
        """The names of the splits, and for each label how many of how many known images have it in each."""
        splits = [name for name in SPLITS if name in self.manifest.splits]
        values = {name: self.manifest.part(name).targets() for name in splits}
        rows = []
        for index, label in enumerate(self.manifest.classes):
            columns = [values[name][:, index] for name in splits]
            rows.append((label, [f"{(c == PRESENT).sum():,} of {(c != UNKNOWN).sum():,}" for c in columns]))
        groups = [self.manifest.part(name).group_count() for name in splits]
        sizes = zip((len(values[name]) for name in splits), groups, strict=True)
        rows.append(("all", [f"{n:,}" + (f" ({g:,} groups)" if g != n else "") for n, g in sizes]))
        return splits, rows

    @property
    def statements(self) -> list[Statement]:
        """How disjoint the splits are, and what a reader must know before the metrics."""
        return [disjointness(self), *self._warnings()]

    @property
    def notes(self) -> list[Statement]:
        """What a reader must know before the metrics, without what is as it should be."""
        return [each for each in self.statements if each.severity != FINE]

    def _warnings(self) -> list[Statement]:
        statements = []
        if text := kept_text(self):
            statements.append(Statement(text, WARN))
        failing = [
            name
            for name, row in self.test["labels"].items()
            if row["n"] and (row["auroc"].get("low") or 1.0) <= 0.5
        ]
        if failing:
            named = ", ".join(failing[:5]) + (f" and {len(failing) - 5} more" if len(failing) > 5 else "")
            text = f"Not shown to be better than chance (the interval of the AUROC reaches 0.5): {named}."
            statements.append(Statement(text, WARN))
        missed = [each["label"] for each in self.test.get("thresholds", ()) if each["reached"] is False]
        if missed:
            text = f"Too few validation groups to promise the required level: {', '.join(missed[:5])}"
            statements.append(Statement(f"{text}{' ...' if len(missed) > 5 else ''}.", WARN))
        return statements + few_groups(self, self.test["low_group_count"]) + audit_statements(self)


def label_headline(test: Mapping[str, Any]) -> dict[str, str]:
    """The mean AUROC with its interval, and the images that it was measured on."""
    figure = test["macro"]["auroc"]
    size = many(test["n"], "image")
    size += f" of {many(test['groups'], 'group')}" if test["groups"] != test["n"] else ""
    bounds = interval_text("auroc", figure)
    return {
        "value": number_text("auroc", figure["value"]),
        "interval": f"95 % interval {bounds}" if bounds else f"no interval: {figure.get('reason', '')}",
        "what": f"is the mean AUROC of {many(figure.get('labels', 0), 'label')}, measured on {size}",
    }


def label_use(labels: Sequence[str]) -> list[str]:
    """What the classifier is for, and what it is not for."""
    named = ", ".join(labels[:14]) + (f" and {len(labels) - 14} more" if len(labels) > 14 else "")
    return [
        f"Tells which of {len(labels)} labels an image has, any number of them: {named}.",
        "For research and teaching, on images similar to the training images.",
        "Not for diagnosis or any other decision about a person: that requires a separate validation with "
        "the population, cameras, and sites of the intended use.",
    ]


def label_limits(facts: LabelFacts) -> list[str]:
    """What the metrics do not show."""
    test = facts.test
    limits = [
        f"The metrics are computed from {many(test['groups'], 'group')} ({many(test['n'], 'image')}) of one "
        "data source. The intervals cover sampling error only, not a change of camera, site, or population.",
        "There is no external validation. excite evaluate RUN DATA evaluates the classifier on other data.",
        "PPV, F1, and average precision apply only where the labels are as frequent as in the test images.",
        "The labels are predicted one by one: their probabilities say nothing of how labels occur together.",
    ]
    if test["unknown"]:
        total = test["n"] * len(test["labels"])
        limits.append(
            f"{test['unknown']:,} of {total:,} values of the test images are unknown and were left out of "
            "the metrics. If values are missing for a reason that shows in the image, the metrics do not "
            "hold for all images."
        )
    has_user_groups, _ = facts.group_kinds
    if not has_user_groups:
        limits.append(
            "No groups were defined. If several images show the same patient or object, it may occur in more "
            "than one split: define groups with --group-pattern or --group-column."
        )
    if facts.duplicates_in_train or facts.leaks_allowed:
        limits.append(
            "Test images have near-duplicates in the training set: expect lower metrics on new groups."
        )
    if not test.get("subgroups"):
        limits.append(
            "No subgroups, such as skin tone, age, camera, or site, were evaluated (--subgroups COLUMN)."
        )
    return limits


def threshold_text(thresholds: Sequence[Mapping[str, Any]]) -> str:
    """How the thresholds were chosen, as a sentence."""
    criterion, level = thresholds[0]["criterion"], thresholds[0]["level"]
    if criterion == "f1":
        return "Each threshold has the highest F1 on the validation images."
    if criterion == "half":
        return "Each threshold is 0.5."
    return f"Each threshold was chosen on the validation images for a {criterion} of {100 * level:g} %."


def confident_errors(predictions: LabelPredictions, most: int) -> list[dict[str, Any]]:
    """The wrong predictions that were furthest from the truth, one for each group and label."""
    wrong = predictions.known & ~predictions.correct
    rows, columns = np.nonzero(wrong)
    present = predictions.targets[rows, columns] == PRESENT
    scores = predictions.probabilities[rows, columns]
    order = np.argsort(-np.where(present, 1 - scores, scores), kind="stable")
    paths = predictions.paths or tuple(f"image {row + 1}" for row in range(len(predictions)))
    seen: set[tuple[int, int]] = set()
    found = []
    for place in order.tolist():
        row, column = int(rows[place]), int(columns[place])
        key = (int(predictions.group_codes[row]), column)
        if key in seen:
            continue
        seen.add(key)
        kind = "present, not predicted" if present[place] else "predicted, not present"
        label = predictions.classes[column]
        found.append({"path": paths[row], "label": label, "kind": kind, "score": float(scores[place])})
        if len(found) == most:
            break
    return found
