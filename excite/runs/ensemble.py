"""The networks of a cross-validation as one classifier: their mean, calibrated as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from excite.data.loading import PixelSource
from excite.data.preprocessing import Preprocessing
from excite.errors import ExciteError
from excite.evaluation.abstention import choose_confidence
from excite.evaluation.calibration import SMALLEST, fit_temperature, logits_of, with_temperature
from excite.evaluation.judge import choose_point
from excite.evaluation.predictions import Predictions
from excite.files import sha256_of
from excite.models.head import head_of, replace_head
from excite.models.members import MeanOfMembers, Members
from excite.runs.classifier import (
    FORMAT,
    Classifier,
    Disagreement,
    Prediction,
    check_weights,
    network_of,
    read_facts,
    softmax,
)
from excite.runs.predictions import prediction_rows, questions_of
from excite.runs.run import Run
from excite.training.inference import predict_logits
from excite.training.precision import choose_device
from excite.training.progress import Display

NEVER_SURE = float(np.nextafter(1.0, 2.0))  # no probability reaches it


class Ensemble(Classifier):
    """A classifier whose probabilities are the mean of its members', at one temperature."""

    model: MeanOfMembers

    @property
    def is_ensemble(self) -> bool:
        return True

    def member_probabilities(self, source: PixelSource, batch_size: int = 64) -> np.ndarray:
        """(N, M, C) float64: what each member says, calibrated by its own fold."""
        each = predict_logits(
            self.model.members, source, self.preprocessing, device=self.device, batch_size=batch_size
        )
        return softmax(each.reshape(-1, len(self.classes))).reshape(each.shape)

    def probabilities(self, source: PixelSource, batch_size: int = 64) -> np.ndarray:
        """(N, C) float64 mean of the members' probabilities, calibrated. Each member's logits are averaged
        over the views of an image first, as its fold's own classifier does."""
        return _tempered(self.member_probabilities(source, batch_size).mean(axis=1), self.temperature)

    def _answers(self, paths: Sequence[str], source: PixelSource) -> list[Prediction]:
        each = self.member_probabilities(source)
        mean = _tempered(each.mean(axis=1), self.temperature)
        # At the same temperature as the mean, or it could lie outside of what they say.
        each = _tempered(each, self.temperature)
        return [
            replace(self._answer(path, row), disagreement=_disagreement(members, int(row.argmax())))
            for path, row, members in zip(paths, mean, each, strict=True)
        ]

    def save(self, run: Run) -> None:
        """Raises: ExciteError: an ensemble is what its members' folders hold."""
        raise ExciteError("an ensemble is saved by its cross-validation", where=run.path)


def load_ensemble(run: Run, facts: Mapping[str, Any], *, device: str = "cpu") -> Ensemble:
    """The ensemble of a cross-validation.

    Args:
        facts: its ``classifier.json``.

    Raises:
        ExciteError: if a member is missing or was changed since the cross-validation ended.
    """
    members = [Run(run.path / member["run"]) for member in facts["members"]]
    known = [read_facts(member) for member in members]
    for member, own, listed in zip(members, known, facts["members"], strict=True):
        check_weights(member, own)
        if own["sha256"]["model.safetensors"] != listed["sha256"] or own["classes"] != facts["classes"]:
            raise ExciteError("is not the network that the cross-validation trained", where=member.weights)
        if own["preprocessing"] != known[0]["preprocessing"]:
            raise ExciteError("prepares pictures in another way than the first member", where=member.path)
    networks = _networks(members, known)
    temperatures = [own["temperature"] for own in known]
    model = MeanOfMembers(Members(networks, temperatures, len(facts["classes"])))
    model.to(choose_device(device)).to(memory_format=torch.channels_last)
    return Ensemble(
        model,
        known[0]["architecture"],
        facts["classes"],
        Preprocessing(**known[0]["preprocessing"]),
        facts["temperature"],
        facts["not_sure_below"],
        facts["max_pixels"],
    )


