"""Optimizer, schedule, average and loss against formulas written out in NumPy and PyTorch's own layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models import resnet18

import excite
from excite.config.train_config import TrainConfig
from excite.training.optimization import (
    DEFAULTS,
    LAYERS,
    AveragedModel,
    build_optimizer,
    classification_loss,
    freeze_layers,
    freeze_norms,
    layer_scales,
    learning_rate,
)


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


@settings(max_examples=100)
@given(progress=st.floats(0, 1), peak=st.floats(1e-6, 10), warmup=st.floats(0, 0.9))
def test_the_rate_climbs_in_a_line_and_falls_as_half_a_cosine(
    progress: float, peak: float, warmup: float
) -> None:
    rate = learning_rate(progress, peak=peak, warmup=warmup)
    if progress < warmup:
        assert rate == pytest.approx(peak * max(progress / warmup, 0.01))
    else:
        assert rate == pytest.approx(peak * math.cos(math.pi / 2 * (progress - warmup) / (1 - warmup)) ** 2)
    assert 0 <= rate <= peak


def test_the_rate_at_the_turning_points() -> None:
    rates = [learning_rate(progress, peak=0.4, warmup=0.2) for progress in (0, 0.1, 0.2, 0.6, 1)]
    assert rates == pytest.approx([0.004, 0.2, 0.4, 0.2, 0])
    assert learning_rate(0, peak=0.4, warmup=0) == 0.4


def test_without_warm_up_the_rate_is_pytorchs_cosine_annealing() -> None:
    optimizer = torch.optim.SGD(small_net().parameters(), lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    for step in range(50):
        assert schedule.get_last_lr()[0] == pytest.approx(
            learning_rate(step / 50, peak=0.3, warmup=0), abs=1e-9
        )
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("name", DEFAULTS)
def test_kernels_decay_and_norms_and_biases_do_not(name: str) -> None:
    """Without a gradient the decay is all that moves a weight."""
    model = small_net()
    before = {key: value.clone() for key, value in model.named_parameters()}
    optimizer = build_optimizer(model, name, weight_decay=0.1, momentum=0)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # at the rate of 1 that the loop replaces
    for key, parameter in model.named_parameters():
        factor = 0.9 if key in ("0.weight", "3.weight") else 1.0
        torch.testing.assert_close(parameter, before[key] * factor)


def test_frozen_weights_are_left_out_and_a_model_of_norms_alone_can_be_trained() -> None:
    model = small_net()
    model[0].requires_grad_(False)
    optimizer = build_optimizer(model, "adamw", weight_decay=0.1)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4
    build_optimizer(nn.BatchNorm2d(3), "sgd", weight_decay=0.1)


def test_sgd_is_nesterovs_recursion_in_numpy() -> None:
    weight = nn.Linear(2, 1, bias=False)
    expected, velocity = weight.weight.detach().numpy().astype(np.float64), 0.0
    optimizer = build_optimizer(weight, "sgd", weight_decay=0.01, momentum=0.8)
    for step in range(5):
        gradient = np.array([[1.0, -2.0]]) * (step + 1)
        weight.weight.grad = torch.tensor(gradient, dtype=torch.float32)
        optimizer.step()
        decayed = gradient + 0.01 * expected
        velocity = 0.8 * velocity + decayed
        expected = expected - (decayed + 0.8 * velocity)
    np.testing.assert_allclose(weight.weight.detach().numpy(), expected, rtol=1e-5)
    build_optimizer(weight, "sgd", weight_decay=0, momentum=0)  # nesterov needs momentum, and is off without


def test_every_optimizer_of_the_configuration_has_its_defaults() -> None:
    limits = TrainConfig.__dataclass_fields__["optimizer"].metadata["limits"]
    assert set(DEFAULTS) == set(limits.choices)


@pytest.mark.parametrize("horizon", [0.0, 1.0, 5.0, 30.0])
def test_the_average_is_a_recursion_over_weights_and_statistics(horizon: float) -> None:
    model = small_net()
    average = AveragedModel(model, horizon)
    expected = {name: value.double().numpy() for name, value in model.state_dict().items()}
    for step in range(1, 41):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(4, 3, 4, 4))  # moves the statistics
        reach = min(1 - 1 / horizon if horizon > 1 else 0, (step + 1) / (step + 10))
        for name, value in model.state_dict().items():
            expected[name] = reach * expected[name] + (1 - reach) * value.double().numpy()
        average.update(step)
    for name, value in average.model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert value == 40  # a count is copied
        else:
            np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-4, atol=1e-5)


def test_without_a_horizon_the_average_is_the_model_itself() -> None:
    model = small_net()
    average = AveragedModel(model, 0)
    for step in range(1, 4):
        model(torch.randn(4, 3, 4, 4))
        with torch.no_grad():
            model[0].weight.mul_(-1.7)
        average.update(step)
    for name, value in average.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_the_average_is_for_evaluation_and_leaves_the_model_in_training() -> None:
    model = small_net()
    average = AveragedModel(model, 10)
    model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})
    average.update(1)  # a checkpoint that was loaded in between is what is averaged
    assert average.model[1].running_mean[0] == pytest.approx(1 - 2 / 11)
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def in_numpy(logits: np.ndarray, shares: np.ndarray, smoothing: float, weights: np.ndarray) -> float:
    """-sum_c w_c q_c log p_c, averaged over images, where q is smoothed toward 1 / C."""
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    q = (1 - smoothing) * shares + smoothing / shares.shape[1]
    return float(-(weights * q * log_p).sum(axis=1).mean())


@settings(max_examples=60, deadline=None)
@given(
    images=st.integers(1, 8),
    classes=st.integers(2, 6),
    smoothing=st.floats(0, 0.9),
    weighted=st.booleans(),
    soft=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_loss_is_weighted_smoothed_cross_entropy(
    images: int, classes: int, smoothing: float, weighted: bool, soft: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (images, classes))
    weights = random.uniform(0.1, 3, classes) if weighted else np.ones(classes)
    indices = random.integers(0, classes, images)
    shares = random.dirichlet(np.ones(classes), images) if soft else np.eye(classes)[indices]
    loss = classification_loss(
        torch.tensor(logits, dtype=torch.float32),
        torch.tensor(shares, dtype=torch.float32) if soft else torch.tensor(indices),
        smoothing=smoothing,
        weights=torch.tensor(weights, dtype=torch.float32) if weighted else None,
    )
    assert float(loss) == pytest.approx(in_numpy(logits, shares, smoothing, weights), rel=1e-4, abs=1e-6)


def test_plain_loss_is_pytorchs() -> None:
    logits, targets = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    torch.testing.assert_close(classification_loss(logits, targets), F.cross_entropy(logits, targets))


@pytest.mark.parametrize("soft", [False, True])
def test_the_mean_over_parts_is_the_loss_of_the_whole_batch(soft: bool) -> None:
    """Where PyTorch's own weighted mean would differ, since it divides by each part's own weights."""
    torch.manual_seed(0)
    logits, weights = torch.randn(8, 3), torch.tensor([0.2, 1.0, 3.0])
    targets = torch.tensor([0, 0, 0, 0, 2, 2, 1, 2])
    shares = F.one_hot(targets, 3).float() if soft else targets
    options = {"smoothing": 0.1, "weights": weights}
    whole = classification_loss(logits, shares, **options)
    parts = [classification_loss(logits[i : i + 2], shares[i : i + 2], **options) for i in range(0, 8, 2)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_the_loss_of_half_precision_logits_is_computed_in_float32() -> None:
    logits, targets = torch.randn(4, 3).bfloat16(), torch.tensor([0, 1, 2, 0])
    loss = classification_loss(logits, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(logits.float(), targets))


def test_layers_near_the_image_change_least() -> None:
    model = resnet18()
    scales = layer_scales(model, 0.5)
    assert scales["fc.weight"] == 1
    order = [f"layer{stage}.{block}.conv1.weight" for stage in (1, 2, 3, 4) for block in (0, 1)]
    falling = [scales["conv1.weight"], *(scales[name] for name in order), scales["fc.weight"]]
    assert falling == sorted(falling)
    assert falling[0] == 0.5**LAYERS
    assert scales["layer3.0.conv1.weight"] == scales["layer3.0.downsample.1.bias"]
    optimizer = build_optimizer(model, "adamw", weight_decay=0.1, layer_decay=0.5)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(parameters) == len({id(p) for p in parameters}) == len(list(model.parameters()))
    held = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert held[id(parameter)]["lr_scale"] == scales[name]
        assert held[id(parameter)]["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)


def test_without_decay_all_layers_have_one_rate() -> None:
    assert set(layer_scales(resnet18(), 1.0).values()) == {1.0}


def test_frozen_norms_keep_their_statistics_and_learn_their_weights() -> None:
    norm = nn.BatchNorm2d(3).train()
    freeze_norms(norm)
    before = norm.running_mean.clone()
    norm(torch.randn(4, 3, 2, 2) + 5).sum().backward()
    assert norm.running_mean.equal(before)
    assert norm.weight.grad is not None


def test_frozen_layers_are_those_next_to_the_image_but_not_their_attention() -> None:
    model = excite.create_model("resnet50_v1", num_classes=3, attention="se")
    scales = layer_scales(model, 0.5)
    freeze_layers(model, 7)
    for path, parameter in model.named_parameters():
        frozen = scales[path] < 0.5 ** (LAYERS - 7) and ".attention." not in path
        assert parameter.requires_grad != frozen, path
    assert not model.get_parameter("conv1.weight").requires_grad
    assert model.get_parameter("fc.weight").requires_grad


@pytest.mark.parametrize(("count", "trained"), [(0, 62), (12, 2)])
def test_no_layer_or_all_but_the_head_are_frozen(count: int, trained: int) -> None:
    model = resnet18()
    freeze_layers(model, count)
    assert sum(parameter.requires_grad for parameter in model.parameters()) == trained
