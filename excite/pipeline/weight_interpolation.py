"""Fine-tuned weights, moved back toward where they started as far as that makes them better abroad."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from excite.config.train_config import TrainConfig
from excite.data.batches import derive_seed
from excite.data.corruptions import CORRUPTIONS, corrupt
from excite.data.manifest import Manifest
from excite.data.sources import PixelSubset
from excite.inference.predict import predict_logits
from excite.pipeline.finetuning import START
from excite.runs.derive import preprocessing_of
from excite.system.progress import Display
from excite.training.loop import BEST

FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the tuned weights, to be tried
MAX_IMAGES = 256  # images that are looked at under every shift
PLAIN = "clean"

Weights = Mapping[str, Tensor]


def interpolate_weights(
    model: nn.Module,
    folder: Path,
    config: TrainConfig,
    manifest: Manifest,
    pixels: np.ndarray,
    device: torch.device,
    display: Display,
) -> float:
    """Move a tuned network's weights back toward its start, as far as validation images like best.

    Wortsman et al. 2022 (arXiv 2109.01903): a mean of both is often better than either, above all on other
    data. So the images are asked as they are and under every shift of ``excite.data.corruptions``. Validation
    groups are often few and their loss is then mostly chance: of the shares whose mean loss is within one
    standard error, over groups, of the least, the one nearest to the start is taken (Breiman et al. 1984,
    section 3.4.3).

    Args:
        folder: of the checkpoints: where the training started, and its best epoch.
        manifest: all images, of which those for validation are asked.
        pixels: (N, S, S, 3) of all of them, in memory or mapped from a file.

    Returns:
        the share of the tuned weights.
    """
    start, tuned = _ends(folder)
    rows = sample_rows(manifest, "val", config)
    tried = [partial(_between, start, tuned, share) for share in FRACTIONS]
    losses, _ = _asked(model, tried, config, manifest.targets()[rows], pixels[rows], device, display)
    each = losses.mean(axis=0)  # over the shifts: (shares, images)
    means = each.mean(axis=1)
    chosen = nearest_to_start(each, manifest.group_codes()[rows])
    model.load_state_dict(tried[chosen]())
    share = FRACTIONS[chosen]
    display.note(
        f"{share:.0%} of the tuned weights, {1 - share:.0%} of the start's: loss on validation images, as "
        f"they are and corrupt, {means[chosen]:.3f} (start {means[0]:.3f}, tuned {means[-1]:.3f})"
    )
    return share


def nearest_to_start(losses: np.ndarray, groups: np.ndarray) -> int:
    """The first row of losses (shares, images) whose mean is within one standard error of the least.

    The standard error is that of the difference from the best row, whose images of one group are one witness:
    the ratio estimator's over groups.
    """
    best = int(losses.mean(axis=1).argmin())
    codes = np.unique(groups, return_inverse=True)[1]
    count = int(codes.max()) + 1
    for row in range(best):
        differences = losses[row] - losses[best]
        mean = differences.mean()
        sums = np.bincount(codes, differences - mean, count)
        error = np.sqrt(count / max(1, count - 1) * (sums**2).sum()) / len(differences)
        if mean <= error:
            return row
    return best


def measure_robustness(
    model: nn.Module,
    folder: Path,
    config: TrainConfig,
    manifest: Manifest,
    pixels: np.ndarray,
    device: torch.device,
    display: Display,
) -> dict[str, Any]:
    """What start, tuned and kept weights are worth on test images as they are and under each shift.

    Args:
        model: with the weights that are kept; it has them afterwards, too.

    Returns:
        ``n`` images, and ``rows``: ``shift``, and for ``start``, ``tuned`` and ``kept`` each ``accuracy`` and
        ``log_loss``, of one view and before any temperature.
    """
    kept = {name: value.detach().clone() for name, value in model.state_dict().items()}
    rows = sample_rows(manifest, "test", config)
    start, tuned = _ends(folder)
    asked = [lambda: start, lambda: tuned, lambda: kept]
    losses, right = _asked(model, asked, config, manifest.targets()[rows], pixels[rows], device, display)
    model.load_state_dict(kept)
    return {
        "n": len(rows),
        "rows": [
            {
                "corruption": name,
                **{
                    kind: {
                        "accuracy": float(right[row, column].mean()),
                        "log_loss": float(losses[row, column].mean()),
                    }
                    for column, kind in enumerate(("start", "tuned", "final"))
                },
            }
            for row, name in enumerate((PLAIN, *CORRUPTIONS))
        ],
    }


def _ends(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights where a training started and where it came to."""
    return load_file(folder / START), load_file(folder / BEST)


def _between(start: Weights, tuned: Weights, share: float) -> Weights:
    """This share of the tuned weights and the rest of the start's; at 0 the start itself."""
    if share == 0:
        return start
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in tuned.items()
    }


def _asked(
    model: nn.Module,
    weights: Sequence[Callable[[], Weights]],
    config: TrainConfig,
    targets: np.ndarray,
    pixels: np.ndarray,
    device: torch.device,
    display: Display,
) -> tuple[np.ndarray, np.ndarray]:
    """Log loss of each image, and whether it is right: (1 + shifts, weights, images), plain images first.

    Of each image one view is asked: it is weights that are compared. They are made when they are asked.
    """
    names, progress = (PLAIN, *CORRUPTIONS), display.stage("asking under other light")
    preprocessing = dataclasses.replace(preprocessing_of(config), tta="none")
    losses = np.zeros((len(names), len(weights), len(targets)))
    right = np.zeros(losses.shape, dtype=bool)
    truth = torch.from_numpy(targets)
    for row, name in enumerate(names):
        source = PixelSubset(pixels if name == PLAIN else corrupt(pixels, name))
        for column, each in enumerate(weights):
            model.load_state_dict(each())
            logits = predict_logits(model, source, preprocessing, device=device, precision=config.precision)
            losses[row, column] = F.cross_entropy(torch.from_numpy(logits), truth, reduction="none").numpy()
            right[row, column] = logits.argmax(axis=1) == targets
            if progress is not None:
                progress(row * len(weights) + column + 1, len(names) * len(weights))
    return losses, right


def sample_rows(manifest: Manifest, split: str, config: TrainConfig) -> np.ndarray:
    """Rows of a split, in order: of a photo with copies one, as an epoch draws, and ``MAX_IMAGES`` at most."""
    rows = np.flatnonzero(manifest.table["split"] == split)
    rows = np.random.default_rng(derive_seed(config.seed, len(rows))).permutation(rows)
    if config.augmented_copies == "one":
        firsts = np.unique(manifest.photo_codes()[rows], return_index=True)[1]
        rows = rows[np.sort(firsts)]
    return np.sort(rows[:MAX_IMAGES])
