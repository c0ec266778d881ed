from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from excite.attention.squeeze_excitation import SqueezeExcitation
from excite.errors import ExciteError
from excite.models import densenet
from excite.models.densenet_config import VARIANTS
from excite.models.summary import summarize


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "published"),
    [("densenet121", 2.83), ("densenet169", 3.36), ("densenet201", 4.29), ("densenet161", 7.73)],
)
def test_multiply_adds_at_224_are_the_published_ones(name: str, published: float) -> None:
    with torch.device("meta"):
        model = getattr(densenet, name)()
    summary = summarize(model, 224)
    assert round(summary.multiply_adds / 1e9, 2) == published
    assert summary.parameters == VARIANTS[name].parameters


@pytest.mark.slow
def test_final_attention_adds_one_row_with_its_own_cost() -> None:
    with torch.device("meta"):
        plain, gated = densenet.densenet121(), densenet.densenet121(attention="se")
    before, after = summarize(plain, 224), summarize(gated, 224)
    assert [row for row in after.rows if row not in before.rows] == [
        row for row in after.rows if row.name == "features.attention4"
    ]
    (row,) = (row for row in after.rows if row.type == "SqueezeExcitation")
    assert (row.output_shape, row.parameters) == ((1024, 7, 7), 132_160)
    # Two linear layers, then the squeeze and the scale: one multiply-add an element each.
    assert row.multiply_adds == 2 * 1024 * 64 + 2 * 1024 * 7 * 7
    assert after.multiply_adds - before.multiply_adds == row.multiply_adds


# Published on torchvision's model pages, at 224 px.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "parameters", "billions"),
    [
        (torchvision.models.resnet50, 25_557_032, 4.09),
        (torchvision.models.mobilenet_v2, 3_504_872, 0.30),
        (torchvision.models.vit_b_16, 86_567_656, 17.56),
        (lambda: timm.create_model("vit_base_patch16_224"), 86_567_656, 17.56),
    ],
)
def test_models_of_other_libraries_have_their_published_cost(
    build: Callable[..., Any], parameters: int, billions: float
) -> None:
    with torch.device("meta"):
        model = build()
    summary = summarize(model, 224)
    assert summary.parameters == parameters == sum(row.parameters for row in summary.rows)
    assert summary.multiply_adds / 1e9 == pytest.approx(billions, abs=0.005)


def test_rows_follow_the_calls_and_show_real_output_shapes() -> None:
    model = densenet.densenet_bc_40_12(attention="se", placement="layer+block+transition").eval()
    summary = summarize(model, 20)
    seen = []
    for name, module in model.named_modules():
        kinds = nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.AvgPool2d | SqueezeExcitation
        if isinstance(module, kinds) and ".fc" not in name:  # attention is one row, its layers included
            module.register_forward_hook(
                lambda _, __, output, key=name: seen.append((key, tuple(output.shape[1:])))
            )
    model(torch.randn(1, 3, 20, 20))
    names = {name for name, _ in seen}
    assert [(row.name, row.output_shape) for row in summary.rows if row.name in names] == seen
    assert not any(".fc" in row.name for row in summary.rows)


def test_a_parameter_outside_every_leaf_is_counted_on_its_owner() -> None:
    rows = summarize(timm.create_model("vit_tiny_patch16_224"), 224).rows
    assert rows[0].name == ""
    assert rows[0].parameters == 192 + 197 * 192  # the class token and the positions


def test_shared_unused_and_repeated_modules() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice = nn.Conv2d(3, 3, 1, bias=False)
            self.tied = nn.Conv2d(3, 3, 1, bias=False)
            self.tied.weight = self.twice.weight
            self.unused = nn.Linear(5, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.tied(self.twice(self.twice(x)))

    rows = {row.name: row for row in summarize(Odd(), 4).rows}
    assert (rows["twice"].parameters, rows["twice"].multiply_adds) == (9, 2 * 9 * 16)
    assert (rows["tied"].parameters, rows["tied"].multiply_adds) == (0, 9 * 16)
    assert (rows["unused"].parameters, rows["unused"].output_shape) == (30, None)


def test_the_model_stays_as_it_was() -> None:
    model = densenet.densenet_bc_40_12(attention="se").train()
    model.features.norm5.eval()
    modes = [module.training for module in model.modules()]
    values = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    summarize(model, 32)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())
    assert all(p.device.type == "cpu" and p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_model_in_half_precision_is_summarized() -> None:
    model = densenet.densenet_bc_40_12(attention="se").half()
    assert summarize(model, 32) == summarize(model.float(), 32)


def test_the_dictionary_is_json_with_totals() -> None:
    document = json.loads(json.dumps(summarize(densenet.densenet_bc_40_12(), 32).to_dict()))
    assert document["parameters"] == 176_122
    assert document["multiply_adds"] == sum(row["multiply_adds"] for row in document["rows"])
    assert document["rows"][0] == {
        "name": "features.conv0",
        "type": "Conv2d",
        "output_shape": [24, 32, 32],
        "parameters": 648,
        "multiply_adds": 648 * 32 * 32,
    }


def test_images_that_the_model_does_not_take_are_named() -> None:
    with pytest.raises(ExciteError, match=r"does not take images of \(3, 2, 2\)"):
        summarize(densenet.densenet_bc_40_12(), 2)
