"""The graph of an exported classifier: pixels in, calibrated probabilities out. One module for all formats.

uint8 pixels (N, S, S, 3) -> normalization -> the versions of test-time augmentation in one batch -> the
network, or the networks of an ensemble -> calibration -> ``probabilities`` (N, C), and

- ``evidence`` (N, C, h, w), where the head is a linear layer on pooled features: the softmax (of several
labels
  the sigmoid) of its sum over positions plus ``evidence_bias`` are the probabilities;
- ``members`` (N, M, C) of an ensemble: the probabilities of each member.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.bundle.format import EVIDENCE, MEMBERS, PROBABILITIES
from excite.evaluation.calibration import Calibration
from excite.evaluation.label_calibration import LabelCalibration
from excite.export.gates import with_convolution_gates
from excite.inference.ensemble_network import MeanEnsemble
from excite.inference.feature_tap import FeatureTap
from excite.inference.norm_folding import fold_batch_norms
from excite.inference.tta import apply_tta
from excite.kernels.dispatch import use_kernels
from excite.runs.classifier import Classifier


class Graph(nn.Module):
    """A classifier as one module, in evaluation mode.

    Args:
        network: (N, 3, S, S) -> logits (N, C); for an ensemble -> calibrated logits (N, M, C).
        mean, std: of the normalization, in units of [0, 1].
        tta: name of the test-time augmentation.
        calibration: of the probabilities: of one class by the softmax, of several labels by the sigmoid.
        is_ensemble: whether the network returns the logits of several members.
        tap: where the feature map is; None: no evidence.

    Example:
        >>> network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
        >>> graph = Graph(network, (0.5,) * 3, (0.5,) * 3, "flip", Calibration(2.0, (0.0, 0.0)))
        >>> [probabilities] = graph(torch.zeros(4, 8, 8, 3, dtype=torch.uint8))
        >>> probabilities.shape
        torch.Size([4, 2])
    """

    scale: Tensor
    shift: Tensor
    temperature: Tensor
    intercept: Tensor
    evidence_weight: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        tta: str,
        calibration: Calibration | LabelCalibration,
        *,
        is_ensemble: bool = False,
        tap: FeatureTap | None = None,
    ) -> None:
        super().__init__()
        self.network, self.tta, self.is_ensemble, self.tap = network, tta, is_ensemble, tap
        self.is_multilabel = isinstance(calibration, LabelCalibration)
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        self.register_buffer("scale", scale.float()[:, None, None])
        self.register_buffer("shift", shift.float()[:, None, None])
        self.register_buffer("temperature", torch.tensor(calibration.temperature))
        self.register_buffer("intercept", torch.tensor(calibration.intercept))
        if tap is not None:
            assert tap.head is not None  # as FeatureTap.find finds it
            weight = tap.head.weight.detach()[:, :, None, None]
            if isinstance(calibration, LabelCalibration):
                weight = weight / self.temperature[:, None, None, None]
            else:
                weight = weight / calibration.temperature
            self.register_buffer("evidence_weight", weight)
        self.eval()

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs."""
        evidence = () if self.tap is None else (EVIDENCE,)
        return (PROBABILITIES, *evidence, *((MEMBERS,) if self.is_ensemble else ()))

    @property
    def evidence_bias(self) -> tuple[float, ...] | None:
        """What to add to the sums of the evidence; None if there is none."""
        if self.tap is None:
            return None
        bias, head = self.intercept.double(), self.tap.head
        assert head is not None
        if head.bias is not None:
            bias = bias + head.bias.detach().double() / self.temperature.double()
        return tuple(bias.tolist())

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(N, S, S, 3) uint8 -> ``outputs``."""
        images = pixels.permute(0, 3, 1, 2).contiguous().float() * self.scale + self.shift
        versions = apply_tta(images, self.tta)
        count = len(versions)
        batch = torch.cat(versions) if count > 1 else images
        if self.tap is None:
            logits, features = self.network(batch), None
        else:
            with self.tap.watch(self.network) as seen:
                logits, features = self.network(batch), seen
        if count > 1:  # the mean over the versions; chunk() would not keep a dynamic batch
            logits = logits.unflatten(0, (count, -1)).mean(0)
        if self.is_ensemble:
            return self._ensemble(logits)
        calibrated = self._calibrated(logits)
        probabilities = _sigmoid(calibrated) if self.is_multilabel else torch.softmax(calibrated, dim=1)
        return (probabilities,) if features is None else (probabilities, self._evidence(features[0], count))

    def _ensemble(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Calibrated logits of the members (N, M, C) -> calibrated mean (N, C), and of each member."""
        each = F.log_softmax(logits, dim=2)
        mean = torch.logsumexp(each, dim=1) - math.log(each.shape[1])
        members = torch.softmax(self._calibrated(each), dim=2)
        return torch.softmax(self._calibrated(mean), dim=1), members

    def _calibrated(self, logits: Tensor) -> Tensor:
        return logits / self.temperature + self.intercept

    def _evidence(self, features: Tensor, count: int) -> Tensor:
        """(versions x N, F, h, w) -> (N, C, h, w), mirrored versions turned back."""
        maps = F.conv2d(features, self.evidence_weight / features.shape[2:].numel())
        if count == 1:
            return maps
        original, mirrored = maps.unflatten(0, (count, -1)).unbind(0)
        return (original + mirrored.flip(3)) / 2


def _sigmoid(logits: Tensor) -> Tensor:
    """The sigmoid by exponentials, whose relative error is that of float32.

    ONNX Runtime's own approximates it with an absolute error of about 1e-7, as much as the probability of a
    rare label may be.
    """
    return torch.exp(logits.clamp(max=0)) / (1 + torch.exp(-logits.abs()))


class Prepared(NamedTuple):
    """A graph, and pixels (1, S, S, 3) to try it on."""

    graph: Graph
    example: Tensor


def build_graph(classifier: Classifier) -> Prepared:
    """The graph of a classifier that is on the CPU: batch norms folded, gates as convolutions.

    The classifier itself does not change.
    """
    preprocessing = classifier.preprocessing
    size = preprocessing.image_size
    random = torch.Generator().manual_seed(0)
    example = torch.randint(0, 256, (1, size, size, 3), generator=random, dtype=torch.uint8)
    images = example.permute(0, 3, 1, 2).float() / 255
    images = (images - torch.tensor(preprocessing.mean)[:, None, None]) / torch.tensor(preprocessing.std)[
        :, None, None
    ]
    model = classifier.model
    source = model.members if isinstance(model, MeanEnsemble) else model
    with use_kernels("off"):
        network = with_convolution_gates(fold_batch_norms(source, images)).to(
            memory_format=torch.contiguous_format
        )
        tap = None
        # The crops of test-time augmentation show other positions, and a mean of softmaxes has no evidence.
        if preprocessing.tta != "crops" and not classifier.is_ensemble:
            tap = FeatureTap.find(network, images)
    graph = Graph(
        network,
        preprocessing.mean,
        preprocessing.std,
        preprocessing.tta,
        classifier.calibration,
        is_ensemble=classifier.is_ensemble,
        tap=tap,
    )
    return Prepared(graph, example)
