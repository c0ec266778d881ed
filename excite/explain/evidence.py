"""Class evidence: maps in units of logits that add up, with the bias, to the logit of a class.

At the feature map before the head, gradient times activation is summed over channels. If the head is pooling
and a linear layer, this is the head applied at every position (class activation maps, Zhou et al. 2016), and
the sum over positions plus the bias is the logit. For a head of linear layers and ReLUs, as VGG's, each bias
counts with its gradient (Srinivas & Fleuret 2019, https://arxiv.org/abs/1905.00780, proposition 1). For any
other head the sum is an approximation, and the gap is reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.explain.layer_maps import as_input, layer_maps
from excite.inference.ensemble_network import MeanEnsemble
from excite.inference.feature_tap import FeatureTap
from excite.inference.optimized import optimize_for_inference
from excite.inference.tta import apply_tta, tta_boxes
from excite.runs.classifier import Classifier
from excite.system.evaluation_mode import evaluating

TOLERANCE = 1e-4
"""Largest gap of evidence that adds up, relative to the logit or to 1, whichever is larger."""

# From this many images on, an optimized copy pays: building it costs as much as three single predictions, and
# it saves a third of each.
_IMAGES_BEFORE_COPY = 8


@dataclass(frozen=True)
class Evidence:
    """Evidence for K classes of each of N images.

    Args:
        maps: (N, K, h, w) float32; positive where a position speaks for the class.
        bias: (N, K) float32, the part of the logits without a position.
        logits: (N, K) float32, what the network returned.
    """

    maps: Tensor
    bias: Tensor
    logits: Tensor

    @property
    def gap(self) -> Tensor:
        """(N, K) distance between the logits and the sums of maps and bias."""
        return (self.logits - self.maps.sum(dim=(2, 3)) - self.bias).abs()

    @property
    def adds_up(self) -> bool:
        """Whether every gap is at most ``TOLERANCE``."""
        return bool((self.gap <= TOLERANCE * self.logits.abs().clamp(min=1)).all())

    def margin(self, first: int = 0, second: int = 1) -> Evidence:
        """The evidence for one class against another, as K = 1 class."""
        maps, bias, logits = (
            value[:, first : first + 1] - value[:, second : second + 1]
            for value in (self.maps, self.bias, self.logits)
        )
        return Evidence(maps, bias, logits)


def network_evidence(
    model: nn.Module, images: Tensor, classes: Tensor, tap: FeatureTap | None = None
) -> Evidence:
    """Evidence of a network for K classes of each image.

    Args:
        model: (N, 3, S, S) -> logits (N, C); it does not change.
        images: (N, 3, S, S), normalized.
        classes: (N, K) class indices.
        tap: where the feature map is, as ``FeatureTap.last`` finds it.

    Example:
        >>> import excite
        >>> model = excite.create_model("cifar_resnet20", num_classes=10, attention="se")
        >>> evidence = network_evidence(model, torch.randn(2, 3, 32, 32), torch.tensor([[3, 5], [0, 1]]))
        >>> evidence.maps.shape, evidence.adds_up
        (torch.Size([2, 2, 8, 8]), True)
    """
    with torch.inference_mode(False), torch.no_grad(), evaluating(model):
        batch = as_input(model, images)
        tap = tap or FeatureTap.last(model, batch[:1])
        if tap.head is not None:
            return _linear_evidence(model, tap, tap.head, batch, classes.to(batch.device))
    columns = [classes[:, k] for k in range(classes.shape[1])]
    found = layer_maps(model, tap, images, columns, with_bias=True)
    maps = torch.stack([(each.gradients * each.activations).sum(dim=1) for each in found], dim=1)
    logits = found[0].logits.gather(1, classes.to(found[0].logits.device))
    return Evidence(maps, torch.stack([each.bias for each in found], dim=1), logits)


def _linear_evidence(
    model: nn.Module, tap: FeatureTap, head: nn.Linear, batch: Tensor, classes: Tensor
) -> Evidence:
    """The head applied at every position; no gradient is needed."""
    with tap.watch(model) as seen:
        logits = model(batch).float()
    [features] = seen
    weight = head.weight.float()[classes] / features.shape[2:].numel()  # (N, K, F)
    maps = torch.einsum("nkf,nfhw->nkhw", weight, features.float())
    bias = torch.zeros_like(logits) if head.bias is None else head.bias.float().expand_as(logits)
    return Evidence(maps, bias.gather(1, classes), logits.gather(1, classes))


class EvidenceModel:
    """Evidence of a classifier, in units of its calibrated logits, whose softmax (of several labels, whose
    sigmoid) are its probabilities.

    Test-time augmentation, ensembles, and calibration are accounted for: maps of mirrored and cropped
    versions are put back in place, and those of the members of an ensemble averaged. The logarithm of a mean
    probability is not the mean of logits, so the evidence of an ensemble is an approximation.

    Args:
        classifier: it does not change.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self._networks: dict[int, _TappedNetwork] = {}

    def __call__(self, images: Tensor, classes: Tensor) -> Evidence:
        """Evidence for K classes (N, K) of images (N, 3, S, S), normalized."""
        parts = self._members(images, classes)
        calibration = self.classifier.calibration
        intercept = torch.tensor(calibration.intercept)[classes]
        temperature = torch.tensor(calibration.temperature).expand(len(self.classifier.classes))[classes]
        scale = 1 / (len(parts) * temperature)
        return Evidence(
            scale[:, :, None, None] * sum(part.maps for part in parts),
            scale * sum(part.bias for part in parts) + intercept,
            scale * sum(part.logits for part in parts) + intercept,
        )

    def _members(self, images: Tensor, classes: Tensor) -> list[Evidence]:
        """The evidence of each member of an ensemble, in its calibrated logits; else of the network."""
        model = self.classifier.model
        if not isinstance(model, MeanEnsemble):
            return [self._averaged(model, images, classes)]
        members, count, parts = model.members, len(self.classifier.classes), []
        number = 0
        for network in members.networks:
            width = self._width(network, images)
            for first in range(0, width, count):
                raw = self._averaged(network, images, classes + first)
                temperature = float(members.temperatures[number])
                shift = members.intercepts[number].cpu()[classes]
                parts.append(
                    Evidence(
                        raw.maps / temperature,
                        raw.bias / temperature + shift,
                        raw.logits / temperature + shift,
                    )
                )
                number += 1
        return parts

    def _width(self, network: nn.Module, images: Tensor) -> int:
        with torch.inference_mode(False), torch.no_grad(), evaluating(network):
            return int(network(as_input(network, images[:1])).shape[1])

    def _averaged(self, model: nn.Module, images: Tensor, classes: Tensor) -> Evidence:
        """The mean over the versions of test-time augmentation, each put back where it is in the image."""
        tta, side = self.classifier.preprocessing.tta, images.shape[-1]
        versions = apply_tta(images, tta)
        if id(model) not in self._networks:
            self._networks[id(model)] = _TappedNetwork(model, images)
        network = self._networks[id(model)]
        parts = [network.evidence(each, classes) for each in versions]
        boxes = tta_boxes(tta, side)
        maps = [put_back(part.maps.cpu(), *box, side=side) for part, box in zip(parts, boxes, strict=True)]
        return Evidence(
            torch.stack(maps).mean(0),
            torch.stack([part.bias.cpu() for part in parts]).mean(0),
            torch.stack([part.logits.cpu() for part in parts]).mean(0),
        )


