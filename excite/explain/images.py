"""Explanations of single images: the answer, its evidence, and whether the evidence adds up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import logit
from torch import Tensor

from excite.config.task import MULTILABEL
from excite.data.batches import evaluation_batches
from excite.data.labels import label_texts
from excite.data.sources import PixelSubset
from excite.errors import unknown_name
from excite.explain.evidence import Evidence, EvidenceModel
from excite.runs.classifier import Classifier
from excite.runs.image_inputs import ImageInput, single_images

BATCH = 16


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a classifier gives one answer.

    Args:
        path: of the image; "" for one from memory.
        label: the explained class: the predicted one, or the one that was asked for; of several labels, the
            one whose probability is furthest above, or least below, its threshold.
        probability: of it.
        runner_up: the most probable other class.
        predicted: the predicted class, or the text of the predicted labels.
        map: (h, w) evidence for ``label``, in units of calibrated logits; negative where it speaks against.
        margin_map: (h, w) evidence for ``label`` minus that for ``runner_up``.
        bias, margin_bias: the part of the logit, and of the margin, without a position.
        logit, margin: the calibrated logit of ``label``, and minus that of ``runner_up``.
        gap: largest distance between sum plus bias and the logit or margin.
        adds_up: whether the gap is at most 1e-4, relative to the logits if they exceed 1; otherwise the map
            is an approximation.
    """

    path: str
    label: str
    probability: float
    runner_up: str
    predicted: str
    map: np.ndarray
    margin_map: np.ndarray
    bias: float
    margin_bias: float
    logit: float
    margin: float
    gap: float
    adds_up: bool

    def to_dict(self) -> dict[str, Any]:
        """As in ``explanation.json``."""
        values = {name: value for name, value in vars(self).items() if not isinstance(value, np.ndarray)}
        rounded = {name: _rounded(getattr(self, name)) for name in ("map", "margin_map")}
        return values | rounded

    @property
    def check(self) -> str:
        """Whether the map adds up, in one sentence."""
        total = float(self.map.sum()) + self.bias
        if self.adds_up:
            parts = f"{self.map.sum():.3f} + {self.bias:.3f} (bias) = {self.logit:.3f}"
            return f"The evidence adds up: {parts}, the logit."
        return (
            f"Approximate: the evidence and the bias add up to {total:.3f}, the logit is {self.logit:.3f}; "
            f"the gap is {self.gap:.2g}."
        )


class Explainer:
    """Explains images with one classifier.

    Args:
        classifier: it does not change.
        label: the class to explain for every image; None: the predicted class of each.

    Raises:
        ExciteError: for an unknown class.
    """

    def __init__(self, classifier: Classifier, label: str | None = None) -> None:
        if label is not None and label not in classifier.classes:
            raise unknown_name("class", label, classifier.classes, where="explain")
        self.classifier, self.label = classifier, label
        self.evidence_model = EvidenceModel(classifier)

    def explain(
        self,
        pixels: np.ndarray,
        paths: Sequence[str],
        progress: Callable[[int, int], object] | None = None,
    ) -> list[Explanation]:
        """Explanations of preprocessed pixels (N, S, S, 3) uint8 with their paths."""
        found: list[Explanation] = []
        probabilities = (
            self.classifier.probabilities(PixelSubset(pixels)) if len(pixels) else np.empty((0, 1))
        )
        start = 0
        for images in self.batches(pixels):
            rows = slice(start, start + len(images))
            found += self._explain(images, probabilities[rows], paths[rows])
            start += len(images)
            if progress is not None:
                progress(start, len(pixels))
        return found

    def batches(self, pixels: np.ndarray) -> Iterable[Tensor]:
        """Normalized images (N, 3, S, S)."""
        device = self.classifier.device
        return evaluation_batches(PixelSubset(pixels), self.classifier.preprocessing, BATCH, device)

    def _explain(self, images: Tensor, probabilities: np.ndarray, paths: Sequence[str]) -> list[Explanation]:
        names = self.classifier.classes
        likely, predicted = self._decide(probabilities)
        labels = likely if self.label is None else np.full(len(images), names.index(self.label))
        others = probabilities.copy()
        others[np.arange(len(others)), labels] = -1
        seconds = others.argmax(axis=1)
        evidence = self.evidence_model(images, torch.from_numpy(np.stack([labels, seconds], axis=1)))
        margin = evidence.margin()
        # From the probabilities, which another code computes; a constant of all logits cancels.
        logs = np.log(np.maximum(probabilities, 1e-300))
        if self.classifier.task == MULTILABEL:
            logs = logit(probabilities)
        margins = logs[np.arange(len(logs)), labels] - logs[np.arange(len(logs)), seconds]
        return [
            Explanation(
                path,
                names[labels[n]],
                float(probabilities[n, labels[n]]),
                names[seconds[n]],
                predicted[n],
                evidence.maps[n, 0].numpy(),
                margin.maps[n, 0].numpy(),
                float(evidence.bias[n, 0]),
                float(margin.bias[n, 0]),
                float(evidence.logits[n, 0]),
                float(margins[n]),
                *_gap(evidence, margin, n, float(margins[n])),
            )
            for n, path in enumerate(paths)
        ]

    def _decide(self, probabilities: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """(N,) the class to explain, and what is predicted, as text.

        Of several labels, the one whose probability is furthest above, or least below, its threshold.
        """
        names, chosen = self.classifier.classes, self.classifier.decide(probabilities)
        limits = self.classifier.label_thresholds
        if limits is None:
            return chosen, [names[number] for number in chosen.tolist()]
        above = probabilities - np.array([each.threshold for each in limits])
        return above.argmax(axis=1), [text or "none" for text in label_texts(chosen, names)]


def _gap(evidence: Evidence, margin: Evidence, n: int, expected: float) -> tuple[float, bool]:
    """The largest gap of image n in its logits and its margin, and whether it is small."""
    total = float(margin.maps[n].sum() + margin.bias[n, 0])
    gap = max(float(evidence.gap[n].max()), abs(total - expected))
    scale = max(1.0, float(evidence.logits[n].abs().max()), abs(expected))
    return gap, gap <= 1e-4 * scale


def explain_images(
    classifier: Classifier,
    images: ImageInput | Iterable[ImageInput],
    *,
    label: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[Explanation]:
    """Explanations of images from files, folders, and memory, as ``Classifier.predict`` reads them.

    Args:
        classifier: it does not change.
        images: a path, a folder, a PIL image, an array (channels last), a tensor (channels first), or
            several of them.
        label: the class to explain; None: the predicted one.
        progress: called with (images done, images).

    Raises:
        ExciteError: for a file that cannot be decoded, pixels that are no image, and an unknown class.
    """
    explainer = Explainer(classifier, label)
    items = single_images(images)
    pixels = [classifier.pixels_of(image) for image in items]
    side = classifier.preprocessing.image_size
    table = np.stack(pixels) if pixels else np.empty((0, side, side, 3), dtype=np.uint8)
    paths = [str(image) if isinstance(image, str | Path) else "" for image in items]
    return explainer.explain(table, paths, progress)


def _rounded(values: np.ndarray) -> list[list[float]]:
    return [[round(float(value), 6) for value in row] for row in values]
