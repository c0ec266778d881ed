"""Classifier: a trained network with its classes, preprocessing, calibration, and thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from excite.bundle.decision import Decision
from excite.bundle.label_decision import LabelDecision
from excite.bundle.prediction import PredictionList
from excite.config.pixel_limit import MAX_PIXELS
from excite.config.task import MULTICLASS, MULTILABEL, Task
from excite.data.decoding import decode
from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.data.upright import upright
from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.calibration import Calibration, safe_log
from excite.evaluation.decision_rule import DecisionRule
from excite.evaluation.label_calibration import LabelCalibration
from excite.evaluation.label_thresholds import LabelThreshold, require_thresholds
from excite.evaluation.operating_point import OperatingPoint
from excite.evaluation.prediction_sets import PredictionSets
from excite.inference.ensemble_network import EnsembleNetwork, MeanEnsemble
from excite.inference.predict import predict_logits, softmax
from excite.models.weights import save_tensors
from excite.runs.classifier_file import FORMAT, check_weights, load_network, read_classifier_file
from excite.runs.ensemble_weights import member_networks
from excite.runs.image_inputs import ImageInput, single_images, to_image
from excite.runs.run import Run
from excite.runs.shared_classifier import open_classifier
from excite.runs.used_plugins import network_plugins
from excite.system.devices import choose_device
from excite.system.files import sha256_of
from excite.system.malloc import keep_heap
from excite.system.notebook import facts_html
from excite.system.text import printable

SHOWN_CLASSES = 8  # of a repr


class Classifier:
    """A trained network and everything that it takes to classify an image file.

    Args:
        model: the network; it is put into evaluation mode.
        architecture: the arguments of ``create_model`` that build the network.
        classes: names of the classes, or of the labels, in the order of the network's outputs.
        preprocessing: how images become input.
        calibration: makes probabilities of the logits; None: softmax, or of several labels the sigmoid.
        abstain_below: images whose highest probability is lower are marked as abstained; None: none is.
        max_pixels: images with more pixels are refused.
        sets: the prediction sets, from validation images; None: it has none.
        operating_point: images are predicted as its class from its threshold up; None: the most probable
            class is predicted.
        label_thresholds: the threshold of each label, where an image may have several; None: it has one
            class.

    Raises:
        ExciteError: for a network that takes images with one channel: images are read with three.

    Example:
        >>> from PIL import Image
        >>> from excite.models.catalog import create_model
        >>> model = create_model("cifar_resnet20", num_classes=2)
        >>> classifier = Classifier(model, {}, ("cat", "dog"), Preprocessing(32))
        >>> [prediction] = classifier.predict(Image.new("RGB", (40, 30)))
        >>> sorted(prediction.probabilities)
        ['cat', 'dog']
        >>> round(sum(prediction.probabilities.values()), 6)
        1.0
    """

    def __init__(
        self,
        model: nn.Module,
        architecture: Mapping[str, Any],
        classes: Sequence[str],
        preprocessing: Preprocessing,
        calibration: Calibration | LabelCalibration | None = None,
        abstain_below: float | None = None,
        max_pixels: int = MAX_PIXELS,
        sets: PredictionSets | None = None,
        operating_point: OperatingPoint | None = None,
        label_thresholds: tuple[LabelThreshold, ...] | None = None,
    ) -> None:
        first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
        if first is not None and first.in_channels == 1:
            what = "the network takes images with 1 channel; a classifier reads images with 3"
            raise ExciteError(what, hint="build it with in_chans=3", exit_code=BAD_USAGE)
        self.model = model.eval()
        self.architecture = dict(architecture)
        self.classes = tuple(classes)
        self.preprocessing = preprocessing
        self.label_thresholds = label_thresholds
        if label_thresholds is not None:
            require_thresholds(label_thresholds, self.classes)
        identity = Calibration if label_thresholds is None else LabelCalibration
        self.calibration = calibration or identity.identity(len(self.classes))
        self.abstain_below = abstain_below
        self.max_pixels = max_pixels
        self.sets = sets
        self.operating_point = operating_point

    def __repr__(self) -> str:
        title, facts = self._facts()
        return "\n".join([title, *(f"  {name:<11}  {text}" for name, text in facts)])

    def _repr_html_(self) -> str:
        return facts_html(*self._facts())

    def _facts(self) -> tuple[str, list[tuple[str, str]]]:
        """A title, and names with their values."""
        names = ", ".join(map(printable, self.classes[:SHOWN_CLASSES]))
        names += ", ..." if len(self.classes) > SHOWN_CLASSES else ""
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        size, network = (
            self.preprocessing.image_size,
            self.architecture.get("name", type(self.model).__name__),
        )
        facts = [
            ("network", f"{network}, {parameters:,} parameters, {self.device}"),
            ("input", f"{size} x {size} pixels, resize mode {self.preprocessing.resize_mode}"),
        ]
        if isinstance(self.calibration, Calibration):
            facts.append(("temperature", f"{self.calibration.temperature:.3g}"))
        if self.label_thresholds is not None:
            limits = [each.threshold for each in self.label_thresholds]
            facts.append(("predicts", f"labels from {min(limits):.3g} to {max(limits):.3g}"))
        if self.operating_point is not None:
            label, threshold = self.operating_point.label, self.operating_point.threshold
            facts.append(("predicts", f"{label} from a probability of {threshold:.3g}"))
        if self.abstain_below is not None:
            facts.append(("abstains", f"below a probability of {self.abstain_below:.3g}"))
        return f"{type(self).__name__} of {len(self.classes)} {self.noun}: {names}", facts

    @property
    def task(self) -> Task:
        """Whether an image has exactly one class, or any number of labels."""
        return MULTICLASS if self.label_thresholds is None else MULTILABEL

    @property
    def noun(self) -> str:
        """What the outputs are: classes or labels."""
        return "classes" if self.task == MULTICLASS else "labels"

    @property
    def is_ensemble(self) -> bool:
        """Whether predictions are the mean of several networks, and have a ``disagreement``."""
        return False

    @property
    def rule(self) -> DecisionRule | None:
        """The threshold of the positive class; None: the most probable class is predicted."""
        return None if self.operating_point is None else self.operating_point.rule

    @property
    def decision(self) -> Decision | LabelDecision:
        """From probabilities to predictions, as in an exported file."""
        if self.label_thresholds is not None:
            return LabelDecision(tuple(each.threshold for each in self.label_thresholds))
        return Decision(self.abstain_below, self.rule, self.sets)

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.model.parameters()).device

    @classmethod
    def load(cls, run: str | Path | Run, *, device: str = "cpu") -> Classifier:
        """The classifier of a run; for a cross-validation, the ensemble of the networks of its folds.

        Args:
            run: a finished run, or its folder; a folder that ``excite export --format hub`` wrote, or
                ``hub:owner/name`` for such a folder on the Hugging Face hub.
            device: cpu, cuda, mps, or auto.

        Raises:
            ExciteError: if the run is not finished, or its files are damaged or have changed.
        """
        keep_heap()
        run = run if isinstance(run, Run) else open_classifier(run)
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
            calibration_of(facts),
            facts["abstain_below"],
            facts["max_pixels"],
            _sets_of(facts),
            _point_of(facts),
            _label_thresholds_of(facts),
        )

    def save(self, run: Run, *, identity_gates: bool | None = None) -> None:
        """Write ``model.safetensors`` and ``classifier.json``.

        Args:
            identity_gates: whether every gate of the network is one, so that its attention has no effect.
        """
        save_tensors(run.weights, self.model.state_dict())
        files = (run.weights, run.path / "manifest.csv")
        run.write_json(
            "classifier.json",
            {
                "format": FORMAT,
                "architecture": self.architecture,
                "plugins": network_plugins(self.architecture),
                "identity_gates": identity_gates,
                "classes": list(self.classes),
                "preprocessing": self.preprocessing.to_dict(),
                "calibration": self.calibration.to_dict(),
                "abstain_below": self.abstain_below,
                "operating_point": None if self.operating_point is None else asdict(self.operating_point),
                "max_pixels": self.max_pixels,
                "prediction_sets": None if self.sets is None else self.sets.to_dict(),
                **self._label_facts(),
                "sha256": {path.name: sha256_of(path) for path in files},
            },
        )

    def _label_facts(self) -> dict[str, Any]:
        """What ``classifier.json`` holds in addition of a classifier of several labels."""
        if self.label_thresholds is None:
            return {}
        return {"task": self.task, "label_thresholds": [each.to_dict() for each in self.label_thresholds]}

    def predict(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        batch_size: int = 64,
        max_pixels: int | None = None,
        set_level: float | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> PredictionList:
        """Predictions for images from files, folders, and memory, in order.

        Args:
            images: a path, a folder, a PIL image, an array (channels last), a tensor (channels first), or
                several of them; see ``excite.runs.image_inputs.single_images``. Pixels are uint8, or
                floating-point numbers between 0 and 1.
            batch_size: images per forward pass.
            max_pixels: images with more pixels are refused; None: the limit of the training.
            set_level: also predict the set of classes that holds the true class of this fraction of images,
                in (0, 1); None: no set.
            progress: called with (images done, images).

        Raises:
            ExciteError: for a file that cannot be decoded, pixels that are no image, and a level that takes
                more validation groups.
        """
        if set_level is not None:
            self.check_set_level(set_level)  # before anything is decoded
        limit = self.max_pixels if max_pixels is None else max_pixels
        items = single_images(images)
        predictions = PredictionList()
        for start in range(0, len(items), batch_size):
            batch = items[start : start + batch_size]
            pixels = np.stack([self.pixels_of(image, limit) for image in batch])
            paths = [str(image) if isinstance(image, str | Path) else "" for image in batch]
            predictions += self._predictions(paths, PixelSubset(pixels), set_level)
            if progress is not None:
                progress(len(predictions), len(items))
        return predictions

    def check_set_level(self, level: float) -> None:
        """Raises: ExciteError if prediction sets with this level take more validation groups."""
        self.decision.check_set_level(level)

    def logits(self, source: PixelSubset, batch_size: int = 64) -> np.ndarray:
        """(N, C) float32 logits of preprocessed images."""
        return predict_logits(
            self.model, source, self.preprocessing, device=self.device, batch_size=batch_size
        )

    def probabilities(self, source: PixelSubset, batch_size: int = 64) -> np.ndarray:
        """(N, C) float64 calibrated probabilities of preprocessed images."""
        return self.calibration.probabilities(self.logits(source, batch_size))

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """(N,) the number of the predicted class for calibrated probabilities (N, C).

        Of several labels (N, L), whether each is predicted.
        """
        return self.decision.decide(probabilities, self.classes)

    def _predictions(
        self, paths: Sequence[str], source: PixelSubset, set_level: float | None
    ) -> PredictionList:
        rows = self.probabilities(source)
        return self.decision.predictions(paths, rows, self.classes, set_level=set_level)

    def pixels_of(self, image: ImageInput, max_pixels: int | None = None) -> np.ndarray:
        """One image as the network receives it before normalization: (S, S, 3) uint8.

        Args:
            image: a file, a PIL image, an array, or a tensor.
            max_pixels: images with more pixels are refused; None: the limit of the training.

        Raises:
            ExciteError: for a file that cannot be decoded, and pixels that are no image.
        """
        max_pixels = self.max_pixels if max_pixels is None else max_pixels
        range_ = self.preprocessing.intensity_range
        if isinstance(image, np.ndarray | torch.Tensor):
            image = to_image(image, deep=range_ is not None)
        if isinstance(image, Image.Image):
            return self.preprocessing.pixels(upright(image, range_))
        return self.preprocessing.pixels(decode(image, max_pixels=max_pixels, intensity_range=range_))


class Ensemble(Classifier):
    """A classifier whose probabilities are the mean over several networks, with one calibration."""

    model: MeanEnsemble

    @property
    def is_ensemble(self) -> bool:
        return True

    def member_probabilities(self, source: PixelSubset, batch_size: int = 64) -> np.ndarray:
        """(N, M, C) float64 probabilities of each member, with the calibration of its own fold."""
        each = predict_logits(
            self.model.members, source, self.preprocessing, device=self.device, batch_size=batch_size
        )
        return softmax(each.reshape(-1, len(self.classes))).reshape(each.shape)

    def probabilities(self, source: PixelSubset, batch_size: int = 64) -> np.ndarray:
        """(N, C) float64 mean of the members' probabilities, calibrated."""
        mean = self.member_probabilities(source, batch_size).mean(axis=1)
        return self.calibration.probabilities(safe_log(mean))

    def _predictions(
        self, paths: Sequence[str], source: PixelSubset, set_level: float | None
    ) -> PredictionList:
        each = self.member_probabilities(source)
        mean = self.calibration.probabilities(safe_log(each.mean(axis=1)))
        # With the calibration of the mean, which could otherwise lie outside the range of the members.
        members = self.calibration.probabilities(safe_log(each))
        return self.decision.predictions(paths, mean, self.classes, members=members, set_level=set_level)

    def save(self, run: Run, *, identity_gates: bool | None = None) -> None:
        """Raises: ExciteError: an ensemble consists of the runs of its members."""
        raise ExciteError("an ensemble is saved as the runs of its members", where=run.path)


