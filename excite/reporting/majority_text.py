"""The accuracy of always predicting the most frequent class, beside that of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from excite.config.train_config import TrainConfig
from excite.system.text import command_line

CHANCE = 0.5  # AUROC


def majority_text(metrics: Mapping[str, Any]) -> str:
    """The accuracy of always predicting the most frequent class, as one sentence.

    Args:
        metrics: as ``measure`` returns them.
    """
    largest = metrics["majority_class"]
    return f"Always predicting {largest['label']!r} would reach {100 * largest['fraction']:.1f} % accuracy."


def is_hardly_better(metrics: Mapping[str, Any]) -> bool:
    """Whether the interval of the accuracy contains that of always predicting the most frequent class.

    Without an interval, whether the accuracy is not higher. False where there is one class only.
    """
    accuracy, fraction = metrics["accuracy"], metrics["majority_class"]["fraction"]
    if accuracy["value"] is None or fraction == 1:
        return False
    low = accuracy.get("low")
    return bool((accuracy["value"] if low is None else low) <= fraction)


def hardly_better(metrics: Mapping[str, Any], config: TrainConfig, data: str) -> str:
    """That a run is hardly better than the most frequent class, and what may help; "" if it is better.

    With an operating point, accuracy was given up for the sensitivity or the specificity that was asked for;
    then the AUROC is compared with chance.

    Args:
        metrics: of the test images.
        config: resolved options of the run.
        data: what the run was trained on.
    """
    text = "The test images do not show that the classifier is better than "
    if config.positive is not None:
        area = metrics["auroc"]
        if area["value"] is None or (area.get("low") or area["value"]) > CHANCE:
            return ""
        text += "chance (AUROC)"
    elif is_hardly_better(metrics):
        text += f"always predicting {metrics['majority_class']['label']!r}"
    else:
        return ""
    if config.recipe != "scratch":
        return f"{text}."
    command = command_line("excite", "train", data, "--pretrained")
    return f"{text}. A linear probe on trained weights needs fewer images: {command}"
