"""What an evaluation page says before its metrics, and images that were seen in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from excite.config.task import MULTILABEL
from excite.data.labels import PRESENT, label_texts
from excite.evaluation.label_predictions import LabelPredictions
from excite.evaluation.predictions import Predictions
from excite.reporting.html import common_folder, thumbnail
from excite.reporting.sentences import BAD, FEW_GROUPS, WARN, Statement
from excite.reporting.tables import interval_text, number_text
from excite.reporting.text import many
from excite.runs.evaluate import Evaluation
from excite.runs.training_overlap import SeenImage

MOST_SEEN = 200
"""Maximum number of images shown beside their counterparts: at 15 kB per thumbnail, up to 6 MB."""


def remarks(metrics: Mapping[str, Any], some_unseen: bool) -> list[Statement]:
    """What a reader must know before the metrics."""
    statements = []
    n = metrics["n"]
    if seen := metrics.get("seen_in_training"):
        text = (
            f"{seen:,} of {many(n, 'image')} {'was' if seen == 1 else 'were'} seen in training; the metrics "
        )
        text += "are optimistic. "
        if selected := metrics.get("seen_in_selection"):
            text += f"The network was not fitted to {selected:,} of them, which only selected the epoch, the "
            text += "calibration, and the thresholds. "
        if some_unseen:
            rest = metrics["without_seen"]
            is_labels = rest.get("task") == MULTILABEL
            name, words = ("auroc", "mean AUROC") if is_labels else ("accuracy", "accuracy")
            figure = rest["macro"][name] if is_labels else rest[name]
            bounds = interval_text(name, figure)
            text += f"Without them the {words} is {number_text(name, figure['value'])}"
            text += f" ({bounds})" if bounds else ""
            text += f" on {many(rest['n'], 'image')} of {many(rest['groups'], 'group')}."
        else:
            text += "There are no other images to evaluate on."
        statements.append(Statement(text, BAD))
    if known := metrics.get("known_patients"):
        text = f"{known:,} of {many(n, 'image')} {'shows a patient' if known == 1 else 'show patients'} "
        statements.append(
            Statement(text + "that the classifier was trained on; the metrics are optimistic.", BAD)
        )
    if copies := metrics.get("duplicates_in_train"):
        text = f"{copies:,} of {many(n, 'image')} {'has' if copies == 1 else 'have'} a near-duplicate in the "
        statements.append(Statement(text + "training set; the metrics are optimistic.", BAD))
    if metrics.get("grouped_by") == "image":
        text = "Each image is its own group, because no groups were defined. If several images show the same "
        statements.append(Statement(text + "patient or object, the intervals are too narrow.", WARN))
    if metrics["groups"] < FEW_GROUPS:
        text = f"There {'is' if metrics['groups'] == 1 else 'are'} only {many(metrics['groups'], 'group')}: "
        statements.append(Statement(text + "intervals are wide and may be too narrow.", WARN))
    return statements


def seen_view(result: Evaluation, max_pixels: int, thumbnails: bool) -> dict[str, Any]:
    """Each seen image beside its counterpart, the least certain first, as these need review."""
    order = sorted(result.seen, key=lambda image: (image.confidence, image.row))[:MOST_SEEN]
    roots = [common_folder([getattr(image, name) for image in order]) for name in ("path", "counterpart")]
    cards = []
    for image in order:
        label, predicted = shown_labels(result.predictions, image)
        cards.append(
            {
                "kind": image.kind,
                "evidence": image.evidence,
                "percent": int(100 * image.confidence + 1e-9),  # rounded down: only certainty is 100 %
                "label": label,
                "predicted": predicted,
                "use": image.use,
                "images": [
                    _image(path, root, max_pixels, thumbnails)
                    for path, root in zip((image.path, image.counterpart), roots, strict=True)
                ],
            }
        )
    return {
        "count": len(result.seen),
        "cards": cards,
        "left": len(result.seen) - len(cards),
        "pictures": thumbnails,
    }


def _image(path: str, root: str, max_pixels: int, thumbnails: bool) -> dict[str, Any]:
    source = thumbnail(path, max_pixels) if thumbnails else ""
    small = source.startswith("data:image/png")
    return {"path": path, "name": path.removeprefix(root), "source": source, "small": small}


def shown_labels(predictions: Predictions | LabelPredictions, image: SeenImage) -> tuple[str, str]:
    """The label of an image and the class that is predicted for it, or the text of several of each."""
    row, names = image.row, predictions.classes
    if isinstance(predictions, LabelPredictions):
        present, chosen = predictions.targets[[row]] == PRESENT, predictions.predicted[[row]]
        return label_texts(present, names)[0] or "none", label_texts(chosen, names)[0] or "none"
    return names[predictions.targets[row]], names[predictions.predicted[row]]
