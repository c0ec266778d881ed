"""Constant gates: measured as by NumPy, and folded without a change of the logits."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import excite
from excite.attention.fixed_gate import FixedGate
from excite.attention.registry import attention_names
from excite.errors import ExciteError
from excite.insertion.gate_folding import fold_constant_gates
from excite.insertion.gate_statistics import measure_gates
from excite.insertion.insert import inserted_sites
from excite.models.densenet import DenseNet


def batches(images: int = 12, size: int = 32, classes: int = 5) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(5)
    pictures, targets = torch.randn(images, 3, size, size), torch.randint(classes, (images,))
    return list(zip(pictures.split(5), targets.split(5), strict=True))


def logits(model: nn.Module, loader: list[tuple[Tensor, Tensor]]) -> Tensor:
    with torch.no_grad():
        return torch.cat([model.eval()(images) for images, _ in loader])


def at_rest(model: nn.Module) -> nn.Module:
    """Gates that are the same for all images, and differ between channels."""
    for module in model.modules():
        if isinstance(module, excite.SqueezeExcitation):
            nn.init.zeros_(module.fc2.weight)
            nn.init.normal_(module.fc2.bias)
    return model


def warmed(model: nn.Module) -> nn.Module:
    """With running statistics that are not those of a fresh batch norm."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.bias, std=0.3)
    return model


def cifar_dense(placement: str) -> nn.Module:
    return DenseNet(
        growth_rate=12,
        block_config=(3, 3),
        init_channels=16,
        bottleneck_size=2,
        num_classes=5,
        stem="cifar",
        attention="se",
        placement=placement,
    )


def inserted(model: nn.Module, **options: object) -> nn.Module:
    return excite.insert(warmed(model), "se", reduction=4, **options)


CASES = {
    "resnet": (lambda: inserted(excite.create_model("cifar_resnet20", num_classes=5)), 9, 0),
    "resnet, pre": (lambda: inserted(torchvision.models.resnet18(num_classes=5), placement="pre"), 8, 0),
    "resnet, post": (lambda: inserted(torchvision.models.resnet18(num_classes=5), placement="post"), 0, 8),
    "grouped, pre": (
        lambda: inserted(
            excite.create_model("shufflenet_v1_x1_0", num_classes=5), where="**.conv1", placement="pre"
        ),
        16,
        0,
    ),
    "vgg": (lambda: inserted(torchvision.models.vgg11(num_classes=5)), 8, 0),
    "vgg, bn": (lambda: inserted(torchvision.models.vgg11_bn(num_classes=5)), 8, 0),
    "mobilenet, relu6": (lambda: inserted(timm.create_model("mobilenetv1_100", num_classes=5)), 0, 13),
    "dense, final": (lambda: warmed(cifar_dense("final")), 1, 0),
    "dense, transition": (lambda: warmed(cifar_dense("transition")), 1, 0),
    "dense, layer": (lambda: warmed(cifar_dense("layer")), 0, 6),
    "convnext": (lambda: inserted(timm.create_model("convnext_atto", num_classes=5)), 0, 12),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_constant_gates_fold_without_a_change(case: str) -> None:
    build, folded, fixed = CASES[case]
    torch.manual_seed(0)
    model, loader = at_rest(build()), batches()
    before = logits(model, loader)
    result = fold_constant_gates(model, loader)
    assert (len(result.folded), len(result.fixed)) == (folded, fixed)
    scale = float(before.abs().max())
    torch.testing.assert_close(logits(result.model, loader), before, rtol=1e-4, atol=2e-5 * max(1.0, scale))
    assert torch.equal(logits(model, loader), before)  # the caller's is untouched
    assert not any(isinstance(module, excite.SqueezeExcitation) for module in result.model.modules())
    assert len([module for module in result.model.modules() if isinstance(module, FixedGate)]) == fixed
    assert inserted_sites(result.model) == ()
    assert result.accuracy_before == result.accuracy_after
    targets = torch.cat([target for _, target in loader])
    assert result.accuracy_before == pytest.approx(float((before.argmax(1) == targets).float().mean()))


def test_a_folded_network_is_the_plain_one_again() -> None:
    plain = excite.create_model("cifar_resnet20", num_classes=5)
    model = at_rest(excite.insert(plain, "se", identity=True))
    folded = fold_constant_gates(model, batches()).model
    assert folded.state_dict().keys() == plain.state_dict().keys()
    assert [type(module) for module in folded.modules()] == [type(module) for module in plain.modules()]


def test_statistics_are_those_of_numpy_over_all_images() -> None:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 8, 3), excite.SqueezeExcitation(8, 2))
    model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        gates = torch.cat([features[1].gates(features[0](images)) for images, _ in batches()])
    seen = gates.double().flatten(1).numpy()
    (found,) = measure_gates(model, batches())
    assert found.path == "0.1"
    np.testing.assert_allclose(found.mean.numpy(), seen.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std.numpy(), seen.std(axis=0), rtol=1e-6)
    error = seen - seen.mean(axis=0)
    wanted = np.sqrt((error**2).mean() / (seen.mean(axis=0) ** 2).mean())
    assert found.variation == pytest.approx(wanted, rel=1e-6)


def test_only_gates_within_the_tolerance_are_folded() -> None:
    torch.manual_seed(0)
    model, loader = inserted(excite.create_model("cifar_resnet20", num_classes=5)), batches()
    moving = "layer2.1.bn2.attention"
    for path, module in model.named_modules():
        if isinstance(module, excite.SqueezeExcitation):
            nn.init.normal_(module.fc2.weight, std=30.0 if path == moving else 0.0)
    variations = {gate.path: gate.variation for gate in measure_gates(model, loader)}
    assert variations[moving] > 0.01
    assert sum(variations.values()) == variations[moving]
    result = fold_constant_gates(model, loader)
    assert len(result.folded) == 8
    assert [site.path for site in inserted_sites(result.model)] == ["layer2.1.bn2"]
    torch.testing.assert_close(logits(result.model, loader), logits(model, loader), rtol=1e-4, atol=1e-5)
    everything = fold_constant_gates(model, loader, tolerance=10.0)
    assert len(everything.folded) == 9
    assert everything.largest_change > result.largest_change
    moved = logits(everything.model, loader) - logits(model, loader)
    assert everything.largest_change == pytest.approx(float(moved.abs().max()), rel=1e-5)


@pytest.mark.parametrize("name", attention_names())
def test_every_attention_reports_its_gates(name: str) -> None:
    torch.manual_seed(0)
    attention = excite.insert(nn.Sequential(nn.Conv2d(3, 16, 3)), name, where="0")[0].attention
    u = torch.randn(2, 16, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(u * attention.eval().gates(u), attention(u), rtol=1e-5, atol=1e-6)


def test_accuracies_may_come_from_other_images() -> None:
    model = at_rest(inserted(excite.create_model("cifar_resnet20", num_classes=5)))
    assert fold_constant_gates(model, batches(12), test=batches(7)).images == 7


def test_gates_that_cannot_be_folded_are_refused() -> None:
    plain = excite.create_model("cifar_resnet20", num_classes=5)
    with pytest.raises(ExciteError, match="this model has no gates"):
        measure_gates(plain, batches())
    attended = excite.insert(plain, "se")
    with pytest.raises(ExciteError, match="tolerance: must be at least 0, got -1"):
        fold_constant_gates(attended, batches(), tolerance=-1)
    with pytest.raises(ExciteError, match="the loader has no images"):
        measure_gates(attended, [])
    with pytest.raises(ExciteError, match="can be read only once"):
        fold_constant_gates(attended, iter(batches()))
    assert attended.training  # measuring puts the mode back