def load_ensemble(run: Run, facts: Mapping[str, Any], *, device: str = "cpu") -> Ensemble:
    """The ensemble of a cross-validation.

    Args:
        run: the cross-validation.
        facts: its ``classifier.json``.
        device: cpu, cuda, mps, or auto.

    Raises:
        ExciteError: if a member is missing or has changed since the cross-validation ended.
    """
    members = [Run(run.path / member["run"]) for member in facts["members"]]
    known = [read_classifier_file(member) for member in members]
    for member, own, listed in zip(members, known, facts["members"], strict=True):
        check_weights(member, own)
        if own["sha256"]["model.safetensors"] != listed["sha256"] or own["classes"] != facts["classes"]:
            raise ExciteError("is not the network that the cross-validation trained", where=member.weights)
        if own["preprocessing"] != known[0]["preprocessing"]:
            raise ExciteError("its preprocessing differs from the first member's", where=member.path)
    networks = member_networks(members, known)
    each = [Calibration.from_dict(own["calibration"]) for own in known]
    temperatures, intercepts = [one.temperature for one in each], [one.intercept for one in each]
    model = MeanEnsemble(EnsembleNetwork(networks, temperatures, intercepts))
    model.to(choose_device(device)).to(memory_format=torch.channels_last)
    return Ensemble(
        model,
        known[0]["architecture"],
        facts["classes"],
        Preprocessing(**known[0]["preprocessing"]),
        Calibration.from_dict(facts["calibration"]),
        facts["abstain_below"],
        facts["max_pixels"],
        _sets_of(facts),
        _point_of(facts),
    )


def _sets_of(facts: Mapping[str, Any]) -> PredictionSets | None:
    sets = facts["prediction_sets"]
    return None if sets is None else PredictionSets.from_dict(sets)


def _point_of(facts: Mapping[str, Any]) -> OperatingPoint | None:
    point = facts["operating_point"]
    return None if point is None else OperatingPoint(**point)


def calibration_of(facts: Mapping[str, Any]) -> Calibration | LabelCalibration:
    """The calibration in a ``classifier.json``."""
    kind = Calibration if facts.get("task", MULTICLASS) == MULTICLASS else LabelCalibration
    return kind.from_dict(facts["calibration"])


def _label_thresholds_of(facts: Mapping[str, Any]) -> tuple[LabelThreshold, ...] | None:
    thresholds = facts.get("label_thresholds")
    return None if thresholds is None else tuple(map(LabelThreshold.from_dict, thresholds))
