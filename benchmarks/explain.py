"""Explanations of a trained run, with figures beside those of pytorch-grad-cam.

Run by hand: ``python benchmarks/explain.py RUN``, with a run whose test images the network was not fitted to.
Prints the largest gap of the evidence, insertion minus deletion of the evidence and of its rivals with paired
intervals, the same for pytorch-grad-cam's Grad-CAM and Grad-CAM++ on the layer that the network pools, rank
correlations with random heads, and the seconds a map takes, alternating with pytorch-grad-cam.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from excite.explain.evidence import EvidenceModel
from excite.explain.faithfulness import area, compare_scores, insertion_deletion, rank_correlations
from excite.explain.images import Explainer
from excite.explain.rivals import rival_maps, with_random_head
from excite.explain.run_images import images_of_run
from excite.inference.optimized import optimize_for_inference
from excite.runs.classifier import Classifier
from excite.runs.run import Run
from excite.system.progress import ConsoleDisplay


def main() -> None:
    from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--layer", default="bn2", help="layer for pytorch-grad-cam")
    parser.add_argument("--images", type=int, default=72)
    parser.add_argument("--repeats", type=int, default=7, help="of the timing")
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    classifier = Classifier.load(run)
    images = images_of_run(
        run,
        classifier.preprocessing,
        ("test",),
        most=arguments.images,
        objects=None,
        display=ConsoleDisplay(),
    )
    explainer = Explainer(classifier)
    inputs = torch.cat(list(explainer.batches(images.pixels)))
    found = explainer.explain(images.pixels, images.manifest.table["path"].tolist())
    labels = torch.tensor([classifier.classes.index(each.label) for each in found])
    evidence = torch.from_numpy(np.stack([each.map for each in found]))
    print(f"{len(found)} images; largest gap of evidence, bias, and logit: {max(e.gap for e in found):.1e}")
    maps = {"evidence": evidence, **rival_maps(inputs, (evidence.shape[1], evidence.shape[2]))}
    targets = [ClassifierOutputTarget(int(label)) for label in labels]
    layer = classifier.model.get_submodule(arguments.layer)
    for name, method in (("grad-cam", GradCAM), ("grad-cam++", GradCAMPlusPlus)):
        with method(classifier.model, [layer]) as cam:
            parts = [
                cam(part, targets=targets[16 * k : 16 * k + 16]) for k, part in enumerate(inputs.split(16))
            ]
        wide = torch.from_numpy(np.concatenate(parts))
        maps[name] = torch.nn.functional.adaptive_avg_pool2d(wide[:, None], evidence.shape[1:])[:, 0]
    classifier.model.zero_grad(set_to_none=True)
    fast = optimize_for_inference(classifier.model, inputs[:1])

    @torch.inference_mode()
    def probabilities(batch: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(classifier.calibration.probabilities(fast(batch).numpy()))

    curves = {name: insertion_deletion(probabilities, inputs, each, labels) for name, each in maps.items()}
    print("| map | insertion | deletion | score | evidence minus this map |\n|---|---|---|---|---|")
    gaps = {each.rival: each for each in compare_scores(
        {name: each.score for name, each in curves.items()}, images.codes, "evidence"
    )}  # fmt: skip
    for name, each in curves.items():
        gap = gaps.get(name)
        text = ""
        if gap is not None and gap.interval.low is not None and gap.interval.high is not None:
            text = f"{gap.value:+.3f} ({gap.interval.low:+.3f} to {gap.interval.high:+.3f})"
        ends = f"{area(each.insertion).mean():.3f} | {area(each.deletion).mean():.3f}"
        print(f"| {name} | {ends} | {each.score.mean():+.3f} | {text} |")
    correlations = []
    for seed in range(5):
        random = Classifier(
            with_random_head(classifier.model, seed), {}, classifier.classes, classifier.preprocessing
        )
        other = EvidenceModel(random)(inputs, labels[:, None]).maps[:, 0]
        correlations.append(float(np.nanmean(rank_correlations(evidence, other))))
    print("rank correlation with 5 random heads:", ", ".join(f"{c:+.2f}" for c in correlations))
    print(f"their mean: {np.mean(correlations):+.3f}")
    _time(classifier, inputs[:8], labels[:8], targets[:8], layer, arguments.repeats)


def _time(
    classifier: Classifier,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    targets: list[object],
    layer: torch.nn.Module,
    repeats: int,
) -> None:
    """Milliseconds of processor time for an image, one image at a time, alternating."""
    from pytorch_grad_cam import GradCAM

    model = EvidenceModel(classifier)
    model(inputs[:1], labels[:1, None])
    own, theirs = [], []
    with GradCAM(classifier.model, [layer]) as cam:
        for _ in range(repeats):
            start = time.process_time()
            for k in range(len(inputs)):
                model(inputs[k : k + 1], labels[k : k + 1, None])
            middle = time.process_time()
            for k in range(len(inputs)):
                cam(inputs[k : k + 1], targets=targets[k : k + 1])
            end = time.process_time()
            own.append(1000 * (middle - start) / len(inputs))
            theirs.append(1000 * (end - middle) / len(inputs))
    ours, other = float(np.median(own)), float(np.median(theirs))
    print(f"a map: {ours:.0f} ms, pytorch-grad-cam's Grad-CAM {other:.0f} ms, ratio {ours / other:.2f}")


if __name__ == "__main__":
    main()
