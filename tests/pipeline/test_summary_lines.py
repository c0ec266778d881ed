"""What a training works on, in one line each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import excite
from excite.audit.audit import Audit
from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.models.weights import load_weights
from excite.pipeline.summary_lines import attention_modules, data_line, plan_line, split_line, weights_line
from tests.conftest import make_pictures

NET = "cifar_resnet20"


def config(**options: object) -> TrainConfig:
    settled = {"model": NET, "attention": "none", "image_size": 32, "recipe": "scratch", "device": "cpu"}
    return TrainConfig().replace(**(settled | options))


def gated(attention: str = "se") -> nn.Module:
    return excite.create_model(NET, num_classes=3, attention=attention)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    pictures = make_pictures(tmp_path_factory.mktemp("lines") / "pictures", each=6)
    first = pictures / "a" / "p0_0.png"
    first.with_name("again.png").write_bytes(first.read_bytes())
    return excite.audit(pictures, near_duplicates=False)


def test_data_names_images_classes_groups_and_what_was_not_looked_for(audited: Audit) -> None:
    assert data_line(audited) == (
        "19 images of 3 classes, 18 groups (near-duplicates); crops and rotations were not searched for"
    )


def test_data_names_how_deep_images_are_read(tmp_path: Path) -> None:
    """A file of 16 bits that uses 12 of them would be black if all 16 were meant."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for each in range(3):
            pixels = np.random.default_rng([ord(name), each]).integers(0, 4000, (32, 32), dtype=np.uint16)
            Image.fromarray(pixels).save(tmp_path / name / f"{each}.png")
    line = data_line(excite.audit(tmp_path, near_duplicates=False))
    assert "6 with more than 8 bits per channel, 0 black and 4095 white" in line


@pytest.mark.parametrize(
    ("split", "how"),
    [("grouped", ", groups kept together"), ("random", ", at random"), ("folder", "")],
)
def test_split_names_its_sizes_and_how_it_was_drawn(audited: Audit, split: str, how: str) -> None:
    images = audited.manifest.with_columns(split=["train"] * 12 + ["val"] * 3 + ["test"] * 4)
    assert isinstance(images, Manifest)
    line = split_line(images, config(split=split))
    assert line == f"12 training, 3 validation, and 4 test images{how}"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "train cifar_resnet20, 32 x 32 pixels, 40 epochs, cpu"),
        (
            {"attention": "se", "recipe": "finetune", "epochs": 1, "time_budget": 2.5},
            "fine-tune cifar_resnet20 with se, 32 x 32 pixels, 1 epoch or 2.5 minutes, cpu",
        ),
        (
            {"recipe": "probe", "truncate_after": "layer3", "device": "cuda"},
            "linear probe on cifar_resnet20 up to layer3, 32 x 32 pixels, cuda",
        ),
    ],
)
def test_the_plan_is_recipe_network_input_length_and_device(options: dict[str, object], line: str) -> None:
    assert plan_line(config(**options)) == line


@pytest.mark.parametrize("attention", ["se", "cbam", "eca", "scse", "simam"])
def test_an_attention_module_counts_once_whatever_is_inside(attention: str) -> None:
    assert len(attention_modules(gated(attention))) == 9  # one for each block
    assert attention_modules(excite.create_model(NET, num_classes=3)) == []


def test_weights_count_what_is_loaded_and_what_is_new(tmp_path: Path) -> None:
    plain = excite.create_model(NET, num_classes=3)
    state = {name: value for name, value in plain.state_dict().items() if "num_batches" not in name}
    trunk = {
        name: value for name, value in state.items() if not name.startswith(("fc", "linear", "classifier"))
    }
    head = len(state) - len(trunk)
    assert head == 2
    save_file(trunk | {"more": torch.zeros(1)}, tmp_path / "trunk.safetensors")
    model = gated()
    report = load_weights(model, tmp_path / "trunk.safetensors")
    line = weights_line(config(weights=str(tmp_path / "trunk.safetensors")), model, report)
    assert line == f"{len(trunk)} tensors loaded; the head and 9 gates are new; 1 of the file not used"
    save_file(state, tmp_path / "whole.safetensors")
    report = load_weights(plain, tmp_path / "whole.safetensors")
    assert weights_line(config(), plain, report) == f"{len(state)} tensors loaded"


def test_random_weights_are_called_random() -> None:
    model = gated()
    parameters = sum(value.numel() for value in model.parameters())
    assert weights_line(config(), model, None) == f"random, {parameters:,} parameters"


def test_published_weights_load_everything_but_head_and_gates() -> None:
    model = gated()
    names = [name for name in model.state_dict() if "num_batches" not in name]
    new = [name for name in names if ".attention." in name] + ["head.weight", "head.bias"]
    line = weights_line(config(pretrained=True), model, None)
    assert line == f"{len(names) - len(new)} tensors loaded; the head and 9 gates are new"
