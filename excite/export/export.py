"""Export a run to another format, and compare the file with the run on real images."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from excite.data.paths import refuse_inside_data
from excite.data.pixel_cache import cached_pixels
from excite.data.sources import PixelSubset
from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.operating_point import OperatingPoint
from excite.export.formats import Predict, get_format
from excite.runs.classifier import Classifier
from excite.runs.moved_data import require_images
from excite.runs.run import Run
from excite.system.cache import cache_directory
from excite.system.files import sync_folder

# Another order of summation changes probabilities by about 1e-6, a wrong padding by 1e-2 or more.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Parity:
    """The difference between an exported file and the run.

    Args:
        images: number of compared images.
        largest: largest difference of a probability.
        same_class: number of images with the same predicted class.
    """

    images: int
    largest: float
    same_class: int


@dataclass(frozen=True)
class Exported:
    """An exported file."""

    path: Path
    format: str
    size: int  # bytes
    classes: tuple[str, ...]
    image_size: int
    parity: Parity
    operating_point: OperatingPoint | None


def export_run(run: Run, format: str, out: str | Path | None = None, *, images: int = 256) -> Exported:
    """Export the classifier of a run as a file that maps uint8 images to calibrated probabilities.

    The file is compared with the run before it gets its final name, and deleted if its predictions differ.

    Args:
        run: the run.
        format: a name in ``excite.export.formats.FORMATS``.
        out: the file; by default ``<run>/<name of the run><suffix>``.
        images: maximum number of test images to compare, evenly spaced.

    Raises:
        ExciteError: for an unknown format, a network that the format does not support, an existing file,
            missing test images, or a file whose predictions differ from those of the run.
    """
    chosen = get_format(format)
    path = run.path / f"{run.path.resolve().name}{chosen.suffix}" if out is None else Path(out)
    if path.suffix != chosen.suffix:
        hint = f"use {path.with_suffix(chosen.suffix).name}"
        raise ExciteError(
            f"{format} files end in {chosen.suffix}", where=path, hint=hint, exit_code=BAD_USAGE
        )
    if path.exists():
        raise _exists_already(path)
    if out is not None and (run.path / "manifest.csv").is_file():
        refuse_inside_data(path, run.data_path, run.manifest.table["path"])
    if images < 1:
        raise ExciteError(f"must be at least 1, got {images}", where="images", exit_code=BAD_USAGE)
    classifier = Classifier.load(run)
    writer = chosen.writer()
    # Libraries choose the format by the suffix.
    temporary = path.with_name(f".{uuid.uuid4().hex}{chosen.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        writer.write(classifier, temporary)
        parity = check(classifier, writer.read(temporary), _test_pixels(run, classifier, images))
        if not parity.largest <= TOLERANCE:  # also refuses NaN
            what = f"its probabilities differ from those of the run by up to {parity.largest:.2g}"
            hint = "the file was not written; please report this bug"
            raise ExciteError(what, where=path, hint=hint)
        _rename_new(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return Exported(
        path,
        format,
        path.stat().st_size,
        classifier.classes,
        classifier.preprocessing.image_size,
        parity,
        classifier.operating_point,
    )


def _rename_new(temporary: Path, path: Path) -> None:
    """Rename a file without replacing another one. Raises: ExciteError if the name exists."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError as error:
        raise _exists_already(path) from error
    except OSError:  # the file system has no hard links
        temporary.rename(path)


def _exists_already(path: Path) -> ExciteError:
    hint = "remove it, or choose another file with --out"
    return ExciteError("file exists", where=path, hint=hint, exit_code=BAD_USAGE)


def check(classifier: Classifier, predict: Predict, pixels: np.ndarray) -> Parity:
    """Compare the exported file with the classifier on pixels (N, S, S, 3)."""
    expected = classifier.probabilities(PixelSubset(pixels))
    actual = np.asarray(predict(pixels), dtype=np.float64)
    if actual.shape != expected.shape:
        raise ExciteError(
            f"output has shape {actual.shape} for {len(pixels)} images, expected {expected.shape}"
        )
    same = int((classifier.decide(actual) == classifier.decide(expected)).sum())
    return Parity(len(pixels), float(np.abs(actual - expected).max()), same)


def _test_pixels(run: Run, classifier: Classifier, images: int) -> np.ndarray:
    """The preprocessed pixels of at most ``images`` test images, evenly spaced."""
    manifest = run.manifest
    if "test" in manifest.splits:
        manifest = manifest.part("test")
    require_images(run, manifest.table["path"].tolist())
    pixels = cached_pixels(manifest, classifier.preprocessing, cache_directory())
    rows = np.unique(np.linspace(0, len(pixels) - 1, min(images, len(pixels))).astype(int))
    return pixels[rows]
