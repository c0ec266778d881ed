"""Sentences about calibration, operating points, and prediction sets, shared by pages and terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from excite.evaluation.decision_rule import DecisionRule
from excite.reporting.text import many


def rule_text(label: str, threshold: float) -> str:
    """The rule of an operating point, as one sentence."""
    return (
        f"An image is predicted as {label} if its probability is at least {threshold:.4g}, and else as the "
        "most probable other class."
    )


def fold_rules_text(rule: DecisionRule) -> str:
    """The rules of the folds of a cross-validation, as one sentence."""
    low, high = float(np.min(rule.thresholds)), float(np.max(rule.thresholds))
    return (
        f"An image is predicted as {rule.label} from the threshold of its fold up ({low:.4g} to {high:.4g}), "
        "and else as the most probable other class."
    )


def point_text(chosen: Mapping[str, Any]) -> str:
    """What the choice of an operating point guarantees, as one sentence.

    Args:
        chosen: an ``OperatingPoint`` as a dictionary.
    """
    name, level = chosen["criterion"], f"{100 * chosen['level']:.3g} %"
    if chosen["reached"]:
        return (
            f"It was chosen on {many(chosen['n'], 'validation image')} so that the expected {name} on images "
            f"of new groups is at least {level}."
        )
    kind = "with" if name == "sensitivity" else "without"
    counted = many(chosen["criterion_groups"], "validation group")
    text = (
        f"It was chosen for a {name} of {level}, but {counted} {kind} this class can guarantee an expected "
    )
    text += f"{name} of only {100 * chosen['guaranteed']:.3g} % on images of new groups"
    needed = chosen["groups_needed"]
    return text + (f"; {level} takes {needed}." if needed else "; no number of groups guarantees 100 %.")


def calibration_text(calibration: Mapping[str, Any], images: str) -> str:
    """What the fitted calibration is and changes, as sentences.

    Args:
        calibration: as ``before_and_after`` returns it.
        images: which images it is measured on.
    """
    before, after = calibration["before"], calibration["after"]
    fitted = f"The temperature {calibration['temperature']:.4g}"
    shifted = any(calibration["intercept"].values())
    fitted += " and an intercept for each class were" if shifted else " was"
    changes = "they change" if shifted else "it changes"
    pairs = ((before[name]["value"], after[name]["value"]) for name in ("ece", "log_loss"))
    ece, loss = (f"from {first:.3f} to {second:.3f}" for first, second in pairs)
    text = f"{fitted} fitted on the validation images; on {images} {changes} the ECE {ece} and the log loss "
    text += f"{loss}."
    if calibration["changed"]:
        pairs = ((before[name]["value"], after[name]["value"]) for name in ("accuracy", "balanced_accuracy"))
        accuracy, balanced = (f"from {100 * first:.1f} to {100 * second:.1f} %" for first, second in pairs)
        text += (
            f" The intercepts change the predicted class of {many(calibration['changed'], 'image')}, the "
            f"accuracy {accuracy}, and the balanced accuracy {balanced}."
        )
    return text


def intercept_text(intercept: Mapping[str, float], most: int = 6) -> str:
    """The intercepts by class, the largest first; "" if there are none."""
    if not any(intercept.values()):
        return ""
    ordered = sorted(intercept.items(), key=lambda item: -abs(item[1]))
    text = ", ".join(f"{name} {value:+.3g}" for name, value in ordered[:most])
    return text + (f", and {len(ordered) - most} more" if len(ordered) > most else "")
