"""Write a trained run in another format, and hold what was written against the run on real images."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from excite.data.paths import refuse_inside_data
from excite.data.pixel_cache import cached_pixels
from excite.data.sources import PixelSubset
from excite.errors import BAD_USAGE, ExciteError
from excite.export.formats import Predict, format_called
from excite.runs.classifier import Classifier
from excite.runs.run import Run
from excite.system.cache import cache_directory
from excite.system.files import sync_folder

# Sums of the same numbers in another order differ by about 1e-6, a wrong padding by 1e-2 and more.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Parity:
    """How far a written file is from the run.

    Args:
        images: how many were asked of both.
        largest: the largest difference of a probability.
        same_class: of how many images both say the same class.
    """

    images: int
    largest: float
    same_class: int


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    format: str
    size: int  # bytes
    classes: tuple[str, ...]
    image_size: int
    parity: Parity


def export_run(run: Run, format: str, out: str | Path | None = None, *, images: int = 256) -> Exported:
    """Write a run's classifier as a file that takes uint8 images and gives calibrated probabilities.

    It is checked before it takes its name: a file that says anything else than the run is not left behind.

    Args:
        format: a name in ``excite.export.formats``.
        out: the file; ``<run>/<run's name><suffix>`` by default.
        images: at most so many of the run's test images are asked of both, evenly spread.

    Raises:
        ExciteError: for an unknown format, a network that it has no form for, a file that is there already,
            test images that cannot be had, or a written file that says anything else than the run.
    """
    chosen = format_called(format)
    path = run.path / f"{run.path.resolve().name}{chosen.suffix}" if out is None else Path(out)
    if path.suffix != chosen.suffix:
        hint = f"call it {path.with_suffix(chosen.suffix).name}"
        raise ExciteError(
            f"{format} files end in {chosen.suffix}", where=path, hint=hint, exit_code=BAD_USAGE
        )
    if path.exists():
        raise _is_there(path)
    if out is not None and (run.path / "manifest.csv").is_file():
        refuse_inside_data(path, run.data_path, run.manifest.table["path"])
    if images < 1:
        raise ExciteError(f"must be at least 1, not {images}", where="images", exit_code=BAD_USAGE)
    classifier = Classifier.load(run)
    writer = chosen.writer()
    # The suffix stays, because libraries go by it.
    temporary = path.with_name(f".{uuid.uuid4().hex}{chosen.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        writer.write(classifier, temporary)
        parity = check(classifier, writer.read(temporary), _test_pixels(run, classifier, images))
        if not parity.largest <= TOLERANCE:  # NaN is no parity either
            what = f"its probabilities differ from the run's by up to {parity.largest:.2g}"
            hint = "this is a fault of excite; the file was not written"
            raise ExciteError(what, where=path, hint=hint)
        _give_name(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    preprocessing = classifier.preprocessing
    return Exported(path, format, path.stat().st_size, classifier.classes, preprocessing.image_size, parity)


def _give_name(temporary: Path, path: Path) -> None:
    """Rename a file to a name that no other process has taken meanwhile. Raises: ExciteError if one has."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError as error:
        raise _is_there(path) from error
    except OSError:  # a file system without links
        temporary.rename(path)


def _is_there(path: Path) -> ExciteError:
    hint = "remove it, or name another with --out"
    return ExciteError("is there already", where=path, hint=hint, exit_code=BAD_USAGE)


def check(classifier: Classifier, predict: Predict, pixels: np.ndarray) -> Parity:
    """The written file against the classifier, on pixels (N, S, S, 3)."""
    wanted = classifier.probabilities(PixelSubset(pixels))
    said = np.asarray(predict(pixels), dtype=np.float64)
    if said.shape != wanted.shape:
        raise ExciteError(f"gives {said.shape} for {len(pixels)} images, and {wanted.shape} is wanted")
    same = int((said.argmax(axis=1) == wanted.argmax(axis=1)).sum())
    return Parity(len(pixels), float(np.abs(said - wanted).max()), same)


def _test_pixels(run: Run, classifier: Classifier, images: int) -> np.ndarray:
    """At most so many of the run's test images, evenly spread, as the classifier sees them."""
    manifest = run.manifest
    if "test" in manifest.splits:
        manifest = manifest.part("test")
    pixels = cached_pixels(manifest, classifier.preprocessing, cache_directory())
    rows = np.unique(np.linspace(0, len(pixels) - 1, min(images, len(pixels))).astype(int))
    return pixels[rows]
