"""Export to an ONNX bundle with layers in int8, which is written only if it is as good on the test images.

Weights are quantized per output channel (int8), activations per tensor (uint8) with ranges from training
images (Jacob et al. 2018, https://arxiv.org/abs/1712.05877). Pixel arithmetic, the head, and the calibration
stay in float32, and so do the gates of attention unless they are measured to lose nothing. The temperature is
fitted again on validation images.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from excite.bundle.format import PROBABILITIES, BundleInfo
from excite.bundle.onnx_runtime import OnnxRuntime
from excite.bundle.vectors import TestVector
from excite.data.decoded_pixels import decoded_pixels
from excite.errors import ExciteError
from excite.evaluation.calibration import Calibration, fit_temperature, safe_log
from excite.evaluation.comparison import compare
from excite.evaluation.predictions import Predictions
from excite.export.limits import Limits
from excite.export.onnx import onnx_model, write_model
from excite.export.onnx_passes import scale_logits
from excite.export.onnx_structure import LAYERS, Structure
from excite.export.parity import Written, ask_bundle
from excite.export.quantization import quantize
from excite.export.source import Source
from excite.system.cache import cache_directory

if TYPE_CHECKING:
    import onnx

CALIBRATION_IMAGES = 128  # training images from which the ranges of activations are taken
MOST_IMAGES = 2000  # validation and test images to measure on
BATCH = 8
WHERE = "--int8"


@dataclass(frozen=True, eq=False)
class Images:
    """Preprocessed images of one split with their classes and groups."""

    pixels: np.ndarray
    targets: np.ndarray
    groups: np.ndarray
    paths: tuple[str, ...]


class Int8Writer:
    """Writes ONNX bundles in int8; a ``Writer``.

    Args:
        limits: how much worse the quantized network may be.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def write(self, source: Source, path: Path) -> Written:
        """Quantize, judge, and write.

        Raises:
            ExciteError: if a library or a split is missing, or the network is worse than the limits allow.
        """
        images = {name: load_images(source, name) for name in ("train", "val", "test")}
        model, gates = _best_candidate(source, images)
        factor = _refitted_temperature(model, source.info, images["val"])
        scale_logits(model, source.info.outputs, 1 / factor)
        info = _recalibrated(source.info, factor)
        facts = _facts(source, model, info, images["test"], gates)
        self._judge(facts)
        facts |= {"limits": asdict(self.limits), "temperature_factor": factor}
        info = replace(info, quantization=facts, vectors=_vectors(model, info))
        write_model(model, info, path)
        difference = facts["test"]
        note = (
            f"int8 against float32 on {difference['n']} test images: the same class for "
            f"{difference['same_class']:.1%}, accuracy {difference['accuracy']['second']:.4f} against "
            f"{difference['accuracy']['first']:.4f}, log loss {difference['log_loss']['second']:.4f} against "
            f"{difference['log_loss']['first']:.4f}"
        )
        expected = partial(probabilities, model, info)
        return Written(partial(ask_bundle, path), (note,), expected)

    def _judge(self, facts: dict[str, Any]) -> None:
        """Raises: ExciteError if the quantized network is worse than allowed, with the figures."""
        accuracy, loss = facts["test"]["accuracy"], facts["test"]["log_loss"]
        worse = []
        if not accuracy["value"] >= -self.limits.accuracy:
            worse.append(f"accuracy {accuracy['second']:.4f} against {accuracy['first']:.4f}")
        if not loss["value"] <= self.limits.log_loss:
            worse.append(f"log loss {loss['second']:.4f} against {loss['first']:.4f}")
        if worse:
            what = f"int8 is worse than allowed on {facts['test']['n']} test images: {' and '.join(worse)}"
            hint = "export without --int8, or allow more with --int8-accuracy and --int8-log-loss"
            raise ExciteError(what, where=WHERE, hint=hint)


def load_images(source: Source, split: str) -> Images:
    """At most 2,000 images of a split, evenly spaced; of the training set as many as the ranges take.

    Raises:
        ExciteError: if the run has no such split, as a cross-validation.
    """
    manifest = source.run.manifest
    if split not in manifest.splits:
        what = f"takes images of the split {split!r}, which this run does not have"
        raise ExciteError(what, where=WHERE, hint="export without --int8")
    manifest = manifest.part(split)
    pixels = decoded_pixels(manifest, source.classifier.preprocessing, cache_directory())
    most = CALIBRATION_IMAGES if split == "train" else MOST_IMAGES
    rows = np.unique(np.linspace(0, len(pixels) - 1, min(most, len(pixels))).astype(int))
    groups = manifest.group_codes()[rows]
    paths = tuple(manifest.table["path"].iloc[rows])
    return Images(np.array(pixels[rows]), manifest.targets()[rows], groups, paths)


