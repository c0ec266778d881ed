"""The loss of several labels equals PyTorch's where nothing is unknown, and ignores what is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import log_loss

from excite.data.augmentation import PRESETS, Mixing, mix
from excite.data.batches import TrainingBatches
from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.training.objective import ClassObjective, LabelObjective, label_targets


def problem(images: int = 12, labels: int = 5, unknown: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    values = random.integers(0, 2, (images, labels))
    values[random.random(values.shape) < unknown] = -1
    return torch.from_numpy(random.normal(size=values.shape)).float(), torch.from_numpy(label_targets(values))


def test_it_is_binary_cross_entropy_with_positive_weights() -> None:
    logits, targets = problem()
    loss = LabelObjective().loss(logits, targets)
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, targets))
    weights = torch.tensor([[0.6, 3.0]]).repeat(5, 1)
    weighted = LabelObjective(weights=weights).loss(logits, targets)
    expected = 0.6 * F.binary_cross_entropy_with_logits(logits, targets, pos_weight=torch.full((5,), 5.0))
    torch.testing.assert_close(weighted, expected)


def test_label_smoothing_moves_targets_toward_one_half() -> None:
    logits, targets = problem()
    loss = LabelObjective(smoothing=0.2).loss(logits, targets)
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, 0.1 + 0.8 * targets))


def test_unknown_values_have_no_gradient() -> None:
    logits, targets = problem(unknown=0.4)
    known = ~targets.isnan()
    logits.requires_grad_()
    objective = LabelObjective(known=float(known.float().mean()), smoothing=0.1)
    objective.loss(logits, targets).backward()
    assert logits.grad is not None
    assert (logits.grad[~known] == 0).all()
    assert (logits.grad[known] != 0).all()
    mean = F.binary_cross_entropy_with_logits(logits[known], 0.05 + 0.9 * targets[known])
    torch.testing.assert_close(objective.loss(logits, targets), mean)


def test_the_mean_over_pieces_is_that_of_the_batch() -> None:
    logits, targets = problem(unknown=0.4)
    objective = LabelObjective(known=0.6)
    pieces = [objective.loss(logits[i : i + 3], targets[i : i + 3]) for i in range(0, 12, 3)]
    torch.testing.assert_close(torch.stack(pieces).mean(), objective.loss(logits, targets))


def test_the_validation_loss_is_the_mean_over_labels() -> None:
    logits, targets = problem(images=40, unknown=0.3)
    probabilities = torch.sigmoid(logits).double().numpy()
    each = []
    for truth, scores in zip(targets.numpy().T, probabilities.T, strict=True):
        known = ~np.isnan(truth)
        each.append(log_loss(truth[known], scores[known], labels=[0, 1]))
    assert LabelObjective(smoothing=0.3).log_loss(logits, targets) == pytest.approx(np.mean(each), rel=1e-5)
    right = (probabilities > 0.5) == (targets.numpy() > 0.5)
    known = ~targets.isnan().numpy()
    expected = [row[k].mean() for row, k in zip(right, known, strict=True)]
    assert LabelObjective().correct(logits, targets).numpy() == pytest.approx(expected)


def test_an_image_without_known_values_counts_nothing() -> None:
    logits, targets = torch.ones(2, 3), torch.full((2, 3), torch.nan)
    targets[1] = 1
    objective = LabelObjective()
    assert objective.log_losses(logits, targets)[0] == 0
    assert objective.correct(logits, targets).tolist() == [0, 1]


def test_mixed_values_are_unknown_if_one_is() -> None:
    images = torch.zeros(2, 3, 4, 4)
    one, other = torch.tensor([[1.0, torch.nan], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [torch.nan, 0.0]])
    _, mixed = mix(images, images, one, other, Mixing(torch.tensor([1, 0]), 0.75, None))
    torch.testing.assert_close(mixed, torch.tensor([[0.75, torch.nan], [torch.nan, 0.75]]), equal_nan=True)
    _, whole = mix(images, images, one, other, Mixing(torch.tensor([1, 0]), 1.0, None))
    torch.testing.assert_close(whole, one, equal_nan=True)


def test_batches_carry_the_values_of_labels(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (8, 6, 6, 3)).astype(np.uint8)
    targets = label_targets(random.integers(-1, 2, (8, 3)))
    batches = TrainingBatches(
        PixelSubset(pixels),
        targets,
        classes=3,
        preprocessing=Preprocessing(6),
        batch_size=8,
        augmentation=PRESETS["none"],
        seed=0,
    )
    _, loaded = batches.load(0, 0, 0)
    np.testing.assert_array_equal(loaded.numpy(), targets[batches.order(0)])


def test_one_class_per_image_is_cross_entropy() -> None:
    logits, targets = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    objective = ClassObjective()
    torch.testing.assert_close(objective.loss(logits, targets), F.cross_entropy(logits, targets))
    assert objective.log_loss(logits, targets) == float(F.cross_entropy(logits, targets))
    shares = F.one_hot(targets, 4).float()
    torch.testing.assert_close(objective.correct(logits, shares), objective.correct(logits, targets))
