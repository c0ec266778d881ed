"""classifier.json and the weights beside it: other formats, changed files, and networks that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from excite.errors import ExciteError
from excite.models.catalog import create_model
from excite.runs.classifier_file import FORMAT, check_weights, load_network, read_classifier_file
from excite.runs.run import Run
from excite.system.files import sha256_of

ARCHITECTURE = {"name": "cifar_resnet20", "num_classes": 3}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    one = Run(tmp_path)
    save_file(create_model(**ARCHITECTURE).state_dict(), one.weights)
    document = {
        "format": FORMAT,
        "architecture": ARCHITECTURE,
        "sha256": {"model.safetensors": sha256_of(one.weights)},
    }
    (tmp_path / "classifier.json").write_text(json.dumps(document))
    return one


def changed(run: Run, **values: Any) -> None:
    path = run.path / "classifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_network_is_built_with_its_weights(run: Run) -> None:
    facts = read_classifier_file(run)
    check_weights(run, facts)
    torch.manual_seed(1)  # the weights come from the file, not from this state
    one, two = load_network(run, facts).eval(), load_network(run, facts).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(one(images), two(images))
    assert one(images).shape == (2, 3)


def test_another_format_is_refused(run: Run) -> None:
    changed(run, format=FORMAT - 1)
    with pytest.raises(ExciteError, match=f"has format {FORMAT - 1}; this version of excite reads") as raised:
        read_classifier_file(run)
    assert raised.value.where == str(run.path / "classifier.json")


@pytest.mark.parametrize("harm", ["missing", "changed"])
def test_weights_that_are_not_those_of_the_training_are_refused(run: Run, harm: str) -> None:
    facts = read_classifier_file(run)
    if harm == "missing":
        run.weights.unlink()
    else:
        run.weights.write_bytes(run.weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(ExciteError, match="is missing or not the file that the training wrote"):
        check_weights(run, facts)


def test_weights_of_another_network_are_refused(run: Run) -> None:
    changed(run, architecture={**ARCHITECTURE, "num_classes": 4})
    with pytest.raises(ExciteError, match=r"does not fit the network: .* 2 mismatched"):
        load_network(run, read_classifier_file(run))


def test_a_damaged_or_missing_document_is_one_line(run: Run) -> None:
    (run.path / "classifier.json").write_text("{")
    with pytest.raises(ExciteError, match=r"classifier\.json: cannot be read"):
        read_classifier_file(run)
