"""Time of exported networks in ONNX Runtime: with and without Squeeze-and-Excitation.

    python benchmarks/export_speed.py [--rounds 40] [--batches 1,8] [--threads 1]

Networks have random weights, which do not change the time. The networks of a pair alternate, batch by batch,
so that a change of the processor's clock meets both. Processor time is measured, which other processes change
less than the time on the clock; the table shows the median of each and the median of the ratios, with its
range over the middle half of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from excite.bundle.decision import Decision
from excite.bundle.format import BundleInfo
from excite.bundle.onnx_runtime import OnnxRuntime
from excite.data.preprocessing import Preprocessing
from excite.export.graph import build_graph
from excite.export.onnx import build_model
from excite.models.catalog import create_model
from excite.runs.classifier import Classifier

CLASSES = ("a", "b", "c")
PAIRS = (
    ("ResNet-50", {"name": "timm:resnet50"}, {"name": "timm:resnet50", "attention": "se"}),
    (
        "ResNet-50, identity start",
        {"name": "timm:resnet50"},
        {"name": "timm:resnet50", "attention": "se", "attention_options": {"identity": True}},
    ),
    ("DenseNet-121", {"name": "densenet121"}, {"name": "densenet121", "attention": "se"}),
    (
        "DenseNet-121, SE in each layer",
        {"name": "densenet121"},
        {"name": "densenet121", "attention": "se", "placement": "layer"},
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    print("| network | batch | without | with SE | ratio | middle half |\n|---|---|---|---|---|---|")
    for name, plain, attended in PAIRS:
        if asked.only and asked.only != name:
            continue
        runs = [session(options, asked.image_size, asked.threads) for options in (plain, attended)]
        for batch in map(int, asked.batches.split(",")):
            shape = (batch, asked.image_size, asked.image_size, 3)
            pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
            seconds = np.array([[timed(run, pixels) for run in runs] for _ in range(asked.rounds + 2)][2:])
            ratios = seconds[:, 1] / seconds[:, 0]
            low, high = np.quantile(ratios, [0.25, 0.75])
            one, two = (1000 * statistics.median(column) for column in seconds.T)
            print(
                f"| {name} | {batch} | {one:.1f} ms | {two:.1f} ms | {statistics.median(ratios):.3f} | "
                f"{low:.3f} to {high:.3f} |",
                flush=True,
            )


def session(options: dict[str, object], image_size: int, threads: int) -> Callable[[np.ndarray], object]:
    """A function that runs the exported network on pixels."""
    torch.manual_seed(0)
    model = create_model(**options, num_classes=len(CLASSES), image_size=image_size)  # type: ignore[arg-type]
    classifier = Classifier(model, options, CLASSES, Preprocessing(image_size))
    prepared = build_graph(classifier)
    calibration = classifier.calibration.to_dict()
    bias = prepared.graph.evidence_bias
    info = BundleInfo("x", CLASSES, classifier.preprocessing, 1, Decision(), calibration, bias)
    content = build_model(prepared).SerializeToString()
    return OnnxRuntime(content, info, where="benchmark", threads=threads).run


def timed(run: Callable[[np.ndarray], object], pixels: np.ndarray) -> float:
    start = time.process_time()
    run(pixels)
    return time.process_time() - start


if __name__ == "__main__":
    main()