def probabilities(model: onnx.ModelProto, info: BundleInfo, pixels: np.ndarray) -> np.ndarray:
    """(N, S, S, 3) uint8 -> (N, C) float64, by ONNX Runtime in this process."""
    runtime = OnnxRuntime(model.SerializeToString(), info, where=WHERE)
    parts = [
        runtime.run(pixels[start : start + BATCH])[PROBABILITIES] for start in range(0, len(pixels), BATCH)
    ]
    return np.concatenate(parts).astype(np.float64)


def _best_candidate(source: Source, images: dict[str, Images]) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The network with gates in float32, or in int8 too if the validation log loss is not higher for it."""
    original = onnx_model(source)
    structure = Structure(original)
    gates = structure.gate_nodes()
    others = [name for name in source.info.outputs if name != PROBABILITIES]
    kept = structure.pixel_nodes() | structure.head_nodes(PROBABILITIES, others)
    candidates = {"float32": quantize(original, images["train"].pixels, kept | gates)}
    if gates:
        candidates["int8"] = quantize(original, images["train"].pixels, kept)
    val = images["val"]
    losses = {}
    for name, model in candidates.items():
        rows = probabilities(model, source.info, val.pixels)
        factor = fit_temperature(safe_log(rows), val.targets, val.groups)
        refitted = Calibration(factor, (0.0,) * rows.shape[1]).probabilities(safe_log(rows))
        losses[name] = float(-safe_log(refitted[np.arange(len(rows)), val.targets]).mean())
    best = min(losses, key=lambda name: (losses[name], name != "float32"))
    return candidates[best], {"precision": best, "nodes": len(gates), "validation_log_loss": losses}


def _refitted_temperature(model: onnx.ModelProto, info: BundleInfo, val: Images) -> float:
    """The factor by which the temperature must grow, fitted on the validation images."""
    return fit_temperature(safe_log(probabilities(model, info, val.pixels)), val.targets, val.groups)


def _recalibrated(info: BundleInfo, factor: float) -> BundleInfo:
    """The facts of a network whose calibrated logits are divided by a factor."""
    calibration = Calibration.from_dict(info.calibration)
    intercept = tuple(value / factor for value in calibration.intercept)
    bias = info.evidence_bias
    return replace(
        info,
        calibration=Calibration(calibration.temperature * factor, intercept).to_dict(),
        evidence_bias=None if bias is None else tuple(value / factor for value in bias),
    )


def _facts(
    source: Source, model: onnx.ModelProto, info: BundleInfo, test: Images, gates: dict[str, Any]
) -> dict[str, Any]:
    """Layers with their precision, and the paired comparison with the network in float32."""
    original = onnx_model(source)
    one, two = (
        probabilities(each, facts, test.pixels) for each, facts in ((original, source.info), (model, info))
    )
    names = np.array([str(code) for code in test.groups])
    tables = [Predictions(test.targets, rows, info.classes, names) for rows in (one, two)]
    differences = compare(tables[0], tables[1], ("accuracy", "log_loss"))
    quantized = _quantized_layers(model)
    layers = [
        {
            "name": node.name,
            "operator": node.op_type,
            "precision": "int8" if node.name in quantized else "float32",
        }
        for node in original.graph.node
        if node.op_type in LAYERS
    ]
    return {
        "scheme": "weights int8 per channel, activations uint8 per tensor, QDQ",
        "calibration_images": CALIBRATION_IMAGES,
        "layers": layers,
        "gates": gates,
        "test": {
            "n": len(test.pixels),
            "same_class": float((one.argmax(axis=1) == two.argmax(axis=1)).mean()),
            **{name: asdict(each) for name, each in differences.items()},
        },
    }


def _quantized_layers(model: onnx.ModelProto) -> set[str]:
    """The names of layers whose weights are dequantized from int8."""
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return {
        node.name
        for node in model.graph.node
        if node.op_type in LAYERS and node.input[0] in dequantized and node.input[1] in dequantized
    }


def _vectors(model: onnx.ModelProto, info: BundleInfo) -> tuple[dict[str, Any], ...]:
    """The test vectors with the probabilities of the quantized network."""
    vectors = info.test_vectors()
    rows = probabilities(model, info, np.stack([vector.pixels for vector in vectors]))
    return tuple(
        TestVector(vector.image, vector.pixels, row).to_dict()
        for vector, row in zip(vectors, rows, strict=True)
    )
