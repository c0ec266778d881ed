"""Sentences of a report: how good, how disjoint, of what use, with what limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from excite.data.manifest import SPLITS
from excite.reporting.run_facts import RunFacts
from excite.reporting.tables import interval_text, number_text
from excite.reporting.text import many

FINE, WARN, BAD = "fine", "warn", "bad"
FEW_GROUPS = 60
"""Test groups below which intervals hold a little less than 95 % (docs/evaluation.md)."""


@dataclass(frozen=True)
class Statement:
    """A sentence, and how grave it is: ``fine``, ``warn`` or ``bad``."""

    text: str
    grade: str = FINE


def headline(facts: RunFacts) -> dict[str, str]:
    """The accuracy with its interval, and of what."""
    figure = facts.test["accuracy"]
    size = f"{many(facts.test['n'], 'image')} of {many(facts.test['groups'], 'group')}"
    right = f"{int(facts.predictions.correct.sum()):,} of {size}"
    what = f"of the test images are named rightly: {right}"
    if facts.folds:
        size = size if facts.test.get("repeats", 1) > 1 else right
        what = (
            f"of the images are named rightly by a model that had not seen them: {size}, {folds_text(facts)}"
        )
    interval = interval_text("accuracy", figure)
    return {
        "value": number_text("accuracy", figure["value"]),
        "interval": f"95 % interval {interval}"
        if interval
        else f"no interval: {figure.get('reason', 'not computed')}",
        "what": what,
    }


def baseline(facts: RunFacts) -> str:
    """What one would get without looking."""
    counts = np.bincount(facts.predictions.targets, minlength=len(facts.predictions.classes))
    label = facts.predictions.classes[int(counts.argmax())]
    return f"Who always says {label!r} is right in {100 * counts.max() / counts.sum():.1f} %."


def photos_line(facts: RunFacts) -> str:
    """How many whole photos are named rightly, where several images are copies of one."""
    photos = facts.test.get("photos")
    if photos is None:
        return ""
    figure, interval = photos["accuracy"], interval_text("accuracy", photos["accuracy"])
    text = "Many of the images are copies of one photo. With what is said of a photo's copies averaged, "
    text += f"{number_text('accuracy', figure['value'])} of {many(photos['n'], 'photo')} are named rightly"
    return text + (f" ({interval})." if interval else ".")


def folds_text(facts: RunFacts) -> str:
    count = len({fold["fold"] for fold in facts.folds})
    repeats = len({fold["repeat"] for fold in facts.folds})
    return f"{count} folds" + (f", {repeats} repeats" if repeats > 1 else "")


def disjointness(facts: RunFacts) -> Statement:
    """At which level the parts are disjoint, or that they are not."""
    n = facts.test["n"]
    count = facts.duplicates_in_train
    duplicates = f"{count:,} of {many(n, 'test image')} {'has' if count == 1 else 'have'} a near-duplicate "
    duplicates += "in the training set"
    if facts.leaks_allowed:
        text = f": {duplicates}" if count else ""
        return Statement(f"Leaks were allowed{text}; the metrics are optimistic.", BAD)
    if count:
        return Statement(f"{duplicates} (an image of the same group); the metrics are optimistic.", BAD)
    torn_groups = many(facts.straddling, "group lies", "groups lie")
    if facts.straddling and facts.folds:
        return Statement(f"{torn_groups} in more than one fold; the metrics are optimistic.", BAD)
    if facts.straddling:
        return Statement(
            f"{torn_groups} in more than one part, though not in train and test.",
            WARN,
        )
    parts = "folds" if facts.folds else "parts"
    own, found = facts.group_kinds
    if not own and not found:
        looked = "same photo" in facts.audit.get("passes", ())
        reason = "no two images are known to show the same photo or patient"
        if not looked:
            reason += "; crops and turns of one photo were not looked for"
        return Statement(f"The {parts} are disjoint by image: {reason}.", FINE if looked else WARN)
    kinds = [
        *(["groups named by the user"] if own else []),
        *(["copies of one photo that the audit found"] if found else []),
    ]
    return Statement(f"No group is in two {parts}: {' and '.join(kinds)} were kept together.", FINE)


def warnings(facts: RunFacts) -> list[Statement]:
    """What a reader must know before the figures."""
    said = []
    few = facts.by_class.get("low_group_count") or []
    if few:
        named = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
        text = f"Fewer than ten groups in the test: {named}. Averages over classes rest on a handful of them."
        said.append(Statement(text, WARN))
    elif facts.test["groups"] < FEW_GROUPS:
        text = f"{many(facts.test['groups'], 'test group')} are few: intervals are wide, and may still be "
        text += "a little too narrow."
        said.append(Statement(text, WARN))
    if conflicts := len(facts.audit.get("label_conflicts", ())):
        said.append(Statement(f"The audit found {many(conflicts, 'photo')} under two labels.", WARN))
    for shortcut in facts.audit.get("shortcuts", ()):
        text = f"The classes can be told apart by {shortcut['feature']} alone "
        text += f"(balanced accuracy {100 * shortcut['score']:.1f} %): the network may have learned that."
        said.append(Statement(text, WARN))
    return said


def intended_use(facts: RunFacts) -> list[str]:
    """For what the classifier is, and for what not."""
    classes = facts.predictions.classes
    named = ", ".join(classes[:12]) + (f" and {len(classes) - 12} more" if len(classes) > 12 else "")
    return [
        f"Names one of {len(classes)} classes for a picture: {named}.",
        "For research and teaching, on pictures taken like those that it was trained on.",
        "Not for diagnosis or any other decision about a person: that takes a study of its own, with the "
        "people, cameras and places it is meant for.",
    ]


def limits(facts: RunFacts) -> list[str]:
    """What the figures do not say."""
    groups, n = facts.test["groups"], facts.test["n"]
    said = [
        f"The figures rest on {many(groups, 'group')} ({many(n, 'image')}) of one data source. The intervals "
        "know only chance between groups like these; other cameras, places and people are not in them.",
        "There is no external validation. excite evaluate RUN DATA measures the classifier on other data.",
    ]
    if facts.duplicates_in_train or facts.leaks_allowed:
        said.append(
            "Test images have near-duplicates in the training set: expect lower metrics on new groups."
        )
    own, _ = facts.group_kinds
    if not own:
        said.append(
            "No groups were named. If several images show one patient or one object, the parts may share "
            "them: name the groups with --group-pattern or --group-column."
        )
    if few := facts.by_class.get("low_group_count"):
        said.append(
            f"Of {many(len(few), 'class', 'classes')} the test holds fewer than ten groups: "
            f"{', '.join(few[:12])}{' ...' if len(few) > 12 else ''}."
        )
    said.append("PPV and NPV hold only where the classes are as frequent as in these images.")
    said.append(
        "Every picture gets one of the classes, also one that shows none of them; only a low probability "
        "may tell."
    )
    ece = facts.test.get("ece", {})
    if "calibrated" in ece and ece["value"] is not None and ece["value"] > ece["calibrated"]["high"]:
        said.append(
            f"The probabilities are not to be taken at their word: an ECE of {ece['value']:.3f} is more than "
            f"a calibrated classifier would show (up to {ece['calibrated']['high']:.3f})."
        )
    if not facts.test.get("subgroups"):
        said.append(
            "No subgroups were measured, such as skin tone, age, camera or site (--subgroups COLUMN)."
        )
    if facts.folds:
        said.append(
            "The figures are those of several models, one a fold, each in a run folder of its own. A model "
            "that is trained on all images is another one, and has no figures of its own."
        )
        if text := ensemble_text(facts):
            said.append(text)
    return said


def ensemble_text(facts: RunFacts) -> str:
    """What a cross-validation's networks are together, and what is not known of it; else ""."""
    found = facts.metrics.get("ensemble")
    if found is None:
        return ""
    return (
        f"This run's classifier is the mean of all {found['members']} of them. It has no figures of its own "
        "either: most of its members have seen any of these images. Such a mean is usually at least as often "
        "right as one member, and less sure; its temperature and thresholds were chosen on the out-of-fold "
        "predictions, and so tend to the side of doubt."
    )


def validation(facts: RunFacts) -> str:
    """Which images the figures of validation are of, and why they flatter."""
    if facts.val is None or not (facts.config.recipe == "probe" or facts.came_back):
        return "The kept epoch was chosen with the validation images, so their figures flatter."
    return (
        f"Validation is here all {many(facts.val['n'], 'image')} that are not for the test, each predicted "
        "by a probe that was fitted without it; the strength was chosen with them, so their figures flatter "
        "a little."
    )


def parts_text(facts: RunFacts) -> str:
    """How many images are in which part."""
    table = facts.manifest.table
    if facts.folds:
        return f"{many(len(table), 'image')}, each predicted once in every repeat ({folds_text(facts)})"
    names = {"train": "to train", "val": "to validate", "test": "to test"}
    return ", ".join(
        f"{int((table['split'] == split).sum()):,} {names[split]}"
        for split in SPLITS
        if split in facts.manifest.splits
    )
