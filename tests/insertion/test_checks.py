"""Wrong inputs: one clear error each, and the model as it was."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from excite.errors import ExciteError
from excite.insertion.insert import insert, insertions, remove
from excite.insertion.sites import sites
from excite.plugins.registry import register


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return torchvision.models.resnet18().eval()


class Mlp(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(12, 4))


class Gathering(nn.Module):
    """Runs whatever children it has."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([child(x) for child in self.children()], 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "sse2"}, r"unknown attention 'sse2' \(did you mean 'sse'\?\)"),
        ({"placement": "standrad"}, r"unknown placement 'standrad' \(did you mean 'standard'\?\)"),
        ({"reductoin": 4}, r"unknown option 'reductoin' \(did you mean 'reduction'\?\)"),
        ({"stages": 6}, r"stages: there is no site on stage 6 \(the stages are 2, 3, 4, 5\)"),
        ({"stages": [2, 1]}, r"there is no site on stage 1"),
        (
            {"reduction": 128},
            r"layer1.0.bn2: reduction 128 is larger than the number of channels, 64 ",
        ),
        ({"reduction": 0}, r"reduction must be at least 1"),
        ({"where": "layer1.0.bn3"}, r"no module is called 'layer1.0.bn3' \(did you mean 'layer1.0.bn"),
        ({"where": lambda path, module: False}, r"no module matches <lambda>"),
        ({"where": nn.Conv3d}, r"no module matches Conv3d"),
        ({"where": 3}, r"where does not accept int"),
        ({"where": "fc"}, r"fc: this module has no feature map"),
        (
            {"where": "layer1.0.conv1", "placement": "identity"},
            r"Conv2d does not support placement 'identity'",
        ),
    ],
)
def test_wrong_arguments(resnet: nn.Module, options: dict[str, Any], message: str) -> None:
    names = list(resnet.state_dict())
    with pytest.raises(ExciteError, match=message):
        insert(resnet, **options)
    assert list(resnet.state_dict()) == names


def test_an_empty_where_is_refused(resnet: nn.Module) -> None:
    with pytest.raises(ExciteError, match="name modules with where="):
        sites(resnet, where=[])


def test_attention_without_the_identity(resnet: nn.Module, own_names: None) -> None:
    register("attention", "plain")(
        type("Plain", (nn.Identity,), {"__init__": lambda self, channels: nn.Identity.__init__(self)})
    )
    insert(resnet, "plain")
    with pytest.raises(ExciteError, match=r"'plain' cannot start as the identity .*\bse\b") as raised:
        insert(resnet, "plain", identity=True)
    for name in str(raised.value).rpartition(" one of ")[2].rstrip(")").split(", "):
        insert(resnet, name, identity=True)  # each that is named can


def test_twice_at_a_site_and_where_the_architecture_has_its_own(resnet: nn.Module) -> None:
    once = insert(resnet, stages=5)
    with pytest.raises(ExciteError, match=r"layer4.0.bn2: 2 of 8 sites have attention already"):
        insert(once)
    both = insert(once, stages=[2, 3, 4])
    assert insertions(both) == [
        {
            "attention": "se",
            "placement": "standard",
            "where": [f"layer{n}.{b}.bn2" for n in range(1, 5) for b in (0, 1)],
        }
    ]
    beside = insert(once, placement="pre", stages=5)
    assert set(remove(beside).state_dict()) == set(resnet.state_dict())

    own = torchvision.models.mobilenet_v3_small()
    with pytest.raises(
        ExciteError, match=r"features.1.block.1: 9 of 11 sites have attention already .*where="
    ):
        insert(own)
    insert(own, where=["features.2", "features.3"], reduction=8)


def test_a_model_of_no_known_block() -> None:
    for ask in (sites, insert):
        with pytest.raises(ExciteError, match=r"Mlp contains no known block \(name modules with where="):
            ask(Mlp())


