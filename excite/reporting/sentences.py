"""Sentences of a report: accuracy, separation of the splits, intended use, limitations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from excite.config.task import MULTICLASS
from excite.data.manifest import SPLITS
from excite.reporting.decision_text import fold_rules_text, rule_text
from excite.reporting.kept_text import kept_text
from excite.reporting.majority_text import hardly_better
from excite.reporting.run_facts import RunFacts
from excite.reporting.tables import interval_text, number_text
from excite.reporting.text import many

FINE, WARN, BAD = "fine", "warn", "bad"
FEW_GROUPS = 60
"""With fewer test groups, intervals cover a little less than 95 % (docs/experiments/intervals.md)."""
RECALIBRATED = 0.1
"""Fraction of the test images whose class calibration changes, from which it is a warning."""


MOST_SHORTCUTS = 5
"""In a sentence: of one class per image there are no more; of several labels, each may have as many."""


@dataclass(frozen=True)
class Statement:
    """A sentence and its severity: ``fine``, ``warn`` or ``bad``."""

    text: str
    severity: str = FINE


def headline(facts: RunFacts) -> dict[str, str]:
    """The accuracy with its interval, and the images that it was measured on."""
    figure = facts.test["accuracy"]
    n, groups = facts.test["n"], facts.test["groups"]
    size = many(n, "image") + (f" of {many(groups, 'group')}" if groups != n else "")
    right = f"{int(facts.predictions.correct.sum()):,} of {size}"
    what = f"of the test images are classified correctly: {right}"
    if facts.folds:
        size = size if facts.test.get("repeats", 1) > 1 else right
        what = f"of the images are classified correctly out of fold: {size}, {folds_text(facts)}"
    interval = interval_text("accuracy", figure)
    return {
        "value": number_text("accuracy", figure["value"]),
        "interval": f"95 % interval {interval}"
        if interval
        else f"no interval: {figure.get('reason', 'not computed')}",
        "what": what,
    }


def photo_accuracy(facts: RunFacts) -> str:
    """The accuracy per photo, where several images are copies of one photo; else ""."""
    photos = facts.test.get("photos")
    if photos is None:
        return ""
    figure, interval = photos["accuracy"], interval_text("accuracy", photos["accuracy"])
    text = (
        "Some images are copies of the same photo. With predictions averaged over the copies of each photo, "
    )
    text += (
        f"{number_text('accuracy', figure['value'])} of {many(photos['n'], 'photo')} are classified correctly"
    )
    return text + (f" ({interval})." if interval else ".")


def folds_text(facts: RunFacts) -> str:
    """The number of folds and repeats, as text."""
    count = len({fold["fold"] for fold in facts.folds})
    repeats = len({fold["repeat"] for fold in facts.folds})
    return f"{count} folds" + (f", {repeats} repeats" if repeats > 1 else "")


def disjointness(facts: RunFacts) -> Statement:
    """The level at which the splits are disjoint, or a warning that they are not."""
    n = facts.test["n"]
    count = facts.duplicates_in_train
    duplicates = f"{count:,} of {many(n, 'test image')} {'has' if count == 1 else 'have'} a near-duplicate "
    duplicates += "in the training set"
    if facts.leaks_allowed:
        text = f": {duplicates}" if count else ""
        return Statement(f"Leaks were allowed{text}; the metrics are optimistic.", BAD)
    if count:
        return Statement(f"{duplicates} (an image of the same group); the metrics are optimistic.", BAD)
    several = many(facts.groups_in_several_splits, "group is", "groups are")
    if facts.groups_in_several_splits and facts.folds:
        return Statement(f"{several} in more than one fold; the metrics are optimistic.", BAD)
    if facts.groups_in_several_splits:
        return Statement(
            f"{several} in more than one split, but not in both train and test.",
            WARN,
        )
    splits = "folds" if facts.folds else "splits"
    has_user_groups, has_audit_groups = facts.group_kinds
    if not has_user_groups and not has_audit_groups:
        looked = "same photo" in facts.audit.get("passes", ())
        reason = "no two images are known to show the same photo or patient"
        if not looked:
            reason += "; crops and rotations of the same photo were not searched for"
        return Statement(f"The {splits} are disjoint by image: {reason}.", FINE if looked else WARN)
    kinds = [
        *(["groups defined by the user"] if has_user_groups else []),
        *(["copies of the same photo found by the audit"] if has_audit_groups else []),
    ]
    return Statement(f"No group is in two {splits}: {' and '.join(kinds)} were kept together.", FINE)


def warnings(facts: RunFacts) -> list[Statement]:
    """What a reader must know before the metrics."""
    statements = []
    if point := facts.test.get("operating_point"):
        statements.append(Statement(rule_text(point["test"]["label"], point["test"]["threshold"])))
    elif facts.predictions.rule is not None:
        statements.append(Statement(fold_rules_text(facts.predictions.rule)))
    if text := kept_text(facts):
        statements.append(Statement(text, WARN))
    if text := hardly_better(facts.test, facts.resolved, str(facts.config.data)):
        statements.append(Statement(text, WARN))
    if text := recalibrated(facts.test):
        statements.append(Statement(text, WARN))
    statements += few_groups(facts, facts.by_class.get("low_group_count") or [])
    return statements + audit_statements(facts)


def _counted(facts: RunFacts) -> str:
    """What a reader takes for the unit of the test: a group of one image is an image."""
    return "images" if facts.test["groups"] == facts.test["n"] else "groups"


def few_groups(facts: RunFacts, few: Sequence[str]) -> list[Statement]:
    """Whether there are few test groups at all, or of the classes, or labels, ``few``."""
    statements = []
    if few:
        named = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
        averages = "classes" if facts.manifest.task == MULTICLASS else "labels"
        counted = _counted(facts)
        text = f"Fewer than ten test {counted} of {named}. Averages over {averages} depend on few {counted}."
        statements.append(Statement(text, WARN))
    elif facts.test["groups"] < FEW_GROUPS:
        text = f"There {'is' if facts.test['groups'] == 1 else 'are'} only "
        unit = _counted(facts).removesuffix("s")
        text += f"{many(facts.test['groups'], f'test {unit}')}: intervals are wide and may be too narrow."
        statements.append(Statement(text, WARN))
    return statements


def audit_statements(facts: RunFacts) -> list[Statement]:
    """Conflicting labels and shortcuts that the audit found."""
    statements = []
    if conflicts := len(facts.audit.get("label_conflicts", ())):
        statements.append(
            Statement(f"The audit found {many(conflicts, 'photo')} with conflicting labels.", WARN)
        )
    if shortcuts := facts.audit.get("shortcuts", ()):
        features = [
            f"from {shortcut['feature']} alone (balanced accuracy {100 * shortcut['score']:.1f} %, with "
            f"shuffled labels {100 * shortcut['chance']:.1f} %)"
            for shortcut in shortcuts[:MOST_SHORTCUTS]
        ]
        which = "this shortcut" if len(features) == 1 else "these shortcuts"
        more = f", and {len(shortcuts) - len(features)} more" if len(shortcuts) > len(features) else ""
        text = f"The label can be predicted {', and '.join(features)}{more}: the network may use {which}."
        statements.append(Statement(text, WARN))
    return statements


def recalibrated(test: Mapping[str, Any]) -> str:
    """Says if calibration decides much of the result, which the epochs in the terminal do not show."""
    calibration = test.get("calibration")
    if calibration is None or calibration["changed"] < RECALIBRATED * test["n"]:
        return ""
    changed = f"{calibration['changed'] / test['n']:.0%} of the test images"
    before, after = (calibration[when]["accuracy"]["value"] for when in ("before", "after"))
    return (
        f"Calibration changes the predicted class of {changed}, and the accuracy from {before:.1%} to "
        f"{after:.1%}: the network favors some classes, as after too few epochs."
    )


def intended_use(facts: RunFacts) -> list[str]:
    """What the classifier is for, and what it is not for."""
    classes = facts.predictions.classes
    named = ", ".join(classes[:12]) + (f" and {len(classes) - 12} more" if len(classes) > 12 else "")
    return [
        f"Assigns one of {len(classes)} classes to an image: {named}.",
        "For research and teaching, on images similar to the training images.",
        "Not for diagnosis or any other decision about a person: that requires a separate validation with "
        "the population, cameras, and sites of the intended use.",
    ]


def limitations(facts: RunFacts) -> list[str]:
    """What the metrics do not show."""
    groups, n = facts.test["groups"], facts.test["n"]
    limits = [
        f"The metrics are computed from {many(groups, 'group')} ({many(n, 'image')}) of one data source. The "
        "intervals cover sampling error only, not a change of camera, site, or population.",
        "There is no external validation. excite evaluate RUN DATA evaluates the classifier on other data.",
    ]
    if facts.duplicates_in_train or facts.leaks_allowed:
        limits.append(
            "Test images have near-duplicates in the training set: expect lower metrics on new groups."
        )
    has_user_groups, _ = facts.group_kinds
    if not has_user_groups:
        limits.append(
            "No groups were defined. If several images show the same patient or object, it may occur in more "
            "than one split: define groups with --group-pattern or --group-column."
        )
    if few := facts.by_class.get("low_group_count"):
        limits.append(
            f"{many(len(few), 'class has', 'classes have')} fewer than ten test {_counted(facts)}: "
            f"{', '.join(few[:12])}{' ...' if len(few) > 12 else ''}."
        )
    limits.append("PPV and NPV apply only where the classes are as frequent as in the test images.")
    limits.append(
        "Every image is assigned to one of the classes, even if it shows none of them; a low probability may "
        "be the only sign."
    )
    ece = facts.test.get("ece", {})
    if "calibrated" in ece and ece["value"] is not None and ece["value"] > ece["calibrated"]["high"]:
        limits.append(
            f"The probabilities are not well calibrated: the ECE of {ece['value']:.3f} is larger than "
            f"expected of a calibrated classifier (up to {ece['calibrated']['high']:.3f})."
        )
    if not facts.test.get("subgroups"):
        limits.append(
            "No subgroups, such as skin tone, age, camera, or site, were evaluated (--subgroups COLUMN)."
        )
    if facts.folds:
        limits.append(
            "The metrics are those of several models, one per fold, each in its own run folder. A model "
            "trained on all images is a different model, without metrics of its own."
        )
        if text := ensemble_text(facts):
            limits.append(text)
    return limits


def pooled_auroc_text(facts: RunFacts) -> str:
    """The mean AUROC of the folds beside the pooled one; "" for a single training."""
    mean = facts.test.get("auroc", {}).get("mean_of_folds", {})
    if mean.get("value") is None:
        return ""
    return (
        "The AUROC ranks the images of all folds together, which were scored by different models; without "
        f"signal it is slightly below 50 %. The mean of the AUROCs of {many(mean['folds'], 'fold')} is "
        f"{100 * mean['value']:.1f} %."
    )


def ensemble_text(facts: RunFacts) -> str:
    """What the ensemble of a cross-validation is and what is not known about it; else ""."""
    ensemble = facts.metrics.get("ensemble")
    if ensemble is None:
        return ""
    return (
        f"This run's classifier is the mean of all {ensemble['members']} models. It has no "
        "metrics of its own either: each image was in the training set of most members. Such an ensemble "
        "is usually at least as accurate as one member, and less confident. Its calibration and thresholds "
        "were chosen on the out-of-fold predictions of single members, so they err on the side of caution."
    )


def validation_note(facts: RunFacts) -> str:
    """Which images the validation metrics are computed on, and why they are optimistic."""
    if facts.val is None or not (facts.config.recipe == "probe" or facts.fell_back_to_probe):
        return (
            "The best epoch was selected on the validation images, so the validation metrics are optimistic."
        )
    return (
        f"Validation metrics are computed on all {many(facts.val['n'], 'image')} outside the "
        "test set, each predicted by a linear probe fitted without it. The regularization strength was "
        "selected on them, so these metrics are slightly optimistic."
    )


def split_sizes(facts: RunFacts) -> str:
    """How many images are in each split."""
    table = facts.manifest.table
    if facts.folds:
        return f"{many(len(table), 'image')}, each predicted once per repeat ({folds_text(facts)})"
    names = {"train": "for training", "val": "for validation", "test": "for testing"}
    return ", ".join(
        f"{int((table['split'] == split).sum()):,} {names[split]}"
        for split in SPLITS
        if split in facts.manifest.splits
    )