class _TappedNetwork:
    """A network with its feature tap; after some images an optimized copy of it, if no gradient is needed."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.model, self.tap = model, self._tap_of(model, images)
        self._images_before_copy = _IMAGES_BEFORE_COPY

    def evidence(self, images: Tensor, classes: Tensor) -> Evidence:
        """Evidence for K classes (N, K) of images (N, 3, S, S), normalized."""
        if 0 <= self._images_before_copy < len(images):
            self._optimize(images)
        self._images_before_copy -= len(images)
        return network_evidence(self.model, images, classes, self.tap)

    def _optimize(self, images: Tensor) -> None:
        if self.tap.head is None:
            return
        copy = optimize_for_inference(self.model, as_input(self.model, images[:1]))
        tap = self._tap_of(copy, images)
        if tap.head is not None:
            self.model, self.tap = copy, tap

    @staticmethod
    def _tap_of(model: nn.Module, images: Tensor) -> FeatureTap:
        with torch.inference_mode(False), torch.no_grad(), evaluating(model):
            return FeatureTap.last(model, as_input(model, images[:1]))


def put_back(maps: Tensor, top: int, left: int, size: int, mirrored: bool, *, side: int) -> Tensor:
    """The map of a version of an image on the grid of the whole image, with the same sum.

    Args:
        maps: (N, K, h, w), of a square of ``size`` pixels at (top, left), mirrored or not.
        side: of the image in pixels.

    Returns:
        (N, K, h, w): each value is divided among the cells that its position overlaps, by area.

    >>> put_back(torch.tensor([[[[1.0, 2.0]]]]), 0, 0, 8, True, side=8)
    tensor([[[[2., 1.]]]])
    """
    maps = maps.flip(3) if mirrored else maps
    if size == side:
        return maps
    rows, columns = (
        _overlaps(start, size, side, n) for start, n in zip((top, left), maps.shape[2:], strict=True)
    )
    return torch.einsum("ih,nkhw,jw->nkij", rows, maps, columns)


def _overlaps(start: int, size: int, side: int, cells: int) -> Tensor:
    """(cells, cells) the fraction of each cell of the version, a column, within each cell of the image."""
    edges = torch.linspace(0, side, cells + 1)
    own = start + torch.linspace(0, size, cells + 1)
    low = torch.maximum(edges[:-1, None], own[None, :-1])
    high = torch.minimum(edges[1:, None], own[None, 1:])
    return (high - low).clamp(min=0) * cells / size


def upsample(maps: Tensor, side: int) -> Tensor:
    """Maps (N, h, w) enlarged to (N, side, side), bilinear, for display."""
    return F.interpolate(maps[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
