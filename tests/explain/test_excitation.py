"""Gates of any network, and what they depend on, against brute force and simulations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from excite.attention.registry import attention_names, create_attention
from excite.errors import ExciteError
from excite.explain.excitation import attention_modules, gates_of, logits_with_mean_gates, record_gates
from excite.explain.gate_analysis import (
    analyze_attention,
    class_means,
    gate_kinds,
    variance_shares,
)
from excite.insertion.gate_statistics import measure_gates
from excite.models.catalog import create_model


@pytest.mark.parametrize("kind", attention_names())
def test_gates_found_from_input_and_output_are_those_of_every_attention(kind: str) -> None:
    module = create_attention(kind, 16).eval()
    u = torch.randn(2, 16, 6, 6)
    with torch.no_grad():
        output, expected = module(u), module.gates(u).expand(-1, 16, 6, 6)

    class Foreign(nn.Module):
        """No ``gates``."""

    found = gates_of(Foreign(), u, output)
    assert found is not None
    torch.testing.assert_close(found.expand(-1, 16, 6, 6), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(gates_of(module, u, output).expand(-1, 16, 6, 6), expected)


def test_a_module_that_does_not_multiply_its_input_has_no_gates() -> None:
    u = torch.randn(2, 4, 5, 5)
    assert gates_of(nn.Identity(), u[:, :2], u) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:seresnet18", "timm:legacy_seresnet18", "timm:mobilenetv3_small_050"])
def test_se_networks_of_timm(name: str) -> None:
    model = create_model(name, num_classes=3)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)  # the last of a block starts with zeros
    images = torch.randn(3, 3, 64, 64)
    sites, logits, unmeasured = record_gates(model, [images[:2], images[2:]])
    assert sites
    assert not unmeasured
    with torch.no_grad():
        torch.testing.assert_close(logits, model.eval()(images), atol=1e-5, rtol=1e-4)
    # Of the first site, the sigmoid of its own layers.
    seen: list[Tensor] = []
    module = model.get_submodule(sites[0].path)
    name_of_gate = next(n for n in ("gate", "sigmoid") if hasattr(module, n))
    handles = [
        getattr(module, name_of_gate).register_forward_hook(lambda _m, _i, out: seen.append(out)),
        module.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0])),
    ]
    model(images)
    for handle in handles:
        handle.remove()
    u, gates = (value.detach() for value in seen)
    has_effect = (u != 0).any(dim=3).any(dim=2)
    assert has_effect.float().mean() > 0.9
    np.testing.assert_allclose(sites[0].gates[0][has_effect], gates[:, :, 0, 0][has_effect], atol=1e-4)


def test_statistics_agree_with_those_of_gate_folding() -> None:
    model = create_model("cifar_resnet20", num_classes=3, attention="se")
    images = torch.randn(6, 3, 32, 32)
    sites, _, _ = record_gates(model, [images[:4], images[4:]])
    for site, expected in zip(sites, measure_gates(model, [(images, torch.zeros(6))]), strict=True):
        assert site.path == expected.path
        np.testing.assert_allclose(site.mean[:, 0, 0], expected.mean, atol=1e-6)
        assert site.variation == pytest.approx(expected.variation, rel=1e-3, abs=1e-7)
    assert model.training


def test_spatial_gates_come_as_maps() -> None:
    model = create_model("cifar_resnet20", num_classes=3, attention="cbam").eval()
    images = torch.randn(2, 3, 32, 32)
    sites, _, _ = record_gates(model, [images])
    assert next(site.maps for site in sites if site.maps is not None).shape == (2, 32, 32)
    module = model.get_submodule(sites[0].path)
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    model(images)
    handle.remove()
    expected = module.gates(seen[0]).mean(1).detach()
    np.testing.assert_allclose(sites[0].maps, expected, atol=1e-5)


def test_mean_gates_are_what_the_network_computes_with() -> None:
    model = create_model("cifar_resnet20", num_classes=3, attention="se").eval()
    images = torch.randn(4, 3, 32, 32)
    sites, logits, _ = record_gates(model, [images])
    one = logits_with_mean_gates(model, [images[:1]], {})
    torch.testing.assert_close(one, logits[:1], atol=1e-5, rtol=1e-4)
    # With one image the means are its own gates: nothing changes.
    own, _, _ = record_gates(model, [images[:1]])
    same = logits_with_mean_gates(model, [images[:1]], {site.path: site.mean for site in own})
    torch.testing.assert_close(same, logits[:1], atol=1e-5, rtol=1e-4)
    changed = logits_with_mean_gates(model, [images], {site.path: site.mean for site in sites})
    assert (changed - logits).abs().max() > 0
    assert not any(module._forward_hooks for module in model.modules())


def nested(random: np.random.Generator, parts: tuple[float, float, float], n: int = 400) -> tuple:
    """Gates (2, n, 30) with known components of variance, of five classes."""
    targets = random.integers(0, 5, n)
    of_class = random.normal(size=(5, 30)) * parts[0] ** 0.5
    of_image = random.normal(size=(n, 30)) * parts[1] ** 0.5
    return of_class[targets] + of_image + random.normal(size=(2, n, 30)) * parts[2] ** 0.5, targets


@pytest.mark.parametrize("parts", [(0.6, 0.3, 0.1), (0.0, 0.5, 0.5), (0.0, 0.0, 1.0), (0.2, 0.8, 0.0)])
def test_shares_are_the_components_that_were_simulated(parts: tuple[float, float, float]) -> None:
    random = np.random.default_rng(0)
    found = np.array(
        [
            [s.of_class, s.of_image, s.of_nothing]
            for s in (variance_shares(*nested(random, parts)) for _ in range(10))
        ]
    )
    np.testing.assert_allclose(found.mean(axis=0), parts, atol=0.04)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_one_channel_agrees_with_the_textbook_table() -> None:
    """Sums of squares by loops, for an unbalanced design."""
    random = np.random.default_rng(1)
    targets = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    gates = random.normal(size=(2, 9, 1)) + targets[:, None]
    n, k = 9, 3
    mean = gates.mean()
    ss_class = sum(2 * (targets == c).sum() * (gates[:, targets == c].mean() - mean) ** 2 for c in range(k))
    ss_image = sum(2 * (gates[:, i].mean() - gates[:, targets == targets[i]].mean()) ** 2 for i in range(n))
    ss_within = sum((gates[v, i, 0] - gates[:, i].mean()) ** 2 for v in range(2) for i in range(n))
    ms_class, ms_image, ms_within = ss_class / (k - 1), ss_image / (n - k), ss_within / n
    size = (n - (9 + 4 + 16) / n) / (k - 1)
    parts = np.array([max(ms_class - ms_image, 0) / (2 * size), max(ms_image - ms_within, 0) / 2, ms_within])
    found = variance_shares(gates, targets)
    assert found is not None
    np.testing.assert_allclose(
        [found.of_class, found.of_image, found.of_nothing], parts / parts.sum(), atol=1e-12
    )


def test_gates_that_do_not_vary_have_no_shares() -> None:
    assert variance_shares(np.full((2, 10, 3), 0.5), np.repeat([0, 1], 5)) is None
    assert variance_shares(np.random.default_rng(0).normal(size=(2, 4, 3)), np.zeros(4, int)) is None


def test_kinds_of_gates() -> None:
    random = np.random.default_rng(0)
    moving = random.uniform(0.2, 0.8, (200, 2))
    gates = np.column_stack(
        [moving, 0.3 + moving[:, 0] / 2, np.full(200, 0.5), np.zeros(200), np.full(200, 0.999)]
    )
    found = gate_kinds(gates)
    assert (found.channels, found.static, found.dead, found.saturated, found.twins) == (6, 3, 1, 2, 1)
    assert found.rank == 2


def test_identity_gates_lose_nothing_and_a_network_without_attention_is_refused() -> None:
    options = {"identity": True}
    model = create_model("cifar_resnet20", num_classes=2, attention="se", attention_options=options)
    batches, targets = [torch.randn(12, 3, 32, 32)], np.tile([0, 1], 6)
    report = analyze_attention(model, batches, targets, np.arange(12))
    assert len(report.constant) == len(report.sites) == 9
    assert report.all_at_means.difference == 0
    assert report.fold_tolerance == 0
    assert all(site.kinds.static == site.kinds.channels for site in report.sites)
    with pytest.raises(ExciteError, match="has no attention"):
        record_gates(create_model("cifar_resnet20", num_classes=2), batches)


def test_class_means_are_means() -> None:
    gates, targets = np.arange(12.0).reshape(4, 3), np.array([0, 1, 1, 0])
    found = class_means(gates, targets)
    np.testing.assert_array_equal(found[1], (gates[1] + gates[2]) / 2)


def test_only_the_outermost_of_nested_modules_counts() -> None:
    model = create_model("cifar_resnet20", num_classes=2, attention="cbam")
    assert all(path.endswith("attention") for path in attention_modules(model))
