"""``--recipe finetune``: fine-tuned weights are interpolated toward their initial values if that helps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from excite.config.train_config import TrainConfig
from excite.data.batches import derive_seed
from excite.data.corruptions import CORRUPTIONS, corrupt
from excite.data.manifest import Manifest
from excite.data.sources import PixelSubset
from excite.evaluation.one_standard_error import first_within_error
from excite.inference.predict import predict_logits
from excite.pipeline.context import RunContext
from excite.pipeline.finetuning import START
from excite.pipeline.objective import plain_objective, targets_of
from excite.training.loop import BEST

FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the fine-tuned weights, to choose from
MAX_IMAGES = 256  # evaluated under each corruption
CLEAN = "clean"  # images without a corruption

Weights = Mapping[str, Tensor]


def interpolate_weights(context: RunContext) -> float:
    """Move the network's weights back toward its start by as much as the validation images favor.

    With ``config.keep`` tuned, they stay where they are.

    Weights between pretrained and fine-tuned ones are often better than either, above all on data from
    elsewhere (Wortsman et al. 2022, arXiv 2109.01903), so the loss is measured on the validation images and
    on each of their corruptions (``excite.data.corruptions``). Validation groups are often few, and their
    loss is then mostly chance: of the fractions whose mean loss is within one standard error, over groups, of
    the lowest, the one nearest to the start is chosen (Breiman et al. 1984, section 3.4.3).

    Args:
        context: its network has the fine-tuned weights; its run folder holds the start and the best epoch.

    Returns:
        the fraction of the fine-tuned weights.
    """
    if context.config.keep == "tuned":
        return 1.0
    start, tuned = _start_and_tuned(context)
    rows = sample_rows(context.manifest, "val", context.config)
    candidates = [partial(_interpolate, start, tuned, fraction) for fraction in FRACTIONS]
    losses, _ = _evaluate(context, candidates, rows, "choosing between initial and tuned weights")
    by_image = losses.mean(axis=0)  # over the corruptions: (fractions, images)
    means = by_image.mean(axis=1)
    chosen = first_within_error(by_image, context.manifest.group_codes()[rows])
    context.model.load_state_dict(candidates[chosen]())
    fraction = FRACTIONS[chosen]
    context.display.fact("kept", _kept_text(chosen, means))
    return fraction


def _kept_text(chosen: int, means: np.ndarray) -> str:
    """What is kept and why: without the rule, a higher loss than the lowest looks like a mistake."""
    fraction = FRACTIONS[chosen]
    text = (
        f"{fraction:.0%} fine-tuned and {1 - fraction:.0%} initial weights; log loss on clean and corrupted "
        f"validation images {means[chosen]:.3f} (initial {means[0]:.3f}, fine-tuned {means[-1]:.3f})"
    )
    if chosen == means.argmin():
        return text
    return f"{text}; the lowest, {means.min():.3f}, is within one standard error of it"


def measure_robustness(context: RunContext) -> dict[str, Any]:
    """Metrics of the start, the fine-tuned and the final weights on clean and on corrupted test images.

    Args:
        context: its network has the final weights, and has them again afterwards.

    Returns:
        ``n`` images, and ``rows``: ``corruption``, and for ``start``, ``tuned``, and ``final`` each
        ``accuracy`` and ``log_loss``, without test-time augmentation and temperature.
    """
    final = {name: value.detach().clone() for name, value in context.model.state_dict().items()}
    rows = sample_rows(context.manifest, "test", context.config)
    start, tuned = _start_and_tuned(context)
    candidates = [lambda: start, lambda: tuned, lambda: final]
    losses, correct = _evaluate(context, candidates, rows, "measuring robustness")
    context.model.load_state_dict(final)
    kinds = ("start", "tuned", "final")
    table = [
        {
            kind: {
                "accuracy": float(correct[row, column].mean()),
                "log_loss": float(losses[row, column].mean()),
            }
            for column, kind in enumerate(kinds)
        }
        for row in range(len(losses))
    ]
    names = (CLEAN, *CORRUPTIONS)
    return {
        "n": len(rows),
        "rows": [{"corruption": name, **row} for name, row in zip(names, table, strict=True)],
    }


def _start_and_tuned(context: RunContext) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights that the training started from, and those of its best epoch."""
    folder: Path = context.run.checkpoints
    return load_file(folder / START), load_file(folder / BEST)


def _interpolate(start: Weights, tuned: Weights, fraction: float) -> Weights:
    """``start + fraction * (tuned - start)``; with fraction 0 the start itself, counters included."""
    if fraction == 0:
        return start
    return {
        name: torch.lerp(start[name], value, fraction) if value.is_floating_point() else value
        for name, value in tuned.items()
    }


def _evaluate(
    context: RunContext, candidates: Sequence[Callable[[], Weights]], rows: np.ndarray, stage: str
) -> tuple[np.ndarray, np.ndarray]:
    """Log loss and correctness (1 + corruptions, candidates, images) of the images in ``rows``, clean first.

    Each candidate builds its weights when they are needed, so that one set at a time is in memory. There is
    no test-time augmentation: the comparison is between weights.
    """
    names, progress = (CLEAN, *CORRUPTIONS), context.display.stage(stage)
    preprocessing = dataclasses.replace(context.preprocessing, tta="none")
    clean, truth = context.pixels[rows], torch.from_numpy(targets_of(context.manifest)[rows])
    objective = plain_objective(context.manifest)
    losses = np.zeros((len(names), len(candidates), len(truth)))
    correct = np.zeros(losses.shape)
    for row, name in enumerate(names):
        images = PixelSubset(clean if name == CLEAN else corrupt(clean, name))
        for column, weights in enumerate(candidates):
            context.model.load_state_dict(weights())
            logits = predict_logits(
                context.model,
                images,
                preprocessing,
                device=context.device,
                precision=context.config.precision,
            )
            scores = torch.from_numpy(logits)
            losses[row, column] = objective.log_losses(scores, truth).numpy()
            correct[row, column] = objective.correct(scores, truth).numpy()
            progress(row * len(candidates) + column + 1, len(names) * len(candidates))
    return losses, correct


def sample_rows(manifest: Manifest, split: str, config: TrainConfig) -> np.ndarray:
    """At most ``MAX_IMAGES`` rows of a split, in order; with ``augmented_copies`` one, one row per photo."""
    rows = np.flatnonzero(manifest.table["split"] == split)
    rows = np.random.default_rng(derive_seed(config.seed, len(rows))).permutation(rows)
    if config.augmented_copies == "one":
        firsts = np.unique(manifest.photo_codes()[rows], return_index=True)[1]
        rows = rows[np.sort(firsts)]
    return np.sort(rows[:MAX_IMAGES])
