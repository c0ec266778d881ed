"""Losses by name: a plug-in's cross-entropy equals the built-in one, with smoothing, weights, and mixing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import excite
from excite.config.train_config import TrainConfig
from excite.errors import ExciteError
from excite.training.losses import PluginLoss, build_loss

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("own_names")


def per_image(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets, reduction="none")


@settings(max_examples=40, deadline=None)
@given(
    images=st.integers(1, 6),
    classes=st.integers(2, 5),
    smoothing=st.sampled_from([0.0, 0.1, 0.5]),
    weighted=st.booleans(),
    mixed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_plugins_cross_entropy_is_pytorchs(
    images: int, classes: int, smoothing: float, weighted: bool, mixed: bool, seed: int
) -> None:
    """PyTorch weights the loss of a mixed target class by class, and the plug-in by the mean weight: they are
    compared where both are defined alike."""
    excite.register("loss", "mine")(lambda: per_image)
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, generator=generator)
    targets = torch.randint(classes, (images,), generator=generator)
    weights = (
        torch.rand(classes, generator=generator) + 0.5 if weighted and not (smoothing or mixed) else None
    )
    given_targets = torch.rand(images, classes, generator=generator).softmax(1) if mixed else targets
    expected = F.cross_entropy(
        logits, given_targets, weight=weights, label_smoothing=smoothing, reduction="none"
    ).mean()
    found = PluginLoss("mine", {}, smoothing=smoothing, weights=weights)(logits, given_targets)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_weight_of_mixed_classes_is_their_mean() -> None:
    excite.register("loss", "one")(lambda: lambda logits, targets: logits.sum(1) * 0 + 1)
    loss = PluginLoss("one", {}, weights=torch.tensor([1.0, 3.0]))
    assert float(loss(torch.zeros(2, 2), torch.tensor([[0.5, 0.5], [1.0, 0.0]]))) == pytest.approx(1.5)
    assert float(loss(torch.zeros(2, 2), torch.tensor([0, 1]))) == pytest.approx(2.0)


def test_options_reach_the_factory_and_unknown_ones_are_refused() -> None:
    @excite.register("loss", "focal")
    def focal(gamma: float = 2.0) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda logits, targets: (
            (1 - (-per_image(logits, targets)).exp()) ** gamma * per_image(logits, targets)
        )

    logits, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    probability = logits.softmax(1)[range(4), targets]
    for gamma in (0.0, 1.5):
        config = TrainConfig(loss="focal", loss_options={"gamma": gamma})
        expected = (-((1 - probability) ** gamma) * probability.log()).mean()
        assert torch.allclose(build_loss(config, 3, CPU)(logits, targets), expected)
    with pytest.raises(ExciteError, match=r"unknown option 'gama' .did you mean 'gamma'"):
        build_loss(TrainConfig(loss="focal", loss_options={"gama": 1}), 3, CPU)
    with pytest.raises(ExciteError, match="loss_options: unknown option 'gamma'"):
        build_loss(TrainConfig(loss_options={"gamma": 1}), 3, CPU)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: F.cross_entropy, r"returns \(\) for 3 images, not \(3,\) .return the loss of each image"),
        (lambda: lambda a, b: None, "returns NoneType for 3 images"),
        (lambda: lambda a, b: 1 / 0, "failed: ZeroDivisionError"),
        (lambda: lambda a, b: a.detach().sum(1), "has no gradient"),
        (lambda: lambda a, b: a.sum(1) * torch.nan, "is not finite"),
        (lambda: 3, "is int, which cannot be called"),
        (lambda: 1 / 0, "could not be built: ZeroDivisionError"),
        (lambda: nn.Linear(2, 2), "has parameters, which training would not change"),
    ],
)
def test_a_loss_that_cannot_train_is_refused_before_the_training(
    factory: Callable[..., Any], message: str
) -> None:
    excite.register("loss", "mine")(factory)
    with pytest.raises(ExciteError, match=f"^loss 'mine': {message}"):
        build_loss(TrainConfig(loss="mine"), 3, CPU)


def test_a_loss_of_classes_only_is_refused_where_images_are_mixed() -> None:
    excite.register("loss", "nll")(lambda: lambda a, b: F.nll_loss(a.log_softmax(1), b, reduction="none"))
    build_loss(TrainConfig(loss="nll"), 3, CPU)
    for more in ({"mixed": True}, {}):
        config = TrainConfig(loss="nll", label_smoothing=0.0 if more else 0.1)
        with pytest.raises(ExciteError, match="loss 'nll': failed: RuntimeError"):
            build_loss(config, 3, CPU, **more)
