"""Resolving a whole configuration: the reasons, and that resolving twice changes nothing."""

from __future__ import annotations

from excite.config.train_config import TrainConfig
from excite.pipeline.resolve import resolve
from excite.reporting.provenance import command
from tests.pipeline.resolved import TRAINED, manifest, resolved


def test_each_choice_is_listed_with_its_reason() -> None:
    _, reasons = resolve(TrainConfig(pretrained=False), manifest(300, 200))
    names = [reason.split()[0] for reason in reasons]
    assert names == ["device", "split", "recipe", "precision", "image_size", "model", "attention"]


def test_the_command_of_a_probe_has_no_options_of_the_training_loop() -> None:
    config = resolved(**TRAINED)
    words = command(config).split()
    known = {"--model", "--weights", "--recipe", "--image-size", "--device", "--precision", "--split"}
    known |= {"--interpolation", "--flips", "--tta", "--normalization", "--attention", "--thumbnails"}
    known |= {"--no-pretrained"}
    assert {word for word in words if word.startswith("--")} == known
    assert resolve(config, manifest(300, 200)) == (config, [])


def test_a_resolved_configuration_does_not_change_when_it_is_resolved_again() -> None:
    for options in ({}, {"recipe": "finetune", **TRAINED}, {"recipe": "probe", **TRAINED}):
        config = resolved(**options)
        assert resolve(config, manifest(300, 200)) == (config, [])
