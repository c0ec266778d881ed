"""Classifier: weights, architecture, class names and preprocessing, ready to use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from excite.data.decoding import decode, upright
from excite.data.loading import PixelSource
from excite.data.pixel_limit import MAX_PIXELS
from excite.data.preprocessing import Preprocessing
from excite.errors import ExciteError
from excite.files import sha256_of
from excite.models.catalogue import create_model
from excite.models.weights import load_weights
from excite.runs.run import Run
from excite.training.checkpoint import save_tensors
from excite.training.inference import predict_logits
from excite.training.memory import keep_memory
from excite.training.precision import choose_device

FORMAT = 3  # of classifier.json


@dataclass(frozen=True)
class Disagreement:
    """How far the members of an ensemble go apart on one image.

    Args:
        members: how many there are.
        against: how many of them say another class than the ensemble.
        low, high: the least and the greatest probability that one of them gives to the ensemble's class.
    """

    members: int
    against: int
    low: float
    high: float


@dataclass(frozen=True)
class Prediction:
    """What the classifier says of one image.

    Args:
        path: of the image; empty for a picture from memory.
        label: the most probable class.
        probability: its probability.
        probabilities: of every class, by name.
        sure: whether the probability reaches the confidence that the classifier was trained to ask for.
        disagreement: between the members of an ensemble; None: it is one network's answer.
    """

    path: str
    label: str
    probability: float
    probabilities: Mapping[str, float]
    sure: bool = True
    disagreement: Disagreement | None = None


class Classifier:
    """A trained network with all that turns a picture into a class.

    Args:
        model: the network; kept in evaluation mode.
        architecture: the arguments of ``create_model`` that rebuild it.
        classes: names, in the order of the network's outputs.
        preprocessing: how pictures become input.
        temperature: logits are divided by it before the softmax.
        not_sure_below: confidence under which an answer is "not sure".
        max_pixels: images with more pixels are refused.
    """

    def __init__(
        self,
        model: nn.Module,
        architecture: Mapping[str, Any],
        classes: Sequence[str],
        preprocessing: Preprocessing,
        temperature: float = 1.0,
        not_sure_below: float = 0.0,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.model = model.eval()
        self.architecture = dict(architecture)
        self.classes = tuple(classes)
        self.preprocessing = preprocessing
        self.temperature = temperature
        self.not_sure_below = not_sure_below
        self.max_pixels = max_pixels

    @property
    def is_ensemble(self) -> bool:
        """Whether several networks answer together; then predictions say how far they go apart."""
        return False

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @classmethod
    def load(cls, run: str | Path | Run, *, device: str = "cpu") -> Classifier:
        """The classifier of a run; of a cross-validation the ensemble of its folds' networks.

        Raises: ExciteError if the run is not finished, damaged, or was changed since it was written.
        """
        keep_memory()
        run = run if isinstance(run, Run) else Run.open(run)
        facts = read_facts(run)
        if "members" in facts:
            from excite.runs.ensemble import load_ensemble

            return load_ensemble(run, facts, device=device)
        check_weights(run, facts)
        model = network_of(run, facts)
        model.to(choose_device(device)).to(memory_format=torch.channels_last)
        preprocessing = Preprocessing(**facts["preprocessing"])
        return cls(
            model,
            facts["architecture"],
            facts["classes"],
            preprocessing,
            facts["temperature"],
            facts["not_sure_below"],
            facts["max_pixels"],
        )

    def save(self, run: Run) -> None:
        """Write ``model.safetensors`` and ``classifier.json``."""
        save_tensors(run.weights, self.model.state_dict())
        files = (run.weights, run.path / "manifest.csv")
        run.write_json(
            "classifier.json",
            {
                "format": FORMAT,
                "architecture": self.architecture,
                "classes": list(self.classes),
                "preprocessing": self.preprocessing.to_dict(),
                "temperature": self.temperature,
                "not_sure_below": self.not_sure_below,
                "max_pixels": self.max_pixels,
                "sha256": {path.name: sha256_of(path) for path in files},
            },
        )

    def predict(
        self,
        images: str | Path | Image.Image | Iterable[str | Path | Image.Image],
        *,
        batch_size: int = 64,
        max_pixels: int | None = None,
    ) -> list[Prediction]:
        """Predictions for one or more files or PIL images, in order.

        Args:
            max_pixels: larger images are refused; None: those that the training refused.

        Raises: ExciteError for a file that cannot be decoded.
        """
        limit = self.max_pixels if max_pixels is None else max_pixels
        several = [images] if isinstance(images, str | Path | Image.Image) else list(images)
        found: list[Prediction] = []
        for start in range(0, len(several), batch_size):
            batch = several[start : start + batch_size]
            pixels = np.stack([self._pixels(image, limit) for image in batch])
            paths = ["" if isinstance(image, Image.Image) else str(image) for image in batch]
            found += self._answers(paths, PixelSource(pixels))
        return found

    def logits(self, source: PixelSource, batch_size: int = 64) -> np.ndarray:
        """(N, C) outputs of the network for preprocessed images."""
        return predict_logits(
            self.model, source, self.preprocessing, device=self.device, batch_size=batch_size
        )

    def probabilities(self, source: PixelSource, batch_size: int = 64) -> np.ndarray:
        """(N, C) float64 probabilities of preprocessed images, calibrated."""
        return softmax(self.logits(source, batch_size) / self.temperature)

    def _answers(self, paths: Sequence[str], source: PixelSource) -> list[Prediction]:
        return [self._answer(path, row) for path, row in zip(paths, self.probabilities(source), strict=True)]

    def _answer(self, path: str, row: np.ndarray) -> Prediction:
        best = int(row.argmax())
        named = dict(zip(self.classes, map(float, row), strict=True))
        return Prediction(
            path, self.classes[best], float(row[best]), named, sure=bool(row[best] >= self.not_sure_below)
        )

    def _pixels(self, image: str | Path | Image.Image, max_pixels: int) -> np.ndarray:
        range_ = self.preprocessing.intensity_range
        if isinstance(image, Image.Image):
            return self.preprocessing.pixels(upright(image, range_))
        return self.preprocessing.pixels(decode(image, max_pixels=max_pixels, intensity_range=range_))


def read_facts(run: Run) -> dict[str, Any]:
    """``classifier.json`` of a run. Raises: ExciteError if it is not there, damaged, or of another format."""
    facts = run.read_json("classifier.json")
    if facts.get("format") != FORMAT:
        raise ExciteError(
            f"has format {facts.get('format')}; this excite reads {FORMAT}",
            where=run.path / "classifier.json",
        )
    return facts


def check_weights(run: Run, facts: Mapping[str, Any]) -> None:
    """Raises: ExciteError if the run's weights are not those that ``classifier.json`` was written with."""
    if not run.weights.is_file() or sha256_of(run.weights) != facts["sha256"]["model.safetensors"]:
        raise ExciteError("is missing or not the file that the training wrote", where=run.weights)


def network_of(run: Run, facts: Mapping[str, Any]) -> nn.Module:
    """The network of a run with its weights. Raises: ExciteError if they do not fit."""
    model = create_model(**facts["architecture"])
    report = load_weights(model, run.weights)
    if not report.complete or report.unexpected:
        raise ExciteError(f"does not fit the network: {report}", where=run.weights)
    return model


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows (N, C) of logits as probabilities, in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