def write_ensemble(
    run: Run, members: Sequence[Run], out_of_fold: Predictions, display: Display
) -> dict[str, Any]:
    """Write a cross-validation's ``classifier.json``, and ``val_predictions.csv`` that thresholds are chosen
    with.

    Temperature and thresholds are chosen on the out-of-fold predictions: each image by members that had not
    seen it, one a repeat. The ensemble has more members than that, whose mean is less sure and usually at
    least as often right, so what is chosen tends to the side of doubt. The figures of the cross-validation
    are not touched.

    Args:
        out_of_fold: the mean over repeats, as ``mean_of_repeats`` gives it.

    Returns:
        for ``metrics.json``: ``members``, ``temperature``, ``not_sure_below``, ``n``, ``groups`` and, where a
        class is to be found, ``operating_point``.
    """
    questions = questions_of(run.config)
    temperature = fit_temperature(logits_of(out_of_fold), out_of_fold.targets)
    calibrated = with_temperature(out_of_fold, temperature)
    not_sure_below = questions.not_sure_below or 0.0
    if questions.sure_accuracy is not None:
        try:
            not_sure_below = choose_confidence(calibrated, questions.sure_accuracy)
        except ExciteError as error:  # the folds are trained, and can be used
            display.note(f"the ensemble is never sure: {error}")
            not_sure_below = NEVER_SURE
    run.write_table("val_predictions.csv", prediction_rows(calibrated))
    run.write_json(
        "classifier.json",
        {
            "format": FORMAT,
            "members": [
                {"run": member.path.relative_to(run.path).as_posix(), "sha256": sha256_of(member.weights)}
                for member in members
            ],
            "classes": list(out_of_fold.classes),
            "temperature": temperature,
            "not_sure_below": not_sure_below,
            "max_pixels": run.config.max_pixels,
            "sha256": {"manifest.csv": sha256_of(run.path / "manifest.csv")},
        },
    )
    found: dict[str, Any] = {
        "members": len(members),
        "temperature": temperature,
        "not_sure_below": not_sure_below,
        "n": len(out_of_fold),
        "groups": out_of_fold.group_count,
    }
    if questions.positive is not None:
        found["operating_point"] = asdict(choose_point(calibrated, questions))
    return found


def _networks(members: Sequence[Run], known: Sequence[Mapping[str, Any]]) -> list[nn.Module]:
    """The members' networks; one for all where they differ in their last layer alone, as probes do."""
    first = network_of(members[0], known[0])
    if len(members) > 1 and all(own["architecture"] == known[0]["architecture"] for own in known):
        heads = _heads(first, members)
        if heads is not None:
            return [_with_heads(first, heads)]
    return [first, *(network_of(*each) for each in zip(members[1:], known[1:], strict=True))]


def _heads(first: nn.Module, members: Sequence[Run]) -> list[dict[str, Tensor]] | None:
    """The tensors of each member's last layer, by name; None where more than these differ."""
    path = head_of(first)
    if not isinstance(first.get_submodule(path), nn.Linear):
        return None
    trunk = {name: value for name, value in first.state_dict().items() if not name.startswith(f"{path}.")}
    found = []
    for member in members:
        tensors = load_file(member.weights)
        if not all(name in tensors and torch.equal(value, tensors[name]) for name, value in trunk.items()):
            return None
        found.append({name: value for name, value in tensors.items() if name not in trunk})
    return found


def _with_heads(model: nn.Module, heads: Sequence[Mapping[str, Tensor]]) -> nn.Module:
    """The network with the members' last layers one after the other in its own."""
    path = head_of(model)
    stacked = {name: torch.cat([head[name] for head in heads]) for name in heads[0]}
    replace_head(model, len(stacked[f"{path}.weight"]))
    model.load_state_dict(stacked, strict=False)
    return model


def _tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T) over the last axis."""
    rows = np.log(probabilities.clip(SMALLEST)).reshape(-1, probabilities.shape[-1])
    return softmax(rows / temperature).reshape(probabilities.shape)


def _disagreement(members: np.ndarray, best: int) -> Disagreement:
    """Of the probabilities (M, C) of one image."""
    against = int((members.argmax(axis=1) != best).sum())
    return Disagreement(len(members), against, float(members[:, best].min()), float(members[:, best].max()))
