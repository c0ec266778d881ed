"""Classifier: weights, architecture, class names and preprocessing, ready to use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from excite.config.pixel_limit import MAX_PIXELS
from excite.data.decoding import decode, upright
from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.errors import ExciteError
from excite.evaluation.calibration import SMALLEST
from excite.inference.ensemble_network import EnsembleNetwork, MeanEnsemble
from excite.inference.predict import predict_logits, softmax
from excite.models.weights import save_tensors
from excite.runs.classifier_file import FORMAT, check_weights, load_network, read_classifier_file
from excite.runs.ensemble_weights import member_networks
from excite.runs.run import Run
from excite.system.devices import choose_device
from excite.system.files import sha256_of
from excite.system.malloc import keep_heap


@dataclass(frozen=True)
class Disagreement:
    """How far the members of an ensemble go apart on one image.

    Args:
        members: how many there are.
        disagreeing: how many of them predict another class than the ensemble.
        low, high: the least and the greatest probability that one of them gives to the ensemble's class.
    """

    members: int
    disagreeing: int
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
        abstained: whether the probability is below the classifier's ``abstain_below``.
        disagreement: between the members of an ensemble; None: it is one network's answer.
    """

    path: str
    label: str
    probability: float
    probabilities: Mapping[str, float]
    abstained: bool = False
    disagreement: Disagreement | None = None


class Classifier:
    """A trained network with all that turns a picture into a class.

    Args:
        model: the network; kept in evaluation mode.
        architecture: the arguments of ``create_model`` that rebuild it.
        classes: names, in the order of the network's outputs.
        preprocessing: how pictures become input.
        temperature: logits are divided by it before the softmax.
        abstain_below: confidence under which an answer is "not sure".
        max_pixels: images with more pixels are refused.
    """

    def __init__(
        self,
        model: nn.Module,
        architecture: Mapping[str, Any],
        classes: Sequence[str],
        preprocessing: Preprocessing,
        temperature: float = 1.0,
        abstain_below: float = 0.0,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.model = model.eval()
        self.architecture = dict(architecture)
        self.classes = tuple(classes)
        self.preprocessing = preprocessing
        self.temperature = temperature
        self.abstain_below = abstain_below
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
        keep_heap()
        run = run if isinstance(run, Run) else Run.open(run)
        facts = read_classifier_file(run)
        if "members" in facts:
            return load_ensemble(run, facts, device=device)
        check_weights(run, facts)
        model = load_network(run, facts)
        model.to(choose_device(device)).to(memory_format=torch.channels_last)
        preprocessing = Preprocessing(**facts["preprocessing"])
        return cls(
            model,
            facts["architecture"],
            facts["classes"],
            preprocessing,
            facts["temperature"],
            facts["abstain_below"],
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
                "abstain_below": self.abstain_below,
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
            found += self._answers(paths, PixelSubset(pixels))
        return found

    def logits(self, source: PixelSubset, batch_size: int = 64) -> np.ndarray:
        """(N, C) outputs of the network for preprocessed images."""
        return predict_logits(
            self.model, source, self.preprocessing, device=self.device, batch_size=batch_size
        )

    def probabilities(self, source: PixelSubset, batch_size: int = 64) -> np.ndarray:
        """(N, C) float64 probabilities of preprocessed images, calibrated."""
        return softmax(self.logits(source, batch_size) / self.temperature)

    def _answers(self, paths: Sequence[str], source: PixelSubset) -> list[Prediction]:
        return [self._answer(path, row) for path, row in zip(paths, self.probabilities(source), strict=True)]

    def _answer(self, path: str, row: np.ndarray) -> Prediction:
        best = int(row.argmax())
        named = dict(zip(self.classes, map(float, row), strict=True))
        return Prediction(
            path, self.classes[best], float(row[best]), named, abstained=bool(row[best] < self.abstain_below)
        )

    def _pixels(self, image: str | Path | Image.Image, max_pixels: int) -> np.ndarray:
        range_ = self.preprocessing.intensity_range
        if isinstance(image, Image.Image):
            return self.preprocessing.pixels(upright(image, range_))
        return self.preprocessing.pixels(decode(image, max_pixels=max_pixels, intensity_range=range_))


class Ensemble(Classifier):
    """A classifier whose probabilities are the mean of its members', at one temperature."""

    model: MeanEnsemble

    @property
    def is_ensemble(self) -> bool:
        return True

    def member_probabilities(self, source: PixelSubset, batch_size: int = 64) -> np.ndarray:
        """(N, M, C) float64: what each member says, calibrated by its own fold."""
        each = predict_logits(
            self.model.members, source, self.preprocessing, device=self.device, batch_size=batch_size
        )
        return softmax(each.reshape(-1, len(self.classes))).reshape(each.shape)

    def probabilities(self, source: PixelSubset, batch_size: int = 64) -> np.ndarray:
        """(N, C) float64 mean of the members' probabilities, calibrated. Each member's logits are averaged
        over the views of an image first, as its fold's own classifier does."""
        return _tempered(self.member_probabilities(source, batch_size).mean(axis=1), self.temperature)

    def _answers(self, paths: Sequence[str], source: PixelSubset) -> list[Prediction]:
        each = self.member_probabilities(source)
        mean = _tempered(each.mean(axis=1), self.temperature)
        # At the same temperature as the mean, or it could lie outside of what they say.
        each = _tempered(each, self.temperature)
        return [
            replace(self._answer(path, row), disagreement=_disagreement(members, int(row.argmax())))
            for path, row, members in zip(paths, mean, each, strict=True)
        ]

    def save(self, run: Run) -> None:
        """Raises: ExciteError: an ensemble is what its members' folders hold."""
        raise ExciteError("an ensemble is saved by its cross-validation", where=run.path)


def load_ensemble(run: Run, facts: Mapping[str, Any], *, device: str = "cpu") -> Ensemble:
    """The ensemble of a cross-validation.

    Args:
        facts: its ``classifier.json``.

    Raises:
        ExciteError: if a member is missing or was changed since the cross-validation ended.
    """
    members = [Run(run.path / member["run"]) for member in facts["members"]]
    known = [read_classifier_file(member) for member in members]
    for member, own, listed in zip(members, known, facts["members"], strict=True):
        check_weights(member, own)
        if own["sha256"]["model.safetensors"] != listed["sha256"] or own["classes"] != facts["classes"]:
            raise ExciteError("is not the network that the cross-validation trained", where=member.weights)
        if own["preprocessing"] != known[0]["preprocessing"]:
            raise ExciteError("prepares pictures in another way than the first member", where=member.path)
    networks = member_networks(members, known)
    temperatures = [own["temperature"] for own in known]
    model = MeanEnsemble(EnsembleNetwork(networks, temperatures, len(facts["classes"])))
    model.to(choose_device(device)).to(memory_format=torch.channels_last)
    return Ensemble(
        model,
        known[0]["architecture"],
        facts["classes"],
        Preprocessing(**known[0]["preprocessing"]),
        facts["temperature"],
        facts["abstain_below"],
        facts["max_pixels"],
    )


def _tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T) over the last axis."""
    rows = np.log(probabilities.clip(SMALLEST)).reshape(-1, probabilities.shape[-1])
    return softmax(rows / temperature).reshape(probabilities.shape)


def _disagreement(members: np.ndarray, best: int) -> Disagreement:
    """Of the probabilities (M, C) of one image."""
    disagreeing = int((members.argmax(axis=1) != best).sum())
    return Disagreement(
        len(members), disagreeing, float(members[:, best].min()), float(members[:, best].max())
    )
