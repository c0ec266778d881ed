"""The graph of an exported classifier, against the classifier itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.evaluation.calibration import Calibration
from excite.export.graph import build_graph
from excite.inference.ensemble_network import EnsembleNetwork, MeanEnsemble
from excite.models.catalog import create_model
from excite.runs.classifier import Classifier, Ensemble

CALIBRATION = Calibration(1.7, (0.3, -0.5, 0.2))
NETWORKS: dict[str, dict[str, Any]] = {
    "densenet_bc_40_12": {"attention": "se", "placement": "layer+final"},
    "cifar_resnet20": {"attention": "se", "attention_options": {"identity": True}},
    "timm:mobilenetv3_small_050": {},
    "timm:resnet18": {"attention": "cbam"},
    "torchvision:squeezenet1_1": {},
    "timm:vit_tiny_patch16_224": {},
}
NO_EVIDENCE = ("timm:mobilenetv3_small_050", "torchvision:squeezenet1_1", "timm:vit_tiny_patch16_224")


def trained(name: str, **options: Any) -> nn.Module:
    """A network whose norms and gates are not those of the start, as after a training."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, image_size=64, **options)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.6, 1.6)
                module.weight.uniform_(0.7, 1.3)
                module.bias.uniform_(-0.2, 0.2)
        for parameter_name, parameter in model.named_parameters():
            if "fc2.weight" in parameter_name:
                parameter.normal_(std=0.5)
    return model


def pixels(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def classifier_of(model: nn.Module, tta: str = "none") -> Classifier:
    return Classifier(model, {}, ("a", "b", "c"), Preprocessing(64, tta=tta), CALIBRATION)


@pytest.mark.slow
@pytest.mark.parametrize("tta", ["none", "flip", "crops"])
@pytest.mark.parametrize("name", NETWORKS)
def test_probabilities_are_those_of_the_classifier(name: str, tta: str) -> None:
    classifier = classifier_of(trained(name, **NETWORKS[name]), tta)
    state = {key: value.clone() for key, value in classifier.model.state_dict().items()}
    graph = build_graph(classifier).graph
    with torch.no_grad():
        found = graph(torch.from_numpy(pixels()))
    expected = classifier.probabilities(PixelSubset(pixels()))
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    assert len(set(expected.argmax(axis=1).tolist())) > 0
    assert len(found) == len(graph.outputs)
    for key, value in classifier.model.state_dict().items():
        assert torch.equal(value, state[key]), "the classifier changed"


@pytest.mark.slow
@pytest.mark.parametrize("tta", ["none", "flip", "crops"])
@pytest.mark.parametrize("name", NETWORKS)
def test_evidence_adds_up_to_the_probabilities_where_the_head_is_linear(name: str, tta: str) -> None:
    classifier = classifier_of(trained(name, **NETWORKS[name]), tta)
    graph = build_graph(classifier).graph
    if name in NO_EVIDENCE or tta == "crops":
        assert graph.outputs == ("probabilities",)
        assert graph.evidence_bias is None
        return
    with torch.no_grad():
        probabilities, evidence = graph(torch.from_numpy(pixels()))
    assert evidence.ndim == 4
    logits = evidence.double().sum((2, 3)) + torch.tensor(graph.evidence_bias)
    np.testing.assert_allclose(logits.softmax(1), probabilities, atol=1e-6)


def test_mirrored_evidence_is_turned_back() -> None:
    """The evidence of a mirrored image, averaged over both versions, is the mirror image of the evidence."""
    graph = build_graph(classifier_of(trained("cifar_resnet20"), "flip")).graph
    images = torch.from_numpy(pixels(1))
    with torch.no_grad():
        evidence, mirrored = graph(images)[1], graph(images.flip(2))[1]
    torch.testing.assert_close(mirrored, evidence.flip(3), atol=1e-5, rtol=0)
    assert not torch.allclose(evidence, evidence.flip(3), atol=1e-2)


def test_an_ensemble_gives_the_mean_and_each_member() -> None:
    networks = [trained("cifar_resnet20") for _ in range(3)]
    for number, network in enumerate(networks):
        torch.manual_seed(number)
        nn.init.normal_(network.get_classifier().weight, std=0.3)
    model = MeanEnsemble(
        EnsembleNetwork(networks, [1.0, 2.0, 0.5], [[0.0, 0.0, 0.0], [0.1, 0.0, -0.1], [0.0] * 3])
    )
    ensemble = Ensemble(model, {}, ("a", "b", "c"), Preprocessing(64, tta="flip"), CALIBRATION)
    graph = build_graph(ensemble).graph
    assert graph.outputs == ("probabilities", "members")
    with torch.no_grad():
        probabilities, members = graph(torch.from_numpy(pixels()))
    np.testing.assert_allclose(probabilities, ensemble.probabilities(PixelSubset(pixels())), atol=1e-6)
    each = ensemble.member_probabilities(PixelSubset(pixels()))
    expected = CALIBRATION.probabilities(np.log(each))
    np.testing.assert_allclose(members, expected, atol=1e-6)


def test_norms_after_convolutions_are_folded() -> None:
    graph = build_graph(classifier_of(trained("cifar_resnet20", attention="se"))).graph
    assert not [module for module in graph.modules() if isinstance(module, nn.BatchNorm2d)]
