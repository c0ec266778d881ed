"""Hashes of the weights of three short trainings, to check that a change of the code changes no result.

Run by hand before and after the change, on the same machine: ``python benchmarks/weight_hashes.py``. A
DenseNet with SE from scratch, a ResNet with ECA in a two-fold cross-validation, and a linear probe followed
by fine-tuning from the weights in ``EXCITE_TEST_DATA``. Takes about two minutes on two cores.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

import excite

WEIGHTS = Path(os.environ.get("EXCITE_TEST_DATA", ".")) / "weights" / "cifar10_resnet20.safetensors"
COMMON = {"seed": 3, "device": "cpu", "quiet": True}
TRAININGS: dict[str, dict[str, Any]] = {
    "DenseNet with SE": {"data": "digits", "epochs": 2, "attention": "se"},
    "ResNet with ECA, two folds": {
        "model": "cifar_resnet20",
        "attention": "eca",
        "epochs": 2,
        "folds": 2,
        "batch_size": 16,
        "precision": "float32",
    },
    "probe and fine-tuning": {
        "model": "cifar_resnet20",
        "weights": str(WEIGHTS),
        "image_size": 32,
        "epochs": 2,
    },
}


def images(folder: Path) -> Path:
    """Three classes of thirty 32-pixel images, told apart by their color."""
    generator = np.random.default_rng(0)
    for number, label in enumerate("abc"):
        (folder / label).mkdir(parents=True)
        for index in range(30):
            pixels = generator.integers(0, 160, (32, 32, 3))
            pixels[:, :, number] += 60
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{index}.png")
    return folder


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        data = images(Path(place, "images"))
        for number, (name, options) in enumerate(TRAININGS.items()):
            run = excite.train(**{"data": data, **COMMON, **options, "out": Path(place, f"run{number}")})
            digest = hashlib.sha256()
            for file in sorted(Path(run.path).rglob("model.safetensors")):
                for tensor, values in sorted(load_file(file).items()):
                    digest.update(tensor.encode() + values.tobytes())
            print(f"{digest.hexdigest()[:16]}  {name}", flush=True)


if __name__ == "__main__":
    main()
