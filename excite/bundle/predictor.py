"""An exported classifier: image files in, calibrated predictions out. No PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from excite.bundle.format import EVIDENCE, MEMBERS, PROBABILITIES, BundleInfo
from excite.bundle.prediction import PredictionList
from excite.bundle.runtime import Runtime
from excite.config.task import MULTILABEL
from excite.data.decoding import decode
from excite.data.upright import upright
from excite.errors import ExciteError
from excite.evaluation.decision_rule import DecisionRule

ImageSource = str | Path | bytes | Image.Image


class VectorDifference(NamedTuple):
    """The largest differences from the test vectors: of a pixel (0 to 255), and of a probability."""

    pixels: int
    probability: float


class Predictor:
    """The classifier in a bundle. Images become pixels by the same code as in training.

    Args:
        runtime: runs the graph.
        info: everything else in the bundle.

    ``Predictor.load("photos.onnx").predict("new.jpg")`` is a list with one prediction.
    """

    def __init__(self, runtime: Runtime, info: BundleInfo) -> None:
        self._runtime = runtime
        self.info = info

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None, few_images: bool = False) -> Predictor:
        """Read a bundle.

        Args:
            path: an ONNX file, or a folder with OpenVINO IR.
            threads: of the runtime; None: the processors that this process may use.
            few_images: load faster, and predict more slowly; for up to some ten images.

        Raises:
            ExciteError: for a file that is missing, damaged, refused, or not exported by excite, and if the
                runtime is not installed.
        """
        path = Path(path)
        if path.is_dir():
            from excite.bundle.openvino_runtime import OpenVinoRuntime, read_folder

            model, info = read_folder(path)
            return cls(OpenVinoRuntime(model, info, where=path, threads=threads), info)
        if not path.is_file():
            what = "is not a file" if path.exists() else "there is no such file"
            raise ExciteError(what, where=path)
        from excite.bundle.onnx_runtime import load_onnx

        return cls(*load_onnx(path, threads=threads, few_images=few_images))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the probabilities."""
        return self.info.classes

    @property
    def is_ensemble(self) -> bool:
        """Whether predictions are the mean of several networks, and have a ``disagreement``."""
        return self.info.members > 0

    @property
    def rule(self) -> DecisionRule | None:
        """The threshold of the positive class; None: the most probable class is predicted."""
        return self.info.decision.rule

    def check_set_level(self, level: float) -> None:
        """Raises: ExciteError if prediction sets with this level take more validation groups."""
        self.info.decision.check_set_level(level)

    def predict(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        batch_size: int = 8,
        max_pixels: int | None = None,
        set_level: float | None = None,
    ) -> PredictionList:
        """Predictions for one or more images, in order.

        Args:
            images: a path, the bytes of an image file, a PIL image, or several of them.
            batch_size: images at a time; larger batches take more memory and are hardly faster.
            max_pixels: images with more pixels are refused; None: the limit of the training.
            set_level: also predict the set of classes that holds the true class of this fraction of images,
                in (0, 1); None: no set.

        Raises:
            ExciteError: for a file that cannot be decoded, and a level that takes more validation groups.
        """
        if set_level is not None:
            self.check_set_level(set_level)  # before anything is decoded
        items: Sequence[ImageSource]
        items = [images] if isinstance(images, str | Path | bytes | Image.Image) else list(images)
        predictions = PredictionList()
        for start in range(0, len(items), batch_size):
            batch = items[start : start + batch_size]
            outputs = self.outputs(np.stack([self.pixels(image, max_pixels) for image in batch]))
            paths = [str(image) if isinstance(image, str | Path) else "" for image in batch]
            predictions += self.info.decision.predictions(
                paths,
                outputs[PROBABILITIES],
                self.classes,
                members=outputs.get(MEMBERS),
                set_level=set_level,
            )
        return predictions

    def pixels(self, image: ImageSource, max_pixels: int | None = None) -> np.ndarray:
        """The input of the network for one image, (S, S, 3) uint8. Raises: ExciteError as ``predict``."""
        preprocessing = self.info.preprocessing
        if isinstance(image, Image.Image):
            return preprocessing.pixels(upright(image, preprocessing.intensity_range))
        limit = self.info.max_pixels if max_pixels is None else max_pixels
        return preprocessing.pixels(
            decode(image, max_pixels=limit, intensity_range=preprocessing.intensity_range)
        )

    def outputs(self, pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        """(N, S, S, 3) uint8 -> the outputs of the graph, ``info.outputs``: each (N, ...) float32."""
        return self._runtime.run(pixels)

    def probabilities(self, pixels: np.ndarray, batch_size: int = 8) -> np.ndarray:
        """(N, S, S, 3) uint8 -> (N, C) float64 calibrated probabilities."""
        parts = [
            self.outputs(pixels[start : start + batch_size])[PROBABILITIES]
            for start in range(0, len(pixels), batch_size)
        ]
        return np.concatenate(parts).astype(np.float64)

    def evidence(self, pixels: np.ndarray) -> np.ndarray:
        """Class evidence maps (N, C, h, w) float32 of (N, S, S, 3) uint8.

        The softmax of their sums over positions plus ``info.evidence_bias`` are the probabilities.

        Raises:
            ExciteError: for a network that has none, because no linear layer on pooled features ends it.
        """
        if EVIDENCE not in self.info.outputs:
            raise ExciteError("this classifier has no evidence maps: its head is not a pooled linear layer")
        return self.outputs(pixels)[EVIDENCE]

    def check_evidence(self, pixels: np.ndarray) -> float | None:
        """The largest difference of a probability from what the evidence adds up to; None: no evidence."""
        if self.info.evidence_bias is None:
            return None
        outputs = self.outputs(pixels)
        logits = outputs[EVIDENCE].astype(np.float64).sum(axis=(2, 3)) + self.info.evidence_bias
        if self.info.task == MULTILABEL:
            expected = 1 / (1 + np.exp(-logits.clip(-700, 700)))
        else:
            exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
            expected = exponentials / exponentials.sum(axis=1, keepdims=True)
        return float(np.abs(expected - outputs[PROBABILITIES]).max())

    def check_vectors(self) -> VectorDifference:
        """Compare the decoder and the network with the test vectors of the bundle."""
        pixels, probability = 0, 0.0
        for vector in self.info.test_vectors():
            own = self.pixels(vector.image)
            pixels = max(pixels, int(np.abs(own.astype(int) - vector.pixels).max()))
            difference = self.probabilities(vector.pixels[None])[0] - vector.probabilities
            probability = max(probability, float(np.abs(difference).max()))
        return VectorDifference(pixels, probability)


def is_bundle(path: Path) -> bool:
    """Whether a path looks like an exported classifier, rather than a run folder."""
    return path.suffix == ".onnx" or (path / "model.xml").is_file()
