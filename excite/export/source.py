"""What is exported: a classifier, its graph, and everything else that goes into a bundle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from typing import Any

import numpy as np

from excite.bundle.format import BundleInfo
from excite.bundle.vectors import TestVector, example_images
from excite.config.task import MULTILABEL
from excite.data.decoding import decode
from excite.data.sources import PixelSubset
from excite.errors import ExciteError
from excite.evaluation.label_predictions import read_label_predictions
from excite.evaluation.predictions import read_predictions
from excite.export.graph import Prepared, build_graph
from excite.models.packaged_weights import find_packaged
from excite.runs.classifier import Classifier, Ensemble
from excite.runs.classifier_file import read_classifier_file
from excite.runs.run import Run
from excite.version import __version__

LIBRARIES = (
    "torch",
    "timm",
    "torchvision",
    "numpy",
    "Pillow",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
)


@dataclass(frozen=True)
class Source:
    """A classifier to export.

    Args:
        run: the run.
        classifier: its classifier, on the CPU.
        license: of the weights; empty: not stated.
    """

    run: Run
    classifier: Classifier
    license: str = ""
    shared: dict[str, Any] = field(default_factory=dict)  # what several formats use, computed once

    @cached_property
    def prepared(self) -> Prepared:
        """The graph."""
        return build_graph(self.classifier)

    @cached_property
    def info(self) -> BundleInfo:
        """Everything in a bundle but the network."""
        classifier = self.classifier
        return BundleInfo(
            name=self.run.path.resolve().name,
            classes=classifier.classes,
            preprocessing=classifier.preprocessing,
            max_pixels=classifier.max_pixels,
            decision=classifier.decision,
            calibration=classifier.calibration.to_dict(),
            evidence_bias=self.prepared.graph.evidence_bias,
            members=_members(classifier),
            license=self.license or _license_of_weights(self.run),
            sha256=weight_hashes(self.run),
            made_with=_versions(),
            metrics=_metrics(self.run),
            reference=_reference(self.run, classifier),
            vectors=tuple(vector.to_dict() for vector in make_vectors(classifier)),
        )


def make_vectors(classifier: Classifier) -> list[TestVector]:
    """Drawn images with the pixels and probabilities that the classifier gives."""
    preprocessing = classifier.preprocessing
    images = example_images()
    pixels = np.stack([preprocessing.pixels(decode(image)) for image in images])
    probabilities = classifier.probabilities(PixelSubset(pixels))
    return [TestVector(*each) for each in zip(images, pixels, probabilities, strict=True)]


def _members(classifier: Classifier) -> int:
    return len(classifier.model.members.temperatures) if isinstance(classifier, Ensemble) else 0


def weight_hashes(run: Run) -> dict[str, str]:
    """SHA-256 of the weights and the manifest; for an ensemble, of the weights of each member."""
    facts = read_classifier_file(run)
    if "members" in facts:
        return {f"{member['run']}/model.safetensors": member["sha256"] for member in facts["members"]}
    return dict(facts["sha256"])


def _metrics(run: Run) -> dict[str, Any]:
    """Metrics of the test images with their intervals, and the number of images and groups."""
    try:
        figures: Mapping[str, Any] = run.metrics.get("test", {})
    except ExciteError:  # an exported folder, without the metrics of its run
        return {}
    counts = {name: figures[name] for name in ("n", "groups") if name in figures}
    if "macro" in figures:  # of several labels
        figures = figures["macro"]
    values = {
        name: {key: each.get(key) for key in ("value", "low", "high")}
        for name, each in figures.items()
        if isinstance(each, Mapping) and isinstance(each.get("value"), int | float)
    }
    return counts | values


def _reference(run: Run, classifier: Classifier) -> dict[str, Any] | None:
    """Confidence and predicted classes of the validation images; None for a run without them.

    Of several labels, the fraction of images for which each is predicted.
    """
    path, classes = run.path / "val_predictions.csv", classifier.classes
    if not path.is_file():
        return None
    if classifier.task == MULTILABEL:
        labeled = read_label_predictions(path)
        return {
            "images": len(labeled),
            "confidence": float(labeled.probabilities.max(axis=1).mean()),
            "class_fractions": labeled.predicted.mean(axis=0).tolist(),
        }
    validation = read_predictions(path)
    counts = Counter(validation.classes[number] for number in validation.predicted.tolist())
    return {
        "images": len(validation),
        "confidence": float(validation.probabilities.max(axis=1).mean()),
        "class_fractions": [counts[name] / len(validation) for name in classes],
    }


def _license_of_weights(run: Run) -> str:
    """The license of the packaged weights that training started from; empty if it did not."""
    try:
        config = run.config
    except ExciteError:
        return ""
    packaged = find_packaged(config.model) if config.pretrained else None
    return "" if packaged is None else f"initial weights: {packaged.license}"


def _versions() -> dict[str, str]:
    versions = {"excite": __version__}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
