"""Class activation maps from gradients and from scores: each method is one function on a small base."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.explain.layer_maps import LayerMaps, as_input, layer_maps, score_logits
from excite.inference.feature_tap import FeatureTap
from excite.system.evaluation_mode import evaluating

_BATCH = 32  # masked images per forward pass of Score-CAM


class CAM(ABC):
    """Base of the methods that weigh the channels of a feature map for one class.

    A method defines ``combine``. Maps keep their sign and the size of the feature map: what is negative
    speaks against the class. Authors of Grad-CAM and Score-CAM set it to zero; ``map.clamp(min=0)`` does.

    Args:
        model: (N, 3, S, S) -> logits (N, C). It does not change.
        layer: path of the module whose output is weighed; None: what the network pools before its head.

    Raises:
        ExciteError: if there is no module at the path.
    """

    def __init__(self, model: nn.Module, layer: str | None = None) -> None:
        if layer is not None and layer not in dict(model.named_modules()):
            raise unknown_name("module", layer, [name for name, _ in model.named_modules() if name])
        self.model, self.layer = model, layer

    def __call__(self, images: Tensor, classes: Tensor) -> Tensor:
        """Maps (N, h, w) in float32 for images (N, 3, S, S) and one class of each (N,)."""
        with torch.inference_mode(False), torch.no_grad(), evaluating(self.model):
            tap = self.tap(images)
        [maps] = layer_maps(self.model, tap, images, [classes])
        if maps.activations.ndim != 4:
            what = f"its output has shape {tuple(maps.activations.shape)}, not (N, K, h, w)"
            raise ExciteError(what, where=self.layer, hint="choose a convolution", exit_code=BAD_USAGE)
        return self.combine(maps, images, classes)

    def tap(self, images: Tensor) -> FeatureTap:
        """The place that is weighed."""
        if self.layer is not None:
            return FeatureTap(self.layer, "output")
        return FeatureTap.last(self.model, as_input(self.model, images[:1]))

    @abstractmethod
    def combine(self, maps: LayerMaps, images: Tensor, classes: Tensor) -> Tensor:
        """The map of each image: (N, h, w)."""


class HiResCAM(CAM):
    """Gradient times activation, summed over channels (Draelos & Carin 2020, equation 3).

    Before pooling and a linear layer the sum over positions is the logit without the bias.

    Paper: https://arxiv.org/abs/2011.08891.
    """

    def combine(self, maps: LayerMaps, images: Tensor, classes: Tensor) -> Tensor:
        return (maps.gradients * maps.activations).sum(dim=1)


class GradCAM(CAM):
    """Channels weighted by the mean of their gradient (Selvaraju et al. 2017, equations 1 and 2).

    Paper: https://arxiv.org/abs/1610.02391.
    """

    def combine(self, maps: LayerMaps, images: Tensor, classes: Tensor) -> Tensor:
        weights = maps.gradients.mean(dim=(2, 3), keepdim=True)
        return (weights * maps.activations).sum(dim=1)


class GradCAMPlusPlus(CAM):
    """Channels weighted by positive gradients, those of rare positions more (Chattopadhay et al. 2018).

    Equations 5 and 19, for a score exp(logit), whose higher derivatives are powers of the gradient.

    Paper: https://arxiv.org/abs/1710.11063.
    """

    def combine(self, maps: LayerMaps, images: Tensor, classes: Tensor) -> Tensor:
        gradients = maps.gradients
        total = maps.activations.sum(dim=(2, 3), keepdim=True)
        alpha = gradients.square() / (2 * gradients.square() + total * gradients**3 + 1e-6)
        alpha = torch.where(gradients != 0, alpha, torch.zeros(()).to(alpha))
        weights = (alpha * gradients.clamp(min=0)).sum(dim=(2, 3), keepdim=True)
        return (weights * maps.activations).sum(dim=1)


class ScoreCAM(CAM):
    """Channels weighted by the logit of the image masked with them (Wang et al. 2020, equations 4 to 6).

    One forward pass for each channel; no gradient is used.

    Paper: https://arxiv.org/abs/1910.01279.
    """

    @torch.no_grad()
    def combine(self, maps: LayerMaps, images: Tensor, classes: Tensor) -> Tensor:
        weights = []
        with torch.inference_mode(False), evaluating(self.model):
            batch = as_input(self.model, images)
            for image, channels, label in zip(batch, maps.activations, classes, strict=True):
                scores = torch.cat([self._scores(image, part, label) for part in channels.split(_BATCH)])
                weights.append(torch.softmax(scores, dim=0))
        return (torch.stack(weights)[:, :, None, None] * maps.activations).sum(dim=1)

    def _scores(self, image: Tensor, channels: Tensor, label: Tensor) -> Tensor:
        """The logits (K,) of an image (3, S, S) masked with each of K channels (K, h, w)."""
        masks = F.interpolate(channels[:, None], image.shape[1:], mode="bilinear", align_corners=True)
        low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
        masks = ((masks - low) / (high - low + 1e-8)).to(image.dtype)
        return score_logits(self.model(image * masks).float(), label.expand(len(masks)).to(image.device))


METHODS: dict[str, type[CAM]] = {
    "evidence": HiResCAM,
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "scorecam": ScoreCAM,
}
