from __future__ import annotations

import pytest
import torch
from torch import nn

from excite.attention.registry import attention_names, create_attention, is_own_attention
from excite.attention.squeeze_excitation import SqueezeExcitation
from excite.errors import ExciteError
from excite.plugins.registry import register


def test_se_is_squeeze_excitation_with_its_options() -> None:
    module = create_attention("se", 64, reduction=8, gate="tanh")
    assert isinstance(module, SqueezeExcitation)
    assert (module.fc1.out_features, module.gate_name) == (8, "tanh")
    assert "se" in attention_names()


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ExciteError, match=r"unknown attention 'see' \(did you mean 'se'\?\)") as caught:
        create_attention("see", 64)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("option", "nearest"), [("reducton", "reduction"), ("gates", "gate")])
def test_an_unknown_option_is_refused_with_the_nearest(option: str, nearest: str) -> None:
    with pytest.raises(ExciteError, match=f"unknown option '{option}' .did you mean '{nearest}'"):
        create_attention("se", 64, **{option: 1})


def test_a_new_name_is_built_with_its_options_and_marked_as_attention(own_names: None) -> None:
    @register("attention", "nothing")
    class Nothing(nn.Identity):
        def __init__(self, channels: int) -> None:
            super().__init__()

    images = torch.randn(1, 4, 2, 2)
    module = create_attention("nothing", 4)
    assert torch.equal(module(images), images)
    assert is_own_attention(module)
    assert is_own_attention(create_attention("se", 16))
    assert not is_own_attention(nn.Identity())
    with pytest.raises(ExciteError, match="unknown option 'reduction'"):
        create_attention("nothing", 4, reduction=2)


def test_what_is_no_module_is_refused(own_names: None) -> None:
    register("attention", "number")(lambda channels: channels)
    with pytest.raises(ExciteError, match=r"attention 'number': is int, not a torch.nn.Module"):
        create_attention("number", 4)
