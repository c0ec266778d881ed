"""Ask a bundle in a fresh process, as a user of the file does; for the parity check of an export.

``python -m excite.bundle.read_back FILE FOLDER`` reads ``request.json`` (paths of images, batch sizes) and
``pixels.npy`` in the folder, and writes ``probabilities.npy`` and ``answer.json``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from excite.bundle.predictor import Predictor, VectorDifference
from excite.errors import ExciteError

HEAVY = ("torch", "timm", "torchvision", "pandas", "scipy", "sklearn")


@dataclass(frozen=True)
class Answer:
    """What the fresh process found.

    Args:
        probabilities: (B, N, C) for each batch size.
        other_pixels: number of images from which it decoded other pixels than the run.
        vectors: differences from the test vectors.
        evidence: largest difference between the probabilities and what the evidence adds up to; None: no
            evidence.
        imported: libraries of the training that it imported, which must be none.
    """

    probabilities: np.ndarray
    other_pixels: int
    vectors: VectorDifference
    evidence: float | None
    imported: tuple[str, ...]


def ask(path: Path, pixels: np.ndarray, images: Sequence[str], batch_sizes: Sequence[int]) -> Answer:
    """Start a process that reads the bundle, and ask it about images.

    Args:
        path: the bundle.
        pixels: (N, S, S, 3) uint8, as the run decoded the images.
        images: N paths of image files, or none to leave decoding out.
        batch_sizes: how many images at a time; the process answers all images for each.

    Raises:
        ExciteError: with the error of the process.
    """
    with tempfile.TemporaryDirectory(prefix="excite-") as name:
        folder = Path(name)
        np.save(folder / "pixels.npy", pixels)
        request = {"images": list(images), "batch_sizes": list(batch_sizes)}
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        package = str(Path(__file__).parents[2])
        others = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
        done = subprocess.run(
            # -P: no module in the working directory takes the place of a library
            [sys.executable, "-P", "-m", "excite.bundle.read_back", str(path), name],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([package, *others])},
            capture_output=True,
            text=True,
            errors="backslashreplace",
            check=False,
        )
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"it ended with exit code {done.returncode}"]
            raise ExciteError(f"the exported file cannot be read back: {lines[-1]}")
        answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
        return Answer(
            np.load(folder / "probabilities.npy"),
            answer["other_pixels"],
            VectorDifference(*answer["vectors"]),
            answer["evidence"],
            tuple(answer["imported"]),
        )


def main(path: str, folder: str) -> None:
    """Answer one request."""
    place = Path(folder)
    request = json.loads((place / "request.json").read_text(encoding="utf-8"))
    pixels = np.load(place / "pixels.npy", mmap_mode="r")
    predictor, single = Predictor.load(path), Predictor.load(path, few_images=True)
    each = [
        (single if size == 1 else predictor).probabilities(pixels, size) for size in request["batch_sizes"]
    ]
    np.save(place / "probabilities.npy", np.stack(each))
    other = sum(
        not np.array_equal(predictor.pixels(image), expected)
        for image, expected in zip(request["images"], pixels, strict=False)
    )
    answer = {
        "other_pixels": other,
        "vectors": predictor.check_vectors(),
        "evidence": predictor.check_evidence(np.array(pixels[:8])),
        "imported": [name for name in HEAVY if name in sys.modules],
    }
    (place / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ExciteError as error:
        sys.exit(str(error))
