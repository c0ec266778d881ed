"""Read ``classifier.json``, check the weights beside it, and build the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from excite.errors import ExciteError
from excite.models.catalog import create_model
from excite.models.weights import load_weights
from excite.runs.run import Run
from excite.runs.used_plugins import require_network_plugins
from excite.system.files import sha256_of

FORMAT = 5  # of classifier.json


def read_classifier_file(run: Run) -> dict[str, Any]:
    """``classifier.json`` of a run. Raises: ExciteError if it is missing, damaged, or of another format."""
    facts = run.read_json("classifier.json")
    if facts.get("format") != FORMAT:
        raise ExciteError(
            f"has format {facts.get('format')}; this version of excite reads format {FORMAT}",
            where=run.path / "classifier.json",
        )
    return facts


def check_weights(run: Run, facts: Mapping[str, Any]) -> None:
    """Raises: ExciteError if the weights are not those that ``classifier.json`` was written with."""
    if not run.weights.is_file() or sha256_of(run.weights) != facts["sha256"]["model.safetensors"]:
        raise ExciteError("is missing or not the file that the training wrote", where=run.weights)


def load_network(run: Run, facts: Mapping[str, Any]) -> nn.Module:
    """The network of a run with its weights.

    Raises:
        ExciteError: if a plug-in of the network is missing, or the weights do not fit the network.
    """
    require_network_plugins(run, facts)
    model = create_model(**facts["architecture"])
    report = load_weights(model, run.weights)
    if not report.complete or report.unexpected:
        raise ExciteError(f"does not fit the network: {report}", where=run.weights)
    return model
