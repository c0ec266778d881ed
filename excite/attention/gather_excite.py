"""Gather-Excite: gates computed from neighborhoods, and applied to every position of them.

timm's module is not used: with parameters its constructor raises an error (``*dd`` instead of ``**dd``), and
it lacks the ReLU between gather and excite that the authors' networks have.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excite.attention import parts
from excite.attention.parts import GatedModule
from excite.attention.width import hidden_width, require_positive
from excite.errors import BAD_USAGE, ExciteError, unknown_name

FORMS = ("theta-", "theta", "theta+")


class GatherExcite(GatedModule):
    """Multiply the feature map by gates that are computed from neighborhoods of extent e.

    output = u * sigmoid(resize(gather(u))): (N, C, H, W) -> (N, C, H, W). The gather makes the map e times
    smaller; resizing, by nearest neighbor, restores its size. There are three forms:

    - ``theta-``, without parameters: the mean over windows of (2e - 1) x (2e - 1) positions with stride e.
    - ``theta``: log2(e) depthwise 3x3 convolutions of stride 2, each with batch norm, and ReLU between them.
    - ``theta+``: ``theta``, then ReLU and the two layers of SE as 1x1 convolutions.

    With a global extent, the neighborhood is the whole map: its mean, or in the forms with parameters one
    depthwise convolution of the map's size with batch norm.

    Args:
        channels: C, the number of channels of the input.
        reduction: r; in ``theta+``, there are max(1, C // r) hidden units. The other forms have none.
        form: ``theta-``, ``theta``, or ``theta+``.
        extent: e, a power of two, at least 2; None is the global extent, the best one in the paper.
        feature_size: height and width of the feature map, or one number for both; required for the global
            extent with parameters, and an error otherwise.
        divisor: round the number of hidden units to the nearest multiple of this number.
        identity: initialize every gate to exactly one: the last layer is initialized to zero, and the sigmoid
            is doubled. Not available for ``theta-``, which has no parameters.

    Raises:
        ExciteError: if a size is less than 1, ``form`` is unknown, ``extent`` is not a power of two,
            ``feature_size`` is missing or has no effect, or ``identity`` is set for ``theta-``.

    Paper: Gather-Excite, Hu et al., https://arxiv.org/abs/1810.12348.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        form: str = "theta-",
        extent: int | None = None,
        feature_size: int | tuple[int, int] | None = None,
        divisor: int = 1,
        identity: bool = False,
    ) -> None:
        super().__init__(channels, reduction=reduction, divisor=divisor)
        if form not in FORMS:
            raise unknown_name("form of gather-excite", form, FORMS)
        if form == "theta-" and identity:
            raise parts.refuse_identity("GatherExcite")
        size = (feature_size, feature_size) if isinstance(feature_size, int) else feature_size
        _check_extent(form, extent, size)
        self.form, self.extent, self.identity = form, extent, identity
        # FLOP counters count a gather that is a convolution.
        self.passes = 2 if form == "theta-" else 1
        self.gather = nn.Sequential() if form == "theta-" else _convolutions(channels, extent, size)
        if form == "theta+":
            hidden = hidden_width(channels, reduction, divisor)
            self.fc1 = nn.Conv2d(channels, hidden, 1)
            self.fc2 = nn.Conv2d(hidden, channels, 1)
        if identity:
            parts.zero(self.fc2 if form == "theta+" else self.gather[-1])

    def gates(self, u: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W), or (N, C, 1, 1) with a global extent."""
        v = self._gather(u)
        if self.form == "theta+":
            v = parts.apply(self.fc2, torch.relu(parts.apply(self.fc1, torch.relu(v))))
        s = parts.gate(v, self.identity)
        return s if self.extent is None else F.interpolate(s, size=u.shape[2:], mode="nearest")

    def _gather(self, u: Tensor) -> Tensor:
        if self.form == "theta-" and self.extent is None:
            return parts.squeeze(u)
        u = u.to(parts.wide_dtype(u))
        if self.form == "theta-":
            e = self.extent
            return F.avg_pool2d(u, 2 * e - 1, e, e - 1, count_include_pad=False)  # type: ignore[operator]
        for layer in self.gather:
            if isinstance(layer, nn.Conv2d):
                u = parts.apply(layer, u)
            elif isinstance(layer, nn.BatchNorm2d):
                u = parts.normalize(layer, u)
            else:
                u = layer(u)
        return u

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, form={self.form}, extent={self.extent or 'global'}"


def _convolutions(channels: int, extent: int | None, size: tuple[int, int] | None) -> nn.Sequential:
    """The layers of a gather with parameters; the last one is a batch norm."""

    def depthwise(kernel: int | tuple[int, int], stride: int, padding: int) -> nn.Conv2d:
        return nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels, bias=False)

    if extent is None:
        assert size is not None
        return nn.Sequential(depthwise(size, 1, 0), parts.BatchNorm(channels))
    layers: list[nn.Module] = []
    for _ in range(extent.bit_length() - 1):
        layers += [depthwise(3, 2, 1), parts.BatchNorm(channels), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _check_extent(form: str, extent: int | None, size: tuple[int, int] | None) -> None:
    def refuse(what: str, hint: str) -> ExciteError:
        return ExciteError(what, where="GatherExcite", hint=hint, exit_code=BAD_USAGE)

    if extent is not None and (extent < 2 or extent & (extent - 1)):
        raise refuse(
            f"extent must be a power of two, at least 2, got {extent}", "use None for the whole feature map"
        )
    needed = extent is None and form != "theta-"
    if needed and size is None:
        raise refuse(f"{form} with a global extent needs feature_size", "pass it, or an extent such as 8")
    if size is not None:
        if not needed:
            raise refuse("feature_size has no effect", "only a global extent with parameters uses it")
        require_positive("GatherExcite", feature_height=size[0], feature_width=size[1])
