"""From the bytes of an image file to an answer; runs in the threads of ``Callers``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from excite.bundle.format import EVIDENCE, MEMBERS, PROBABILITIES
from excite.bundle.prediction import Prediction
from excite.bundle.predictor import Predictor
from excite.data.decoding import decode, image_format
from excite.data.foreign_formats import HEAD_BYTES, describe_unsupported_format
from excite.errors import ExciteError
from excite.serving.evidence_map import evidence_png, input_box
from excite.serving.multipart import Upload
from excite.serving.refusals import RefusedError

MAX_SCANS = 64
"""A progressive JPEG has about ten scans. Each passes over all blocks of the image, so that a small file with
many of them takes hours."""
_SCAN = b"\xff\xda"  # within the data of a scan, 0xff is followed by 0x00


@dataclass(frozen=True)
class Answer:
    """What was found for one image.

    Args:
        prediction: its path is the name of the upload.
        evidence: the ``evidence`` of the JSON document; None: not asked for, or the classifier has none.
        seconds: of decoding, and of the network.
    """

    prediction: Prediction
    evidence: Mapping[str, Any] | None
    seconds: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """For the response."""
        each = self.prediction
        if each.labels is not None and each.thresholds is not None:
            return {
                "file": each.path,
                "labels": list(each.labels),
                "probabilities": dict(each.probabilities),
                "thresholds": dict(each.thresholds),
                "evidence": self.evidence,
                "seconds": round(sum(self.seconds), 6),
            }
        return {
            "file": each.path,
            "label": each.label,
            "probability": each.probability,
            "probabilities": dict(each.probabilities),
            "abstained": each.abstained,
            "set": None if each.classes_in_set is None else list(each.classes_in_set),
            "disagreement": asdict(each.disagreement) if each.disagreement else None,
            "evidence": self.evidence,
            "seconds": round(sum(self.seconds), 6),
        }


class ImageClassifier:
    """A predictor with the limits of a service.

    Args:
        predictor: with one thread for each call.
        formats: that are decoded; all others are refused by their first bytes.
        max_pixels: of an image.
    """

    def __init__(self, predictor: Predictor, formats: tuple[str, ...], max_pixels: int) -> None:
        self.predictor, self.formats = predictor, formats
        self.max_pixels = min(max_pixels, predictor.info.max_pixels)

    def check_content(self, content: bytes) -> None:
        """Check the first bytes, and what would take unlimited time. Raises: RefusedError (4xx)."""
        if not content:
            raise RefusedError(400, "malformed", "the image is empty (0 bytes)")
        head = content[:HEAD_BYTES]
        format = image_format(head)
        if format not in self.formats:
            reason = describe_unsupported_format(head, self.formats)
            if format is not None:
                reason = f"is {format}; this service reads {', '.join(self.formats)}"
            raise RefusedError(415, "unsupported", f"the file {reason}")
        if format == "JPEG" and content.count(_SCAN) > MAX_SCANS:
            raise RefusedError(422, "unreadable", f"the image has more than {MAX_SCANS} scans")

    def classify(self, upload: Upload, *, evidence: bool = False, set_level: float | None = None) -> Answer:
        """Decode an image and classify it.

        Args:
            upload: the file, which ``check_content`` accepts.
            evidence: whether to draw the evidence map of the predicted class; of several labels, of the one
                whose probability is furthest above, or least below, its threshold.
            set_level: of a prediction set; None: no set.

        Raises:
            RefusedError: for an image that is too large (413) or damaged (422).
        """
        start = time.perf_counter()
        info = self.predictor.info
        try:
            image = decode(
                upload.content,
                max_pixels=self.max_pixels,
                intensity_range=info.preprocessing.intensity_range,
            )
        except ExciteError as error:
            if "too large" in error.what:
                raise RefusedError(413, "too_many_pixels", f"the image {error.what}") from error
            raise RefusedError(422, "unreadable", f"the image {error.what}") from error
        size, pixels = image.size, info.preprocessing.pixels(image)
        del image
        decoded = time.perf_counter()
        outputs = self.predictor.outputs(pixels[None])
        [prediction] = info.decision.predictions(
            [upload.name],
            outputs[PROBABILITIES],
            info.classes,
            members=outputs.get(MEMBERS),
            set_level=set_level,
        )
        drawn = None
        if evidence and EVIDENCE in outputs:
            name = _explained(prediction)
            index = info.classes.index(name)
            drawn = {
                "class": name,
                "box": list(input_box(size, info.preprocessing)),
                "png": evidence_png(outputs[EVIDENCE][0], index),
            }
        return Answer(prediction, drawn, (decoded - start, time.perf_counter() - decoded))

    def outputs(self, pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        """Of the graph, for pixels (N, S, S, 3) uint8."""
        return self.predictor.outputs(pixels)


def _explained(prediction: Prediction) -> str:
    """The class, or label, whose evidence is drawn."""
    if prediction.thresholds is None:
        return prediction.label
    limits = prediction.thresholds
    return max(prediction.probabilities, key=lambda name: prediction.probabilities[name] - limits[name])
