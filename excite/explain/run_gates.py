"""What the gates of a run's network do, and the network with its constant gates folded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from excite.explain.gate_analysis import AttentionReport, analyze_attention
from excite.explain.images import Explainer
from excite.explain.run_images import images_of_run, refuse_cross_validation
from excite.insertion.gate_folding import Folding, fold_constant_gates
from excite.runs.classifier import Classifier
from excite.runs.run import Run
from excite.system.progress import Display

MOST_GATED = 1000  # images


def attention_of_run(
    run: Run, classifier: Classifier, display: Display | None = None
) -> tuple[AttentionReport, np.ndarray]:
    """What the gates of a run's network do on its test images, and the class of each of these images.

    Raises:
        ExciteError: for a network without attention, and a run without test images.
    """
    display = display or Display()
    refuse_cross_validation(run)
    images = images_of_run(
        run, classifier.preprocessing, ("test",), most=MOST_GATED, objects=None, display=display
    )
    batches = list(Explainer(classifier).batches(images.pixels))
    with display.waiting("measuring gates"):
        report = analyze_attention(classifier.model, batches, images.targets, images.codes)
    return report, images.targets


def fold_run(run: str | Path | Run, tolerance: float) -> Folding:
    """The network of a run with its constant gates folded, and its accuracy before and after.

    The gates are measured on the images that ``attention_of_run`` uses.

    Args:
        run: a finished run, or its folder.
        tolerance: as for ``fold_constant_gates``; ``AttentionReport.fold_tolerance`` is one.

    Raises:
        ExciteError: as ``attention_of_run`` and ``fold_constant_gates``.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    classifier = Classifier.load(opened)
    refuse_cross_validation(opened)
    images = images_of_run(
        opened, classifier.preprocessing, ("test",), most=MOST_GATED, objects=None, display=Display()
    )
    targets = torch.from_numpy(images.targets)
    batches = list(Explainer(classifier).batches(images.pixels))
    sizes = [len(batch) for batch in batches]
    return fold_constant_gates(
        classifier.model, list(zip(batches, targets.split(sizes), strict=True)), tolerance
    )