def test_nothing_to_remove(resnet: nn.Module) -> None:
    with pytest.raises(ExciteError, match="this model has no inserted attention"):
        remove(resnet)


def test_a_family_without_the_place() -> None:
    with torch.device("meta"):
        vgg = torchvision.models.vgg11()
    with pytest.raises(ExciteError, match=r"VGG does not support placement 'post' \(choose from standard"):
        sites(vgg, placement="post")


def test_modules_that_would_run_attention_as_one_of_their_layers() -> None:
    model = nn.Sequential(Gathering(), nn.Conv2d(16, 16, 1))
    with pytest.raises(ExciteError, match=r"0: Gathering runs all of its children"):
        insert(model, where="0")
    insert(model, where="0.one", reduction=4)


def test_a_module_with_attention_of_its_own_by_that_name() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.attention = nn.Conv2d(3, 8, 1), None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x)

    with pytest.raises(ExciteError, match="0: Own already has an attribute 'attention'"):
        insert(nn.Sequential(Own()), where="0", reduction=4)


@pytest.mark.parametrize(
    ("finish", "message"),
    [
        (
            lambda model: torch.jit.trace(model, torch.randn(1, 3, 32, 32)),
            "was traced .insert before tracing",
        ),
        (torch.fx.symbolic_trace, "was traced .insert before tracing"),
        (lambda model: torch.compile(model, backend="eager"), "was compiled .insert before compiling"),
        (nn.DataParallel, "is wrapped for parallel training"),
    ],
)
def test_finished_models(resnet: nn.Module, finish: Callable[..., Any], message: str) -> None:
    with pytest.raises(ExciteError, match=message):
        insert(finish(resnet))


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("resnet18", "excite.create_model"),
        (None, "excite.create_model"),
        ({}, "load the weights into a network"),
    ],
)
@pytest.mark.parametrize("ask", [sites, insert, remove])
def test_what_is_no_network(ask: Callable[..., Any], model: Any, hint: str) -> None:
    with pytest.raises(ExciteError, match=rf"the model must be a torch.nn.Module, got \w+ \(.*{hint}"):
        ask(model)


def test_an_exported_program(resnet: nn.Module) -> None:
    program = torch.export.export(resnet, (torch.randn(1, 3, 32, 32),))
    with pytest.raises(ExciteError, match=r"got ExportedProgram \(insert before exporting"):
        insert(program)
    with pytest.raises(ExciteError, match=r"was traced \(insert before tracing"):
        insert(program.module())


def test_sites_of_a_traced_model_are_an_error_with_the_reason(resnet: nn.Module) -> None:
    with pytest.raises(ExciteError, match=r"was traced \(insert before tracing"):
        sites(torch.jit.trace(resnet, torch.randn(1, 3, 32, 32)))


def test_a_network_that_is_being_quantized() -> None:
    model = torchvision.models.quantization.resnet18(weights=None, quantize=False).eval()
    insert(model)  # it is an ordinary network yet
    prepared = copy.deepcopy(model)
    model.fuse_model()
    prepared.qconfig = torch.ao.quantization.default_qconfig
    for one in (model, torch.ao.quantization.prepare(prepared)):
        with pytest.raises(ExciteError, match="conv1: this model was fused or prepared for quantization"):
            insert(one)


def test_weights_that_torchao_quantized() -> None:
    pytest.importorskip("torchao", reason="torchao is not installed")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    model = torchvision.models.resnet18().eval()
    quantize_(model, Int8WeightOnlyConfig())
    with pytest.raises(ExciteError, match="fc: this model was quantized"):
        insert(model)


def test_a_quantized_model() -> None:
    model = torchvision.models.quantization.mobilenet_v2(quantize=False)
    model.classifier[1] = torch.ao.nn.quantized.dynamic.Linear(1280, 10)
    with pytest.raises(
        ExciteError, match=re.escape("classifier.1: this model was quantized (insert before quantizing)")
    ):
        insert(model)
