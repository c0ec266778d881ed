"""What gates depend on: class, image, or nothing; which are constant, and what the network loses without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from excite.evaluation.group_means import group_mean_interval
from excite.evaluation.intervals import Interval
from excite.explain.excitation import SiteGates, logits_with_mean_gates, record_gates

STATIC = 0.01  # standard deviation of a static gate, relative to the root mean square of the site's gates
DEAD = 0.01  # a dead gate is at most this for every image
SATURATED = 0.01  # distance from an end of the range that a saturated gate keeps for 99 % of the images
TWINS = 0.99  # correlation of twin gates
EXPLAINED = 0.99  # fraction of the variance that ``rank`` components explain
HARMLESS = 0.01
"""A site is constant in practice if replacing its gates by their means costs at most this accuracy: the
interval of the loss lies below it."""


@dataclass(frozen=True)
class VarianceShares:
    """Components of the variance of gates, as fractions of their sum.

    Args:
        of_class: between classes.
        of_image: between images of one class.
        of_nothing: between an image and its mirror image, in which nothing has changed.
    """

    of_class: float
    of_image: float
    of_nothing: float


def variance_shares(gates: np.ndarray, targets: np.ndarray) -> VarianceShares | None:
    """Nested analysis of variance: versions in images in classes (Searle, Casella & McCulloch 1992, ch. 3).

    The components are unbiased, so that gates that do not depend on the class have a share of about 0 however
    few images there are; negative estimates count as 0. Components are added over the channels.

    Args:
        gates: (V, N, C), of V versions of N images.
        targets: (N,) class of each image.

    Returns:
        None for gates that do not vary, and with fewer than two classes or no class with two images.
    """
    versions, n, _ = gates.shape
    classes, codes, sizes = np.unique(targets, return_inverse=True, return_counts=True)
    k = len(classes)
    if k < 2 or n <= k or versions < 2:
        return None
    values = gates.astype(np.float64)
    images = values.mean(axis=0)
    of_classes = np.stack([images[codes == code].mean(axis=0) for code in range(k)])
    within = ((values - images) ** 2).sum() / (n * (versions - 1))
    between_images = versions * ((images - of_classes[codes]) ** 2).sum() / (n - k)
    deviations = (of_classes - images.mean(axis=0)) ** 2
    between_classes = versions * (sizes[:, None] * deviations).sum() / (k - 1)
    size = (n - (sizes**2).sum() / n) / (k - 1)
    parts = np.array(
        [
            max(between_classes - between_images, 0.0) / (versions * size),
            max(between_images - within, 0.0) / versions,
            within,
        ]
    )
    if parts.sum() <= 1e-12 * max(float((values**2).sum(axis=2).mean()), 1e-30):
        return None
    return VarianceShares(*(parts / parts.sum()).tolist())


@dataclass(frozen=True)
class GateKinds:
    """Numbers of gates of one site.

    Args:
        channels: number of gates.
        static: gates that hardly depend on the image.
        dead: gates that are 0 for every image.
        saturated: gates that stay at an end of their range for 99 % of the images.
        twins: gates that follow an earlier gate, of those that are not static.
        rank: principal components with 99 % of the variance.
    """

    channels: int
    static: int
    dead: int
    saturated: int
    twins: int
    rank: int


def gate_kinds(gates: np.ndarray) -> GateKinds:
    """Count static, dead, saturated, and twin gates.

    Args:
        gates: (N, C) of N images.

    Example:
        >>> ramp = np.linspace(0.2, 0.8, 50)
        >>> gate_kinds(np.stack([ramp, 1 - ramp / 2, ramp**2, 0 * ramp, 0 * ramp + 0.5], axis=1))
        GateKinds(channels=5, static=2, dead=1, saturated=1, twins=0, rank=1)
    """
    values = gates.astype(np.float64)
    scale = float(np.sqrt((values.mean(axis=0) ** 2).mean()))
    deviations = values.std(axis=0)
    static = deviations <= STATIC * scale
    dead = np.abs(values).max(axis=0) <= DEAD
    low, high = float(values.min()), float(values.max())
    saturated = np.zeros(values.shape[1], dtype=bool)
    if low >= 0 and high <= 2 + 1e-6:  # a sigmoid, or twice a sigmoid
        top = 1.0 if high <= 1 + 1e-6 else 2.0
        at_end = (values <= SATURATED * top) | (values >= (1 - SATURATED) * top)
        saturated = at_end.mean(axis=0) >= 0.99
    moving = values[:, ~static]
    twins = 0
    if moving.shape[1] > 1:
        correlations = np.corrcoef(moving.T)
        twins = int((np.tril(correlations, -1) >= TWINS).any(axis=1).sum())
    spectrum = np.linalg.svd(values - values.mean(axis=0), compute_uv=False) ** 2
    total = float(spectrum.sum())
    rank = int(np.searchsorted(np.cumsum(spectrum), EXPLAINED * total) + 1) if total > 1e-12 else 0
    return GateKinds(values.shape[1], int(static.sum()), int(dead.sum()), int(saturated.sum()), twins, rank)


@dataclass(frozen=True)
class Ablation:
    """The accuracy with some gates at their means minus that of the network, on the same images.

    Args:
        accuracy: with the means.
        difference: paired.
        interval: of the difference, by group.
    """

    accuracy: float
    difference: float
    interval: Interval

    @property
    def harmless(self) -> bool:
        """Whether the loss is shown to be at most ``HARMLESS``; also if no answer changes."""
        low = self.difference if self.interval.low is None else self.interval.low
        return low >= -HARMLESS

    def to_dict(self) -> dict[str, Any]:
        """As in ``attention.json``."""
        return {
            "accuracy": self.accuracy,
            "difference": {"value": self.difference, **self.interval.to_dict()},
        }


@dataclass(frozen=True)
class SiteReport:
    """One site: its gates, what they depend on, and what the network loses without them."""

    site: SiteGates
    shares: VarianceShares | None
    kinds: GateKinds
    ablation: Ablation

    def to_dict(self) -> dict[str, Any]:
        """As in ``attention.json``, without the gates."""
        return {
            "path": self.site.path,
            "variation": self.site.variation,
            "shares": None if self.shares is None else asdict(self.shares),
            "gates": asdict(self.kinds),
            "at_means": self.ablation.to_dict(),
            "constant_in_practice": self.ablation.harmless,
        }


@dataclass(frozen=True)
class AttentionReport:
    """What the gates of a network do.

    Args:
        sites: in the order of the network.
        unmeasured: paths of attention that does not multiply its input.
        accuracy: of the network.
        all_at_means: with the gates of all sites at their means.
        constant_at_means: with the gates of all sites that are constant in practice at their means; None if
            there are none.
        images, groups: behind the accuracies.
    """

    sites: tuple[SiteReport, ...]
    unmeasured: tuple[str, ...]
    accuracy: float
    all_at_means: Ablation
    constant_at_means: Ablation | None
    images: int
    groups: int

    @property
    def constant(self) -> list[SiteReport]:
        """The sites that are constant in practice."""
        return [site for site in self.sites if site.ablation.harmless]

    @property
    def fold_tolerance(self) -> float | None:
        """The largest variation that ``fold_constant_gates`` can take without a site that is not constant.

        None if it would fold none.
        """
        limit = min((s.site.variation for s in self.sites if not s.ablation.harmless), default=np.inf)
        below = [s.site.variation for s in self.constant if s.site.variation < limit]
        return max(below) if below else None

    def to_dict(self) -> dict[str, Any]:
        """The contents of ``attention.json``."""
        joint = self.constant_at_means
        return {
            "images": self.images,
            "groups": self.groups,
            "accuracy": self.accuracy,
            "all_at_means": self.all_at_means.to_dict(),
            "constant_at_means": None if joint is None else joint.to_dict(),
            "sites": [site.to_dict() for site in self.sites],
            "unmeasured": list(self.unmeasured),
            "fold_tolerance": self.fold_tolerance,
        }


def analyze_attention(
    model: nn.Module, batches: Sequence[Tensor], targets: np.ndarray, codes: np.ndarray
) -> AttentionReport:
    """What the gates of a network depend on, and what it loses if they are constants.

    Args:
        model: (N, 3, S, S) -> logits (N, C), with attention; it does not change.
        batches: normalized images, read several times.
        targets: (N,) class of each image.
        codes: (N,) group of each image, from 0.

    Raises:
        ExciteError: for a network without attention.
    """
    sites, logits, unmeasured = record_gates(model, batches)
    right = _right(logits, targets)

    def ablate(chosen: Sequence[SiteGates]) -> Ablation:
        means = {site.path: site.mean for site in chosen}
        changed = _right(logits_with_mean_gates(model, batches, means), targets)
        gaps = changed - right
        return Ablation(float(changed.mean()), float(gaps.mean()), group_mean_interval(gaps, codes))

    reports = tuple(
        SiteReport(site, variance_shares(site.gates, targets), gate_kinds(site.gates[0]), ablate([site]))
        for site in sites
    )
    constant = [report.site for report in reports if report.ablation.harmless]
    return AttentionReport(
        reports,
        unmeasured,
        float(right.mean()),
        ablate(sites),
        ablate(constant) if constant else None,
        len(targets),
        len(np.unique(codes)),
    )


def class_means(gates: np.ndarray, targets: np.ndarray) -> dict[int, np.ndarray]:
    """Class -> (C,) mean gates of its images, from (N, C): a line of the paper's figures 5 to 7."""
    return {int(label): gates[targets == label].mean(axis=0) for label in np.unique(targets)}


def _right(logits: Tensor, targets: np.ndarray) -> np.ndarray:
    return (logits.argmax(dim=1) == torch.from_numpy(targets)).double().numpy()
