"""The maps of a run's test images, and whether they can be believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from excite.explain.evidence import EvidenceModel, network_evidence
from excite.explain.faithfulness import (
    Curves,
    Pointing,
    Rivalry,
    area,
    compare_scores,
    insertion_deletion,
    pointing,
    rank_correlations,
    verdict,
)
from excite.explain.images import Explainer, Explanation
from excite.explain.rivals import rival_maps, with_random_head
from excite.explain.run_images import RunImages, images_of_run, refuse_cross_validation
from excite.explain.sanity import cascade, stability
from excite.inference.ensemble_network import MeanEnsemble
from excite.runs.classifier import Classifier
from excite.runs.run import Run
from excite.system.progress import Display

MOST_EXPLAINED = 60  # images for insertion and deletion, which take 90 forward passes each
MOST_RANDOMIZED = 16  # images for the randomized layers
RANDOM_HEADS = 5


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Whether the maps show what the answers depend on.

    Args:
        curves: name of a map -> its curves over all images.
        rivalries: the score of the evidence minus that of each rival.
        verdict: one sentence.
        random_head: mean rank correlation with the maps of networks with random heads.
        cascade: (layer, rank correlation) with layers randomized from the head down.
        stability, shifts: mean rank correlation under small shifts, and how many shifts counted.
        pointing: at the object; None if it is unknown.
        images, groups: behind it.
    """

    curves: dict[str, Curves]
    rivalries: tuple[Rivalry, ...]
    verdict: str
    random_head: float
    cascade: tuple[tuple[str, float], ...]
    stability: float
    shifts: int
    pointing: Pointing | None
    images: int
    groups: int

    def to_dict(self) -> dict[str, Any]:
        """As in ``explanation.json``."""
        curves = {
            name: {
                "score": float(each.score.mean()),
                "insertion": float(area(each.insertion).mean()),
                "deletion": float(area(each.deletion).mean()),
            }
            for name, each in self.curves.items()
        }
        return {
            "images": self.images,
            "groups": self.groups,
            "verdict": self.verdict,
            "curves": curves,
            "rivals": [each.to_dict() for each in self.rivalries],
            "random_head_correlation": self.random_head,
            "randomized_layers": [{"layer": name, "correlation": value} for name, value in self.cascade],
            "stability": {"correlation": self.stability, "shifts": self.shifts},
            "pointing": None if self.pointing is None else self.pointing.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class RunExplanation:
    """Explanations of a run's images, with tests of the maps.

    Args:
        images: that were explained.
        explanations: one for each.
        faithfulness: of all of them.
    """

    images: RunImages
    explanations: tuple[Explanation, ...]
    faithfulness: Faithfulness


def explain_run(
    run: Run,
    classifier: Classifier,
    *,
    label: str | None = None,
    objects: Path | None = None,
    display: Display | None = None,
) -> RunExplanation:
    """Explain images of a run that its network was not fitted to, and test the explanations.

    Args:
        run: a finished run with test images.
        classifier: of the run.
        label: the class to explain; None: the predicted one.
        objects: masks or boxes, see ``object_masks``.
        display: the progress display; None: none.

    Raises:
        ExciteError: for a run without test images, and a cross-validation, of which every image was used in
            training.
    """
    display = display or Display()
    refuse_cross_validation(run)
    images = images_of_run(
        run, classifier.preprocessing, ("test",), most=MOST_EXPLAINED, objects=objects, display=display
    )
    explainer = Explainer(classifier, label)
    paths = images.manifest.table["path"].tolist()
    explanations = explainer.explain(images.pixels, paths, display.stage("explaining"))
    faithfulness = measure_faithfulness(explainer, images, explanations, display.stage("testing the maps"))
    return RunExplanation(images, tuple(explanations), faithfulness)


def measure_faithfulness(
    explainer: Explainer,
    images: RunImages,
    explanations: list[Explanation],
    progress: Callable[[int, int], object],
) -> Faithfulness:
    """Insertion and deletion against rivals, random layers, shifts, and objects."""
    classifier = explainer.classifier
    inputs = torch.cat(list(explainer.batches(images.pixels)))
    names = {name: number for number, name in enumerate(classifier.classes)}
    labels = torch.tensor([names[each.label] for each in explanations])
    evidence = torch.from_numpy(np.stack([each.map for each in explanations]))
    random_heads = [_random_head(classifier, inputs, labels, seed) for seed in range(RANDOM_HEADS)]
    grid = (evidence.shape[1], evidence.shape[2])
    maps = {"evidence": evidence, **rival_maps(inputs, grid), "random head": random_heads[0]}
    probabilities = _probabilities(classifier)
    curves = {}
    for number, (name, each) in enumerate(maps.items()):
        curves[name] = insertion_deletion(probabilities, inputs, each, labels)
        progress(number + 1, len(maps))
    scores = {name: each.score for name, each in curves.items()}
    rivalries = compare_scores(scores, images.codes, "evidence")
    correlations = [rank_correlations(evidence, each) for each in random_heads]
    steady, shifts = stability(lambda x: probabilities(x).argmax(dim=1), _maps_of(classifier, labels), inputs)
    masks = None if images.masks is None else torch.from_numpy(images.masks).float()
    return Faithfulness(
        curves,
        tuple(rivalries),
        verdict(rivalries),
        float(np.nanmean(correlations)),
        tuple(_cascade(classifier, inputs[:MOST_RANDOMIZED], labels[:MOST_RANDOMIZED])),
        steady,
        shifts,
        None if masks is None else pointing(evidence, masks, images.codes),
        len(explanations),
        len(np.unique(images.codes)),
    )


def _probabilities(classifier: Classifier) -> Callable[[Tensor], Tensor]:
    """Calibrated probabilities of normalized images, without test-time augmentation."""

    def probabilities(images: Tensor) -> Tensor:
        with torch.inference_mode():
            logits = classifier.model(images.to(classifier.device)).float().cpu().numpy()
        return torch.from_numpy(classifier.calibration.probabilities(logits))

    return probabilities


def _maps_of(classifier: Classifier, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Evidence maps of the labels, of all images at once in batches."""
    model = EvidenceModel(classifier)

    def maps(images: Tensor) -> Tensor:
        parts = zip(images.split(32), labels.split(32), strict=True)
        return torch.cat([model(part, wanted[:, None]).maps[:, 0] for part, wanted in parts])

    return maps


def _random_head(classifier: Classifier, images: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Maps of the network, or of each member of an ensemble, with a random head."""
    model = classifier.model
    if isinstance(model, MeanEnsemble):
        model = model.members.networks[0]
    random = with_random_head(model, seed)
    parts = zip(images.split(32), labels.split(32), strict=True)
    return torch.cat([network_evidence(random, part, wanted[:, None]).maps[:, 0] for part, wanted in parts])


def _cascade(classifier: Classifier, images: Tensor, labels: Tensor) -> list[tuple[str, float]]:
    model = classifier.model
    if isinstance(model, MeanEnsemble):
        model = model.members.networks[0]
    return cascade(model, images, lambda net, x: network_evidence(net, x, labels[:, None]).maps[:, 0])
