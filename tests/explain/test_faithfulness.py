"""Insertion, deletion, pointing, and the tests that refute a map, against brute force and known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from excite.data.preprocessing import Preprocessing
from excite.evaluation.group_means import group_mean_interval
from excite.evaluation.intervals import Interval
from excite.explain.cam import HiResCAM
from excite.explain.faithfulness import (
    Rivalry,
    area,
    blur,
    compare_scores,
    insertion_deletion,
    pointing,
    rank_correlations,
    verdict,
)
from excite.explain.rivals import edge_maps, middle_map, random_maps, rival_maps, with_random_head
from excite.explain.sanity import cascade, shift, stability
from excite.models.catalog import create_model
from tests.explain.nets import cifar_resnet, photos


def test_curves_of_a_network_that_counts_bright_cells() -> None:
    """The probability is the fraction of 16 cells that are inserted, weighted by known amounts."""
    weights = torch.tensor([[4.0, 1.0], [2.0, 3.0]])

    def probabilities(images: Tensor) -> Tensor:
        cells = nn.functional.adaptive_avg_pool2d(images[:, :1], 2)[:, 0]
        own = (cells * weights).sum((1, 2)) / 10
        return torch.stack([1 - own, own], dim=1)

    images, label = torch.ones(1, 3, 32, 32), torch.tensor([1])
    found = insertion_deletion(probabilities, images, weights[None], label, steps=4)
    np.testing.assert_allclose(found.deletion, [[1.0, 0.6, 0.3, 0.1, 0.0]], atol=1e-6)
    np.testing.assert_allclose(found.insertion, np.ones((1, 5)), atol=1e-6)  # blurred white is white
    worst = insertion_deletion(probabilities, images, -weights[None], label, steps=4)
    np.testing.assert_allclose(worst.deletion, [[1.0, 0.9, 0.7, 0.4, 0.0]], atol=1e-6)
    assert found.score > worst.score


def test_areas_are_those_of_scipy() -> None:
    from scipy.integrate import trapezoid

    curves = np.random.default_rng(0).uniform(size=(5, 9))
    np.testing.assert_allclose(area(curves), trapezoid(curves, dx=1 / 8, axis=1))


def test_a_blurred_image_keeps_its_mean_and_loses_its_detail() -> None:
    images = torch.rand(2, 3, 64, 64)
    assert blur(images).std() < 0.1 * images.std()
    torch.testing.assert_close(blur(images).mean((2, 3)), images.mean((2, 3)), atol=0.02, rtol=0)


@pytest.mark.slow
def test_intervals_of_means_are_cluster_robust() -> None:
    sm = pytest.importorskip("statsmodels.api")
    random = np.random.default_rng(0)
    codes = np.repeat(np.arange(20), 5)
    values = random.normal(size=20)[codes] + random.normal(size=100)
    fit = sm.OLS(values, np.ones(100)).fit(
        cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False}, use_t=True
    )
    low, high = fit.conf_int()[0]
    center, wider = values.mean(), (20 / 19) ** 0.5
    found = group_mean_interval(values, codes)
    assert found.low == pytest.approx(center - wider * (center - low))
    assert found.high == pytest.approx(center + wider * (high - center))


@pytest.mark.slow
def test_intervals_of_means_hold_their_level() -> None:
    random, hits = np.random.default_rng(0), 0
    for _ in range(1000):
        codes = np.repeat(np.arange(25), random.integers(1, 6, 25))
        values = random.normal(size=25)[codes] + random.normal(size=len(codes))
        found = group_mean_interval(values, codes)
        hits += found.low <= 0 <= found.high
    assert 0.93 <= hits / 1000 <= 0.97


def test_differences_are_paired_and_the_sentence_follows_them() -> None:
    random = np.random.default_rng(0)
    base = random.normal(size=40)
    scores = {"evidence": base + 0.1, "random": base + random.normal(size=40) * 0.01, "edges": base + 0.1}
    found = {each.rival: each for each in compare_scores(scores, np.arange(40), "evidence")}
    assert found["random"].interval.low > 0.09
    assert found["edges"].interval.low is None
    text = verdict(list(found.values()))
    assert text == (
        "The maps are better than a random order, but not shown to be better than looking at edges."
    )
    best = Rivalry("middle", 0.0, 0.2, Interval(0.1, 0.3, "t"))
    assert verdict([best]) == "The maps are better than looking at the middle."
    assert "not shown" in verdict([Rivalry("middle", 0.0, 0.2, Interval(-0.1, 0.3, "t"))])


def test_rank_correlations_are_those_of_scipy() -> None:
    from scipy.stats import spearmanr

    first, second = torch.rand(3, 5, 5), torch.rand(3, 5, 5)
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(rank_correlations(first, second), expected)
    assert np.isnan(rank_correlations(torch.zeros(1, 2, 2), torch.rand(1, 2, 2)))[0]


def test_pointing_at_an_object() -> None:
    maps = torch.zeros(12, 4, 4)
    maps[:, 1, 1] = 1
    maps[:, 3, 3] = -5  # evidence against the class does not count
    objects = torch.zeros(12, 32, 32)
    objects[:, 4:20, 4:20] = 1
    objects[0] = 0
    objects[0, 28:, 28:] = 1
    found = pointing(maps, objects, np.arange(12))
    assert found.hits == pytest.approx(11 / 12)
    assert found.inside > 0.8
    assert found.object == pytest.approx((11 * 256 + 16) / 12 / 1024)


def test_rivals_know_no_class_and_edges_are_where_edges_are() -> None:
    images = torch.zeros(2, 3, 32, 32)
    images[:, :, :, 20:] = 1
    edges = edge_maps(images, (4, 4))
    assert (edges.argmax(dim=2) == 2).all()
    assert middle_map((5, 5)).argmax() == 12
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(random_maps(images, (4, 4)), random_maps(images.clone(), (4, 4)))
    assert not torch.equal(*random_maps(images, (4, 4)))
    assert {each.shape for each in rival_maps(images, (4, 4)).values()} == {(2, 4, 4)}


@pytest.mark.slow
def test_a_random_head_changes_the_map(real_data: Path) -> None:
    model, images = cifar_resnet(real_data), photos(real_data, 60, Preprocessing(32))
    labels = model(images).argmax(1)

    def evidence(net: nn.Module, x: Tensor) -> Tensor:
        return HiResCAM(net)(x, labels)

    heads = [with_random_head(model, seed) for seed in range(10)]
    expected = evidence(model, images)
    found = np.mean([rank_correlations(expected, evidence(head, images)) for head in heads])
    assert abs(found) < 0.2


@pytest.mark.slow
def test_random_layers_change_the_map_and_a_blind_method_is_caught(real_data: Path) -> None:
    model, images = cifar_resnet(real_data), photos(real_data, 30, Preprocessing(32))
    labels = model(images).argmax(1)
    parts = cascade(model, images, lambda net, x: HiResCAM(net)(x, labels))
    assert parts[0][0] == "linear"
    assert len(parts) > 5
    assert abs(np.mean([value for _, value in parts])) < 0.3
    blind = cascade(model, images, lambda net, x: edge_maps(x, (7, 7)))
    assert all(value == pytest.approx(1) for _, value in blind)
    torch.testing.assert_close(model(images), cifar_resnet(real_data)(images))


def test_a_shift_moves_pixels_and_a_steady_method_stays() -> None:
    images = torch.rand(2, 3, 28, 28)
    assert torch.equal(shift(images, 2, 0)[:, :, 5], images[:, :, 3])
    assert torch.equal(shift(images, 0, -2)[..., 5], images[..., 7])
    same, count = stability(lambda x: torch.zeros(len(x), dtype=torch.long), lambda x: x[:, 0], images)
    assert count == 8
    assert same > 0.99
    never = iter(range(100))
    _, none = stability(lambda x: torch.full((len(x),), next(never)), lambda x: x[:, 0], images)
    assert none == 0


def test_a_random_head_has_the_spread_of_the_head() -> None:
    model = create_model("cifar_resnet20", num_classes=3)
    copy = with_random_head(model)
    assert not torch.equal(copy.linear.weight, model.linear.weight)
    spread = [float(net.linear.weight.detach().std()) for net in (copy, model)]
    assert spread[0] == pytest.approx(spread[1], rel=0.2)
