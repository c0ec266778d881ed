"""The state of resolving a configuration: its options, flags, and reasons."""

from __future__ import annotations

import pytest
import torch

from excite.config.train_config import TrainConfig
from excite.errors import ExciteError
from excite.pipeline.resolver import Resolver
from tests.pipeline.resolved import manifest


def resolver(**options: object) -> Resolver:
    return Resolver(TrainConfig().replace(**options), manifest(30, 20), torch.device("cpu"))


def test_a_choice_is_an_option_with_a_reason_and_the_caller_keeps_its_configuration() -> None:
    one = resolver()
    before = one.config
    one.set(epochs=3)
    assert one.reasons == []
    one.choose("image_size", 32, "the images have 20 pixels (median)")
    assert (one.config.epochs, one.config.image_size) == (3, 32)
    assert one.reasons == ["image_size = 32 (the images have 20 pixels (median))"]
    assert before == TrainConfig()


@pytest.mark.parametrize(
    ("options", "has_weights"),
    [({}, False), ({"pretrained": True}, True), ({"weights": "w.safetensors"}, True)],
)
def test_weights_are_pretrained_or_from_a_file(options: dict[str, object], has_weights: bool) -> None:
    assert resolver(**options).has_weights == has_weights


def test_a_value_outside_its_limits_is_refused() -> None:
    with pytest.raises(ExciteError, match="epochs"):
        resolver().set(epochs=0)
