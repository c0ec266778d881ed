"""Resolving a whole configuration: the reasons, and that resolving twice changes nothing."""

from __future__ import annotations

import pytest

from excite.config.train_config import TrainConfig
from excite.data import decoded_pixels
from excite.pipeline.resolve import resolve
from excite.reporting.provenance import command
from tests.pipeline.resolved import TRAINED, manifest, resolved


def test_each_choice_is_listed_with_its_reason() -> None:
    _, reasons = resolve(TrainConfig(pretrained=False), manifest(300, 200))
    names = [reason.split()[0] for reason in reasons]
    assert names == ["device", "split", "recipe", "precision", "image_size", "model", "attention"]


def test_many_large_images_are_decoded_when_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(TrainConfig(pretrained=False), manifest(300, 200))[0].pixel_cache == "on"
    monkeypatch.setattr(decoded_pixels, "CACHED_UP_TO", 1000)
    config, reasons = resolve(TrainConfig(pretrained=False), manifest(300, 200))
    assert config.pixel_cache == "off"
    assert any("decoded images would take" in reason for reason in reasons)
    assert resolve(TrainConfig(pixel_cache="on"), manifest(300, 200))[0].pixel_cache == "on"


def test_the_command_of_a_probe_has_no_options_of_the_training_loop() -> None:
    config = resolved(**TRAINED)
    words = command(config).split()
    known = {"--model", "--weights", "--recipe", "--image-size", "--device", "--precision", "--split"}
    known |= {"--interpolation", "--flips", "--tta", "--normalization", "--attention", "--thumbnails"}
    known |= {"--no-pretrained", "--pixel-cache"}
    assert {word for word in words if word.startswith("--")} == known
    assert resolve(config, manifest(300, 200)) == (config, [])


def test_a_resolved_configuration_does_not_change_when_it_is_resolved_again() -> None:
    for options in ({}, {"recipe": "finetune", **TRAINED}, {"recipe": "probe", **TRAINED}):
        config = resolved(**options)
        assert resolve(config, manifest(300, 200)) == (config, [])
