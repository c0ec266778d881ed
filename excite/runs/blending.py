"""Fine-tuned weights, moved back towards where they started as far as that makes them better abroad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from excite.data.loading import PixelSource, derive_seed
from excite.data.manifest import Manifest
from excite.data.shifts import SHIFTS, shifted
from excite.runs.finetuning import START
from excite.runs.settle import preprocessing_of
from excite.training.config import TrainConfig
from excite.training.inference import predict_logits
from excite.training.loop import BEST
from excite.training.progress import Display

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the tuned weights, to be tried
LARGEST = 256  # images that are looked at under every shift
PLAIN = "as they are"


def blend(
    model: nn.Module,
    folder: Path,
    config: TrainConfig,
    validation: Manifest,
    pixels: np.ndarray,
    device: torch.device,
    display: Display,
) -> float:
    """Move a tuned network's weights back towards its start, as far as validation images like best.

    Wortsman et al. 2022 (arXiv 2109.01903): a mean of both is often better than either, above all on other
    data. So the images are asked as they are and under every shift of ``excite.data.shifts``; the share with
    the least mean loss is taken, of equally good ones the one nearer to the start.

    Args:
        folder: of the checkpoints: where the training started, and its best epoch.
        validation: its rows are those of ``pixels``, (N, S, S, 3).

    Returns:
        the share of the tuned weights.
    """
    ends, rows = _Ends(model, folder), _some(len(validation), config.seed)
    found = _scores(ends, SHARES, config, validation.targets()[rows], pixels[rows], device, display)
    losses = [float(np.mean([row[share]["log_loss"] for row in found])) for share in range(len(SHARES))]
    best = int(np.argmin(losses))
    ends.load(SHARES[best])
    display.note(
        f"{SHARES[best]:.0%} of the tuned weights, {1 - SHARES[best]:.0%} of the start's: loss on validation "
        f"images, as they are and shifted, {losses[best]:.3f} (start {losses[0]:.3f}, tuned {losses[-1]:.3f})"
    )
    return SHARES[best]


def under_shifts(
    model: nn.Module,
    folder: Path,
    share: float,
    config: TrainConfig,
    test: Manifest,
    pixels: np.ndarray,
    device: torch.device,
    display: Display,
) -> dict[str, Any]:
    """What start, tuned and kept weights are worth on test images as they are and under each shift.

    Returns:
        ``share`` of the tuned weights in the kept ones, ``n`` images, and ``rows``: ``shift``, and for
        ``start``, ``tuned`` and ``kept`` each ``accuracy`` and ``log_loss``, before any temperature.
    """
    ends, rows = _Ends(model, folder), _some(len(test), config.seed)
    shares = (0.0, 1.0, share)
    found = _scores(ends, shares, config, test.targets()[rows], pixels[rows], device, display)
    ends.load(share)
    names = (PLAIN, *SHIFTS)
    return {
        "share": share,
        "n": len(rows),
        "rows": [
            {"shift": name, **dict(zip(("start", "tuned", "kept"), row, strict=True))}
            for name, row in zip(names, found, strict=True)
        ],
    }


class _Ends:
    """A network's weights where it started and where it came to, and anything between them."""

    def __init__(self, model: nn.Module, folder: Path) -> None:
        self.model = model
        self.start, self.tuned = load_file(folder / START), load_file(folder / BEST)

    def load(self, share: float) -> nn.Module:
        """Give the network this share of the tuned weights."""
        between = {
            name: torch.lerp(self.start[name], value, share) if value.is_floating_point() else value
            for name, value in self.tuned.items()
        }
        self.model.load_state_dict(between)
        return self.model


def _scores(
    ends: _Ends,
    shares: tuple[float, ...],
    config: TrainConfig,
    targets: np.ndarray,
    pixels: np.ndarray,
    device: torch.device,
    display: Display,
) -> list[list[dict[str, float]]]:
    """Accuracy and log loss for each shift, the plain images first, and each share."""
    names, progress = (PLAIN, *SHIFTS), display.stage("asking under other light")
    found: list[list[dict[str, float]]] = [[{} for _ in shares] for _ in names]
    truth = torch.from_numpy(targets)
    for column, share in enumerate(shares):
        model = ends.load(share)
        for row, name in enumerate(names):
            source = PixelSource(pixels if name == PLAIN else shifted(pixels, name))
            logits = predict_logits(
                model, source, preprocessing_of(config), device=device, precision=config.precision
            )
            found[row][column] = {
                "accuracy": float((logits.argmax(axis=1) == targets).mean()),
                "log_loss": float(F.cross_entropy(torch.from_numpy(logits), truth)),
            }
            if progress is not None:
                progress(column * len(names) + row + 1, len(shares) * len(names))
    return found


def _some(count: int, seed: int) -> np.ndarray:
    """All of them, or ``LARGEST`` drawn at random, in order."""
    random = np.random.default_rng(derive_seed(seed, count))
    return np.sort(random.permutation(count)[:LARGEST])
