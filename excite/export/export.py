"""Export a run to other formats; each file is compared with the run before it gets its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from excite.config.task import MULTICLASS, MULTILABEL, Task
from excite.data.decoded_pixels import decoded_pixels
from excite.data.paths import refuse_inside_data
from excite.data.sources import PixelSubset
from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.decision_rule import DecisionRule
from excite.export.formats import Writer, get_format
from excite.export.limits import Limits
from excite.export.parity import BATCH_SIZES, Parity, measure_parity, require_parity
from excite.export.publish import exists_already, unpublished
from excite.export.source import Source
from excite.runs.classifier import Classifier
from excite.runs.moved_data import require_images
from excite.runs.run import Run
from excite.system.cache import cache_directory
from excite.system.progress import Display


@dataclass(frozen=True)
class Exported:
    """An exported file or folder."""

    path: Path
    format: str
    size: int  # bytes
    classes: tuple[str, ...]
    image_size: int
    parity: Parity
    rule: DecisionRule | None
    notes: tuple[str, ...] = ()
    task: Task = MULTICLASS


@dataclass(frozen=True)
class TestImages:
    """Real images and what the run gives for them.

    Args:
        paths: N image files.
        pixels: (N, S, S, 3) uint8.
        probabilities: (N, C).
    """

    __test__ = False  # for pytest: not a test

    paths: tuple[str, ...]
    pixels: np.ndarray
    probabilities: np.ndarray


def export_run(
    run: Run,
    formats: Sequence[str],
    out: str | Path | None = None,
    *,
    images: int = 256,
    license: str = "",
    int8: Limits | None = None,
    display: Display | None = None,
) -> list[Exported]:
    """Export the classifier of a run as files that map uint8 images to calibrated probabilities.

    Each file is read back and compared with the run before it gets its name; if its probabilities differ, it
    is deleted.

    Args:
        run: the run.
        formats: names in ``excite.export.formats.FORMATS``.
        out: the file or folder, for one format; by default ``<run>/<name of the run><suffix>``.
        images: maximum number of test images to compare, evenly spaced.
        license: of the weights, to be recorded; empty: that of the packaged weights training started from.
        int8: quantize the ONNX file, unless that is worse than these limits; None: float32.
        display: shows what is being done; None: nothing is shown.

    Raises:
        ExciteError: for an unknown format, a network that the format does not support, an existing file,
            missing test images, a file whose probabilities differ from those of the run, or a quantized
            network that is worse than the limits.
    """
    if images < 1:
        raise ExciteError(f"must be at least 1, got {images}", where="images", exit_code=BAD_USAGE)
    if int8 is not None and list(formats) != ["onnx"]:
        raise ExciteError("is for --format onnx alone", where="--int8", exit_code=BAD_USAGE)
    paths = [_target(run, format, out, len(formats), int8 is not None) for format in formats]
    display = display or Display()
    with display.waiting("reading the run and its test images"):
        source = Source(run, Classifier.load(run), license)
        _refuse_labels(source.classifier, formats, int8 is not None)
        tests = load_test_images(run, source.classifier, images)
    exported = []
    for format, path in zip(formats, paths, strict=True):
        writer = get_format(format).writer() if int8 is None else _int8_writer(int8)
        exported.append(_export(source, tests, format, writer, path, display))
    return exported


def _refuse_labels(classifier: Classifier, formats: Sequence[str], int8: bool) -> None:
    """Raises: ExciteError for what is not there for several labels."""
    if classifier.task != MULTILABEL:
        return
    what = "is for one class per image; this run has several labels"
    if int8:
        raise ExciteError(what, where="--int8", hint="export without --int8", exit_code=BAD_USAGE)
    if "keras" in formats:
        hint = "export it with --format onnx"
        raise ExciteError(what, where="--format keras", hint=hint, exit_code=BAD_USAGE)


def _int8_writer(limits: Limits) -> Writer:
    from excite.export.int8 import Int8Writer

    return Int8Writer(limits)


def _export(
    source: Source, tests: TestImages, format: str, writer: Writer, path: Path, display: Display
) -> Exported:
    with unpublished(path) as temporary:
        try:
            with display.waiting(f"writing {path.name}"):
                written = writer.write(source, temporary)
            with display.waiting(f"comparing {path.name} with the run"):
                reading = written.ask(tests.pixels, tests.paths, BATCH_SIZES)
            expected = tests.probabilities if written.expected is None else written.expected(tests.pixels)
            decide = source.classifier.decide if source.classifier.task == MULTILABEL else None
            parity = measure_parity(expected, reading, BATCH_SIZES, decide=decide)
            require_parity(parity, reading)
        except ExciteError as error:
            raise ExciteError(
                error.what,
                where=error.where if error.where and str(temporary) not in error.where else path,
                hint=error.hint,
                exit_code=error.exit_code,
            ) from error
    size = sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]))
    classifier = source.classifier
    return Exported(
        path,
        format,
        size,
        classifier.classes,
        classifier.preprocessing.image_size,
        parity,
        classifier.rule,
        written.notes + ((parity.warning,) if parity.warning else ()),
        classifier.task,
    )


def _target(run: Run, format: str, out: str | Path | None, count: int, int8: bool) -> Path:
    """The path of the exported file. Raises: ExciteError if it cannot be this one."""
    chosen = get_format(format)
    if out is not None and count > 1:
        raise ExciteError("names one file, for one format", where="--out", exit_code=BAD_USAGE)
    ending = f"{'-int8' if int8 else ''}{chosen.suffix}" or f"-{format}"
    path = run.path / f"{run.path.resolve().name}{ending}" if out is None else Path(out)
    if chosen.suffix and path.suffix != chosen.suffix:
        hint = f"use {path.with_suffix(chosen.suffix).name}"
        raise ExciteError(
            f"{format} files end in {chosen.suffix}", where=path, hint=hint, exit_code=BAD_USAGE
        )
    if path.exists() or path.is_symlink():
        raise exists_already(path)
    if out is not None and (run.path / "manifest.csv").is_file():
        refuse_inside_data(path, run.data_path, run.manifest.table["path"])
    return path


def load_test_images(run: Run, classifier: Classifier, images: int) -> TestImages:
    """At most ``images`` test images, evenly spaced; all images of a run without a test set count as such."""
    manifest = run.manifest
    if "test" in manifest.splits:
        manifest = manifest.part("test")
    require_images(run, manifest.table["path"].tolist())
    pixels = decoded_pixels(manifest, classifier.preprocessing, cache_directory())
    rows = np.unique(np.linspace(0, len(pixels) - 1, min(images, len(pixels))).astype(int))
    chosen = np.array(pixels[rows])
    paths = tuple(manifest.table["path"].iloc[rows])
    return TestImages(paths, chosen, classifier.probabilities(PixelSubset(chosen)))
