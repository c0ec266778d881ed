"""The commands as Python functions."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch

from excite.audit.audit import Audit
from excite.audit.audit import audit as run_audit
from excite.audit.grouped_images import GroupingOptions, grouped_images
from excite.audit.reading import read_images
from excite.config.pixel_limit import MAX_PIXELS
from excite.config.train_config import HINTS, TrainConfig
from excite.config.train_options import TrainOptions
from excite.data.file_validation import check_files
from excite.data.manifest import Manifest, check_classes
from excite.data.paths import data_name
from excite.data.split import split_manifest
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.explain.images import Explanation, explain_images
from excite.pipeline.cross_validation import cross_validate
from excite.pipeline.experiment import run_experiment, run_folder
from excite.plugins.loading import load_modules
from excite.reporting.pages import write_pages
from excite.runs.classifier import Classifier
from excite.runs.compare import compare_runs
from excite.runs.compare_configurations import compare_configurations
from excite.runs.compare_labels import compare_label_runs, has_labels
from excite.runs.comparison import Comparison
from excite.runs.evaluate import Evaluation, changed_spec, evaluate_run
from excite.runs.evaluation_images import DataOptions
from excite.runs.image_inputs import ImageInput
from excite.runs.labeled_inputs import LabeledImages, labeled_files
from excite.runs.moved_data import missing_images, open_run
from excite.runs.run import Run
from excite.system.cache import cache_directory
from excite.system.notebook_display import progress_display
from excite.system.progress import Display
from excite.system.world import first_process
from excite.tracking.hook import Hook

if TYPE_CHECKING:
    from excite.study.study import Study

EVALUATION_OPTIONS = (
    "positive",
    "sensitivity",
    "specificity",
    "label_threshold",
    "abstain_below",
    "selective_accuracy",
    "subgroups",
    "ordinal",
)


def _shows_options(function: Callable[..., Any]) -> None:
    """Show the options of TrainConfig in the signature of a function, for help and completion."""
    signature = inspect.signature(function)
    *named, _ = signature.parameters.values()
    fields = [field for field in dataclasses.fields(TrainConfig) if field.name not in signature.parameters]
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default_factory()
            if field.default_factory is not dataclasses.MISSING
            else field.default,
            annotation=HINTS[field.name],
        )
        for field in fields
    ]
    function.__signature__ = signature.replace(parameters=[*named, *options])  # type: ignore[attr-defined]


def train(
    data: LabeledImages,
    *,
    resume: bool = False,
    data_root: str | Path | None = None,
    quiet: bool = False,
    hooks: Sequence[Hook] = (),
    **options: Unpack[TrainOptions],
) -> Run:
    """Train on a folder of images and evaluate, as ``excite train`` does.

    Args:
        data: a folder of class folders, a folder with train/val/test, a CSV file, or ``"digits"``; or from
            memory, as ``excite.runs.labeled_inputs.labeled_files``: a DataFrame with path (or image) and
            label, pairs of image and label, or images and labels.
        resume: continue the interrupted run in ``out``, or in ``data`` if that is a run folder; the weights
            become those of an uninterrupted run.
        data_root: the folder that the data of a resumed run is in now.
        quiet: show no progress.
        hooks: told how the training goes; see ``excite.Hook``.
        options: any option of ``TrainConfig``, by name; ``excite train --help-all`` explains them.

    Raises:
        ExciteError: for unreadable data, and for unknown or invalid options.

    >>> run = train(photos, model="cifar_resnet20", image_size=32, epochs=1, device="cpu", quiet=True)
    >>> run.metrics["test"]["n"]
    12
    """
    config = TrainConfig().replace(data=labeled_files(data), **options)
    root = None if data_root is None else Path(data_root)
    display = progress_display(quiet=quiet)
    return train_as_configured(config, resume=resume, data_root=root, display=display, hooks=hooks)


def audit(
    data: LabeledImages,
    *,
    near_duplicates: bool | None = None,
    decisions: str | Path | None = None,
    group_pattern: str | None = None,
    max_pixels: int = MAX_PIXELS,
    **columns: str,
) -> Audit:
    """Find near-duplicates, leaks, label conflicts, and unreadable files, as ``excite audit`` does.

    Nothing is written.

    Args:
        data: as for ``train``, or a folder of unlabeled images.
        near_duplicates: find cropped, rotated, and recolored copies too; by default for up to 20,000 images.
        decisions: the reviewed ``decisions.csv`` of an earlier audit.
        group_pattern: regular expression for the file name; its first capture group is the group.
        max_pixels: images with more pixels are unreadable.
        columns: ``path_column``, ``label_column``, ``group_column``, ``split_column`` of a CSV, and of
            several labels ``label_columns`` or ``label_separator``.

    Raises:
        ExciteError: for data or decisions that cannot be read.

    >>> result = audit(photos, near_duplicates=False)
    >>> len(result), len(result.pairs)
    (60, 0)
    """
    cache = cache_directory()
    images, unreadable = check_files(
        read_images(labeled_files(data), group_pattern=group_pattern, **columns),
        max_pixels=max_pixels,
        cache=cache,
        complete=False,
    )
    return run_audit(
        images,
        unreadable=unreadable,
        near_duplicates=near_duplicates,
        max_pixels=max_pixels,
        cache=cache,
        decisions=[] if decisions is None else [Path(decisions)],
    )


def split(
    data: LabeledImages,
    *,
    out: str | Path | None = None,
    method: str = "auto",
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    group_pattern: str | None = None,
    group_duplicates: bool = True,
    **columns: str,
) -> Manifest:
    """Assign each image to training, validation, or test, as ``excite split`` does.

    Args:
        data: as for ``train``; a split in it is ignored.
        out: a CSV to write, which ``train`` reads; None: none.
        method: ``grouped`` keeps groups together, ``random`` does not, ``auto`` depends on whether there are
            groups.
        val_fraction: fraction of the images for validation.
        test_fraction: fraction of the images for the test.
        seed: of the random draw.
        group_pattern: regular expression on the file name; its first capture group is the group.
        group_duplicates: find near-duplicates and keep them together.
        columns: ``path_column``, ``label_column``, ``group_column`` of a CSV, and of several labels
            ``label_columns`` or ``label_separator``.

    Returns:
        the manifest; its ``table`` is a DataFrame with the columns path, label, group, and split.

    Raises:
        ExciteError: for data that cannot be read or split.

    >>> manifest = split(photos, test_fraction=0.25, val_fraction=0.25, group_duplicates=False)
    >>> manifest.table["split"].value_counts(sort=False).sort_index().to_dict()
    {'test': 15, 'train': 30, 'val': 15}
    """
    options = GroupingOptions(columns, group_pattern, group_duplicates)
    place = None if out is None else Path(out)
    name = labeled_files(data)
    images, _ = grouped_images(name, options, Display(), out=place)
    check_classes(images, where=name)
    if method == "auto":
        method = "grouped" if images.table["group"].any() else "random"
    fractions = (1 - val_fraction - test_fraction, val_fraction, test_fraction)
    manifest = split_manifest(images, method=method, fractions=fractions, seed=seed)
    if place is not None:
        manifest.save(place)
    return manifest


def evaluate(
    run: Run | str | Path,
    data: LabeledImages | None = None,
    *,
    split: str | None = None,
    map_class: Mapping[str, str] | None = None,
    group_pattern: str | None = None,
    data_root: str | Path | None = None,
    device: str = "cpu",
    **options: Any,
) -> Evaluation:
    """Evaluate a run on labeled images, as ``excite evaluate`` does.

    Args:
        run: a finished run, or its folder.
        data: as for ``train``; None: the run's own test images.
        split: train, val, test, or all; None: test if there is one.
        map_class: class of the data -> class of the run, where their names differ.
        group_pattern: regular expression on the file names of ``data``; its first capture group is the group.
        data_root: the folder that the run's own data is in now, if it has moved.
        device: where the network computes.
        options: ``positive``, ``sensitivity``, ``specificity``, ``label_threshold``, ``abstain_below``,
            ``selective_accuracy``, ``subgroups``, and ``ordinal`` of ``TrainConfig``; by default those of the
            training.

    Returns:
        its ``metrics`` are those of ``metrics.json``, and ``table`` the same as a DataFrame; ``predictions``
        and ``predictions_table`` have the probabilities of each image.

    Raises:
        ExciteError: for data that cannot be evaluated, and for unknown or invalid options.

    >>> run = train(photos, model="cifar_resnet20", image_size=32, epochs=1, device="cpu", quiet=True)
    >>> evaluate(run).metrics["n"]
    12
    """
    if data_root is not None or not isinstance(run, Run):
        run = open_run(run.path if isinstance(run, Run) else run, data_root)
    for name in options:
        if name not in EVALUATION_OPTIONS:
            raise unknown_name("option", name, EVALUATION_OPTIONS, where="evaluate")
    return evaluate_run(
        run,
        None if data is None else labeled_files(data),
        split=split,
        spec=changed_spec(run, options),
        options=DataOptions(mapping=map_class or {}, group_pattern=group_pattern),
        device=device,
    )


def explain(
    classifier: Classifier,
    images: ImageInput | Iterable[ImageInput],
    *,
    label: str | None = None,
) -> list[Explanation]:
    """Why a classifier answers as it does: maps of evidence that add up, with the bias, to the logit.

    Args:
        classifier: it does not change.
        images: a path, a folder, a PIL image, an array (channels last), a tensor (channels first), or
            several of them, as ``Classifier.predict`` takes them.
        label: the class to explain; None: the predicted class of each image.

    Returns:
        one explanation for each image, with its ``map`` (h, w), ``bias``, and ``logit``; ``adds_up`` tells
        whether the sum is exact.

    Raises:
        ExciteError: for a file that cannot be decoded, pixels that are no image, and an unknown class.

    >>> run = train(photos, model="cifar_resnet20", image_size=32, epochs=1, device="cpu", quiet=True)
    >>> found = explain(Classifier.load(run), run.predictions["path"][:2].tolist())
    >>> [abs(each.map.sum() + each.bias - each.logit) < 1e-4 for each in found]
    [np.True_, np.True_]
    """
    return explain_images(classifier, images, label=label)


def study(
    data: LabeledImages,
    arms: Mapping[str, Mapping[str, Any]],
    *,
    seeds: int = 5,
    folds: int | None = None,
    metric: str | None = None,
    out: str | Path | None = None,
    jobs: int | None = None,
    quiet: bool = False,
    **options: Any,
) -> Study:
    """Train several configurations on the same images with the same seeds, as ``excite study run`` does.

    The same call continues an interrupted study.

    Args:
        data: as for ``train``.
        arms: name of each arm -> the options in which it differs; the first is the baseline.
        seeds: number of seeds per arm.
        folds: number of folds of a cross-validation, for each seed; None: one split per seed.
        metric: of the comparison; None: balanced accuracy.
        out: folder of the study; None: ``studies/NAME``, with the name of the data.
        jobs: trainings at the same time; None: as many as cores and memory allow.
        quiet: show no progress.
        options: options of ``TrainConfig`` that all arms share.

    Returns:
        the study; its folder has ``study.html`` and ``study.md`` with the verdict, and its ``table`` is a
        DataFrame with the differences.

    Raises:
        ExciteError: for data or options that cannot be trained on, and a folder with another study.

    >>> small = {"model": "cifar_resnet20", "image_size": 32, "epochs": 1, "device": "cpu", "quiet": True}
    >>> found = study(photos, {"plain": {}, "se": {"attention": "se"}}, seeds=1, jobs=1, **small)
    >>> (found.folder / "study.html").is_file()
    True
    """
    from excite.study.plan import METRIC, Plan, arm_of
    from excite.study.running.live_table import ConsoleLiveTable, LiveTable
    from excite.study.running.orchestrate import Resources, continue_study, start
    from excite.study.running.worker_options import WorkerOptions

    base = TrainConfig().replace(data=labeled_files(data), **options)
    load_modules(base.imports)
    made = [arm_of(name, dict(differences)) for name, differences in arms.items()]
    plan = Plan(base, made, seeds, folds, metric or METRIC)
    folder = Path("studies") / data_name(base.data) if out is None else Path(out)
    brought = WorkerOptions(tuple(base.imports), tuple(base.track))
    resources = Resources(base.device, jobs, options=brought)
    display = progress_display(quiet=quiet)
    begun, pool, forecast = start(plan, folder, None, resources, display)
    for line in forecast.split("\n"):
        display.note(line)
    display.close()
    continue_study(begun, resources, pool, LiveTable() if quiet else ConsoleLiveTable())
    return begun


def compare(
    first: Sequence[str | Path],
    second: Sequence[str | Path] | None = None,
    *,
    metrics: Sequence[str] | None = None,
    ordinal: Sequence[str] = (),
) -> Comparison:
    """Compare runs on the test images that they share, as ``excite compare`` does.

    Args:
        first: run folders, or tables of predictions. Without ``second``, each is compared with the first, and
            the differences are about these networks.
        second: runs of a second configuration; ``first`` are then the runs of the first one, with other
            seeds. The difference is about the configurations.
        metrics: names of overall metrics; None: some of them, and with an order those of ordered classes.
        ordinal: the classes from the lowest to the highest; (): as in the training of the runs.

    Returns:
        as ``runs.compare.compare_runs``, of several labels as ``runs.compare_labels.compare_label_runs``, or
        with ``second`` as ``runs.compare_configurations.compare_configurations``; its ``table`` is a
        DataFrame.

    Raises:
        ExciteError: for runs that cannot be compared, and for an unknown metric.

    >>> run = train(photos, model="cifar_resnet20", image_size=32, epochs=1, device="cpu", quiet=True)
    >>> found = compare([run.path, run.path], metrics=["accuracy"])
    >>> found["differences"][0]["metrics"]["accuracy"]["value"]
    0.0
    """
    if any(map(has_labels, (*first, *(second or ())))):
        if second is not None:
            what = "is for one class per image; these runs have several labels"
            raise ExciteError(what, where="second", hint="omit it", exit_code=BAD_USAGE)
        return compare_label_runs(first)
    if second is None:
        return compare_runs(first, metrics, ordinal=ordinal)
    return compare_configurations(first, second, metrics, ordinal=ordinal)


def train_as_configured(
    config: TrainConfig,
    *,
    resume: bool,
    data_root: Path | None = None,
    display: Display,
    hooks: Sequence[Hook] = (),
) -> Run:
    """Train with the options of a configuration; with ``folds``, cross-validate.

    The random state of the caller does not change. Modules that ``config`` names are imported, but not those
    that a resumed run names: its folder may come from anyone.
    """
    load_modules(config.imports)
    config_of_run = Run.open(run_folder(config, resume=True)).config if resume else config
    work = run_experiment if config_of_run.folds is None else cross_validate
    with torch.random.fork_rng(devices=()):
        run = work(config, resume=resume, data_root=data_root, display=display, hooks=hooks)
    if first_process():
        shown = bool(run.config.thumbnails) and not missing_images(run.predictions["path"].tolist())
        with display.waiting("writing the report"):
            write_pages(run, thumbnails=shown)
    return run


_shows_options(train)
_shows_options(study)
