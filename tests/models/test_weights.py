from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from excite.attention.squeeze_excitation import SqueezeExcitation
from excite.errors import ExciteError
from excite.models import densenet
from excite.models.weights import load_weights

SMALL = {"growth_rate": 4, "block_config": (2, 2), "init_channels": 8, "num_classes": 5}


def small(**options: Any) -> densenet.DenseNet:
    return densenet.DenseNet(**{**SMALL, **options}).eval()


def save(model: nn.Module, path: Path) -> Path:
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return path


def test_saved_weights_give_the_same_logits_buffers_included(tmp_path: Path) -> None:
    source, model = small().train(), small()
    source(torch.randn(4, 3, 32, 32) * 3 + 1)  # moves the running statistics
    report = load_weights(model, save(source.eval(), tmp_path / "model.safetensors"))
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(images), source(images))
    assert set(report.loaded) == set(source.state_dict())
    assert report.complete
    assert report.details() == ""
    assert str(report) == f"{len(source.state_dict())} of {len(source.state_dict())} tensors loaded"


def test_tensors_that_do_not_fit_are_named_and_keep_their_values(tmp_path: Path) -> None:
    path = save(small(), tmp_path / "plain.safetensors")
    tensors = load_file(path)
    tensors["head.weight"] = torch.zeros(2)
    save_file(tensors, path)
    model = small(attention="se", num_classes=7)
    head = model.classifier.weight.clone()
    report = load_weights(model, path)
    assert report.missing == tuple(
        f"features.attention2.{name}" for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
    )
    assert report.unexpected == ("head.weight",)
    channels = model.num_features
    assert report.mismatched == (
        ("classifier.bias", (5,), (7,)),
        ("classifier.weight", (5, channels), (7, channels)),
    )
    assert torch.equal(model.classifier.weight, head)
    assert "4 missing, 1 unexpected, 2 mismatched" in str(report)
    assert "\n" not in str(report)
    assert f"classifier.weight: (5, {channels}) in the file, (7, {channels}) in the model" in report.details()
    assert not report.complete


def test_missing_step_counts_of_batch_norm_are_not_reported(tmp_path: Path) -> None:
    path = save(small(), tmp_path / "model.safetensors")
    kept = {name: value for name, value in load_file(path).items() if "num_batches" not in name}
    save_file(kept, path)
    assert load_weights(small(), path).complete


def test_one_by_one_convolutions_and_linear_layers_take_each_others_weights(tmp_path: Path) -> None:
    from torchvision.ops.misc import SqueezeExcitation as Torchvision

    theirs, ours, back = Torchvision(32, 2), SqueezeExcitation(32), Torchvision(32, 2)
    assert load_weights(ours, save(theirs, tmp_path / "theirs.safetensors")).complete
    images = torch.randn(2, 32, 4, 4)
    torch.testing.assert_close(ours(images), theirs(images))
    assert load_weights(back, save(ours, tmp_path / "ours.safetensors")).complete
    torch.testing.assert_close(back(images), theirs(images))


def test_half_precision_files_load_into_a_float32_model(tmp_path: Path) -> None:
    source, model = small(), small()
    load_weights(model, save(source.half(), tmp_path / "half.safetensors"))
    assert model.classifier.weight.dtype == torch.float32
    assert torch.equal(model.classifier.weight, source.classifier.weight.float())


def test_tied_weights_stored_once_are_not_missing(tmp_path: Path) -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    path = tmp_path / "tied.safetensors"
    save_file({"a.weight": torch.ones(3, 3), "a.bias": torch.ones(3), "b.bias": torch.ones(3)}, path)
    assert load_weights(model, path).complete


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    pickle = tmp_path / "model.pth"
    torch.save(small().state_dict(), pickle)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(save(small(), tmp_path / "whole.safetensors").read_bytes()[:2000])
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    disguised = tmp_path / "disguised.safetensors"
    disguised.write_bytes(pickle.read_bytes())
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    for path, message in [
        (pickle, "not a .safetensors file"),
        (broken, "not a readable safetensors file"),
        (empty, "not a readable safetensors file"),
        (disguised, "not a readable safetensors file"),
        (tmp_path / "absent.safetensors", "the weights file does not exist"),
        (folder, "the weights file does not exist"),
    ]:
        with pytest.raises(ExciteError, match=message) as caught:
            load_weights(small(), path)
        assert caught.value.where == str(path)
        assert "\n" not in str(caught.value)


def test_a_file_of_another_architecture_is_refused(tmp_path: Path) -> None:
    save_file({"stem.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(
        ExciteError, match=r"none of its 1 tensors fits the model: the file has 'stem.weight'"
    ):
        load_weights(small(), tmp_path / "other.safetensors")


def test_a_published_trunk_loads_and_the_report_names_what_it_lacks(real_data: Path) -> None:
    path = real_data / "weights" / "mobilenetv1_100_imagenet_trunk.safetensors"
    model = timm.create_model("mobilenetv1_100", pad_type="same")
    report = load_weights(model, path)
    assert set(report.loaded) == set(load_file(path)) & set(model.state_dict())
    assert set(report.missing) == {
        "blocks.4.1.conv_pw.weight",
        *(f"blocks.4.1.bn2.{name}" for name in ("weight", "bias", "running_mean", "running_var")),
        "classifier.weight",
        "classifier.bias",
    }
    assert report.unexpected == report.mismatched == ()
    assert torch.equal(model.conv_stem.weight, load_file(path)["conv_stem.weight"])
