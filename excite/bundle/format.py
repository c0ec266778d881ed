"""The format of a bundle: an exported classifier with all that it takes to use it, in one file.

The network is an ONNX graph or OpenVINO IR; everything else is one JSON document in the file's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from excite.bundle.decision import Decision, decision_of
from excite.bundle.label_decision import LabelDecision
from excite.bundle.vectors import TestVector
from excite.config.task import MULTICLASS, Task
from excite.data.preprocessing import Preprocessing
from excite.errors import ExciteError

FORMAT = 1
OPSET = 20  # of ONNX files that are written; the newest that is read
KEY = "excite"  # of the JSON document in the metadata
PIXELS, PROBABILITIES, EVIDENCE, MEMBERS = "pixels", "probabilities", "evidence", "members"
LARGEST_INPUT = 4096  # pixels per side, so that a file cannot ask for any amount of memory


@dataclass(frozen=True)
class BundleInfo:
    """Everything in a bundle but the network.

    Args:
        name: of the run.
        classes: C names of classes, or of labels, in the order of the outputs.
        preprocessing: from an image to the pixels of the input.
        max_pixels: images with more pixels are refused.
        decision: thresholds, abstention, and prediction sets.
        calibration: ``temperature`` and ``intercept``, which the graph applies.
        evidence_bias: C numbers: softmax(sum of the evidence over its positions + bias) are the
            probabilities (of several labels, the sigmoid); None: the graph has no output ``evidence``.
        members: number of networks of an ensemble; 0: a single network.
        license: of the weights; empty: not stated.
        sha256: hashes of the run's files that the bundle was made from.
        made_with: versions of libraries.
        metrics: of the run on its test images, as in ``metrics.json``; of several labels, means over them.
        quantization: layers in int8 and in float, and the comparison with the network in float32; None: not
            quantized.
        reference: of the predictions for the validation images, to notice other images later: ``images``, the
            mean of the highest probability as ``confidence``, and the fraction of each class among the
            predicted ones as ``class_fractions``; None: the run has no such predictions.
        vectors: test vectors, as ``TestVector.to_dict`` gives them; see ``test_vectors``.
    """

    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    max_pixels: int
    decision: Decision | LabelDecision
    calibration: Mapping[str, Any]
    evidence_bias: tuple[float, ...] | None = None
    members: int = 0
    license: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)
    made_with: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    quantization: Mapping[str, Any] | None = None
    reference: Mapping[str, Any] | None = None
    vectors: tuple[Mapping[str, Any], ...] = ()

    @property
    def task(self) -> Task:
        """Whether an image has exactly one class, or any number of labels."""
        return self.decision.task

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the graph's outputs."""
        evidence = () if self.evidence_bias is None else (EVIDENCE,)
        return (PROBABILITIES, *evidence, *((MEMBERS,) if self.members else ()))

    def test_vectors(self) -> list[TestVector]:
        """The test vectors, decoded."""
        return [TestVector.from_dict(each) for each in self.vectors]

    def to_json(self) -> str:
        """The JSON document."""
        size = self.preprocessing.image_size
        document = {
            "format": FORMAT,
            "name": self.name,
            **({} if self.task == MULTICLASS else {"task": self.task}),
            "classes": list(self.classes),
            "input": {"name": PIXELS, "type": "uint8", "shape": ["batch", size, size, 3], "channels": "RGB"},
            "outputs": list(self.outputs),
            "preprocessing": self.preprocessing.to_dict(),
            "max_pixels": self.max_pixels,
            "decision": self.decision.to_dict(),
            "calibration": dict(self.calibration),
            "evidence_bias": None if self.evidence_bias is None else list(self.evidence_bias),
            "members": self.members,
            "license": self.license,
            "sha256": dict(self.sha256),
            "made_with": dict(self.made_with),
            "metrics": dict(self.metrics),
            "quantization": self.quantization,
            "reference": self.reference,
            "vectors": list(self.vectors),
        }
        return json.dumps(document, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str | None, *, where: object) -> BundleInfo:
        """The content of the metadata, checked.

        Args:
            text: the JSON document; None if the file has none.
            where: the file, for errors.

        Raises:
            ExciteError: if it was written by another program or another version, or is damaged.
        """
        if text is None:
            what = "was not exported by excite: it has no classes or preprocessing"
            raise ExciteError(what, where=where, hint="write one with excite export RUN --format onnx")
        try:
            values = json.loads(text)
            version = values["format"]
            if version == FORMAT:
                return cls._from_document(values)
        except ExciteError as error:
            raise ExciteError(f"its metadata is damaged: {error}", where=where) from error
        except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
            reason = " ".join(str(error).split())[:80] or type(error).__name__
            raise ExciteError(f"its metadata is damaged: {reason}", where=where) from error
        what = f"is a bundle of format {str(version)[:20]}; this version of excite reads format {FORMAT}"
        raise ExciteError(what, where=where, hint="export the run again, or use the newer version")

    @classmethod
    def _from_document(cls, values: Mapping[str, Any]) -> BundleInfo:
        classes = tuple(str(name) for name in values["classes"])
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise ValueError("classes must be two or more different names")
        preprocessing = Preprocessing(**values["preprocessing"])
        if preprocessing.image_size > LARGEST_INPUT:
            raise ValueError(f"input size {preprocessing.image_size} is above {LARGEST_INPUT}")
        decision = decision_of(values["decision"])
        if isinstance(decision, LabelDecision) and len(decision.thresholds) != len(classes):
            raise ValueError("thresholds are not one for each label")
        if decision.rule is not None and decision.rule.label not in classes:
            raise ValueError("the positive class is not one of the classes")
        bias = values["evidence_bias"]
        return cls(
            str(values["name"]),
            classes,
            preprocessing,
            int(values["max_pixels"]),
            decision,
            dict(values["calibration"]),
            None if bias is None else tuple(map(float, bias)),
            int(values["members"]),
            str(values["license"]),
            dict(values["sha256"]),
            dict(values["made_with"]),
            dict(values["metrics"]),
            values["quantization"],
            _checked_reference(values["reference"], len(classes)),
            tuple(values["vectors"]),
        )


def _checked_reference(values: Mapping[str, Any] | None, classes: int) -> Mapping[str, Any] | None:
    if values is None:
        return None
    fractions = [float(each) for each in values["class_fractions"]]
    if len(fractions) != classes:
        raise ValueError("class_fractions are not one for each class")
    confidence = float(values["confidence"])
    return {"images": int(values["images"]), "confidence": confidence, "class_fractions": fractions}
