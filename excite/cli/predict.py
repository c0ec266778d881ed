"""excite predict"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from excite.cli.label_output import print_label_predictions
from excite.cli.options import ImportOption
from excite.cli.output import (
    loading,
    plain_table,
    print_error,
    print_json,
    print_labeled,
    print_sentence,
    print_table,
)
from excite.cli.streams import write_data
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.plugins.loading import load_modules
from excite.system.progress import ConsoleDisplay, Display
from excite.system.text import printable

if TYPE_CHECKING:
    from excite.bundle.prediction import Disagreement, PredictionList
    from excite.bundle.predictor import Predictor
    from excite.evaluation.decision_rule import DecisionRule
    from excite.runs.classifier import Classifier

FORMATS = ("table", "json", "csv")
ORDERS = ("given", "doubt")
BATCH = 64
FEW = 16  # images up to which loading a file quickly saves more than predicting quickly
COUNTED = 5  # classes that the line about a written file counts


def add_to(app: typer.Typer) -> None:
    app.command(
        "predict",
        epilog="Examples: [bold]excite predict runs/photos new.jpg[/bold] · "
        "[bold]excite predict runs/photos inbox/ --out inbox.xlsx[/bold] · "
        "[bold]excite predict photos.onnx new.jpg[/bold] · "
        "[bold]excite predict runs/photos new.jpg --set 0.9[/bold]",
    )(predict)


def predict(
    run: Annotated[
        Path, typer.Argument(help="Run folder, or a file written by excite export.", show_default=False)
    ],
    images: Annotated[
        list[Path], typer.Argument(help="Image files, folders, archives, or 'digits'.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Write the predictions to this file: .csv, .json, or .xlsx (Excel).",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help="Format on standard output.", metavar="|".join(FORMATS))
    ] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    set_level: Annotated[
        float | None,
        typer.Option(
            "--set",
            help="Also print the prediction set of each image, which holds the true class for this fraction "
            "of new images, such as 0.9.",
            metavar="LEVEL",
        ),
    ] = None,
    sort: Annotated[
        str,
        typer.Option("--sort", help="Order: as given, or the most doubtful first.", metavar="|".join(ORDERS)),
    ] = "given",
    device: Annotated[
        str, typer.Option("--device", help="cpu, cuda, cuda:1, mps, or auto; for a run folder.")
    ] = "cpu",
    imports: ImportOption = None,
) -> None:
    """Classify images.

    Of several labels, those are printed whose probability reaches their threshold.
    A run trained with --positive predicts that class from its threshold up, as its report says. The networks
    of a cross-validation form an ensemble; the range of their predictions is printed, too. An unreadable file
    is reported on standard error, all others are classified, and the exit code is 1. An exported file needs
    no PyTorch.
    """
    format = "json" if as_json else format
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    if sort not in ORDERS:
        raise unknown_name("order", sort, ORDERS, where="--sort")
    load_modules(imports or ())
    display = ConsoleDisplay()
    with loading(display):
        from excite.bundle.prediction_files import check_prediction_file, write_predictions

        if out is not None:
            check_prediction_file(out)
        classifier = _load(run, device, few_images=len(images) <= FEW and not any(map(Path.is_dir, images)))
    if set_level is not None:
        classifier.check_set_level(set_level)
    files, refused = _files(images)
    if refused and not files:
        raise refused[0]
    predictions, unreadable = _classify(classifier, files, set_level, display)
    for error in [*refused, *unreadable]:
        _report(error)
    if sort == "doubt":
        predictions = predictions.by_doubt()
    if out is not None:
        write_predictions(out, predictions)
    if out is None or as_json:
        _print(predictions, format, classifier.rule, with_sets=set_level is not None)
    else:
        print_labeled("written", f"{out} ({_counts(predictions)})")
    if refused or unreadable:
        raise typer.Exit(1)


def _load(path: Path, device: str, *, few_images: bool) -> Classifier | Predictor:
    """The classifier of a run, or of an exported file, which is read without PyTorch."""
    from excite.bundle.predictor import Predictor, is_bundle

    if not is_bundle(path):
        from excite.runs.classifier import Classifier

        return Classifier.load(path, device=device)
    if device != "cpu":
        what = f"an exported file runs on the processor, got {device}"
        raise ExciteError(what, where="--device", exit_code=BAD_USAGE)
    return Predictor.load(path, few_images=few_images)


def _classify(
    classifier: Classifier | Predictor, files: list[Path], set_level: float | None, display: Display
) -> tuple[PredictionList, list[ExciteError]]:
    """The predictions for the readable files, and the errors of the others."""
    from excite.bundle.prediction import PredictionList

    predictions, errors = PredictionList(), []
    progress = display.stage("classifying")
    try:
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            try:
                predictions += classifier.predict(batch, set_level=set_level)
            except ExciteError:  # one of them is unreadable
                errors += _classify_each(classifier, batch, set_level, predictions)
            progress(start + len(batch), len(files))
    finally:
        display.close()
    return predictions, errors


def _classify_each(
    classifier: Classifier | Predictor,
    files: list[Path],
    set_level: float | None,
    predictions: PredictionList,
) -> list[ExciteError]:
    """Add the predictions for the readable files; the errors of the others."""
    errors = []
    for file in files:
        try:
            predictions += classifier.predict(file, set_level=set_level)
        except ExciteError as error:
            errors.append(error)
    return errors


def _counts(predictions: PredictionList) -> str:
    """The number of images of each predicted class, the most frequent first."""
    labels = Counter("abstained" if each.abstained else each.label for each in predictions)
    noun = "classes"
    if predictions.has_labels:
        labels = Counter(name for each in predictions for name in each.labels or ("no label",))
        noun = "labels"
    named = ", ".join(f"{label} {count:,}" for label, count in labels.most_common(COUNTED))
    images = "1 image" if len(predictions) == 1 else f"{len(predictions):,} images"
    more = len(labels) - COUNTED
    return f"{images}: {named}{f', and {more} more {noun}' if more > 0 else ''}"


def _report(error: ExciteError) -> None:
    """Report an image that cannot be classified on standard error."""
    print_error(f"error: {error.message}", error.hint)


def _files(images: list[Path]) -> tuple[list[Path], list[ExciteError]]:
    """The image files, those of folders and archives, and the errors of folders without images.

    ``digits`` is the built-in data set, as elsewhere, unless there is a file or a folder of this name.
    """
    from excite.data.archives import image_folder
    from excite.data.digits import digits_folder
    from excite.system.cache import cache_directory

    files: list[Path] = []
    refused: list[ExciteError] = []
    for path in images:
        try:
            is_digits = path == Path("digits") and not path.exists()
            place = digits_folder(cache_directory()) if is_digits else path
            folder = image_folder(place)
            files += [place] if folder is None else _images_in(folder)
        except ExciteError as error:
            refused.append(error)
    return files, refused


def _images_in(folder: Path) -> list[Path]:
    """The images of a folder. Raises: ExciteError if it holds none or cannot be read."""
    from excite.data.folders import find_images, without_image_names

    files = find_images(folder, any_name=True)
    left_out = without_image_names(files.others)
    if not files.images:
        reason = f"; {left_out[0]}" if left_out else ""
        raise ExciteError(f"the folder holds no images{reason}", where=folder, exit_code=BAD_USAGE)
    for message in left_out:
        print(printable(f"excite: {message}"), file=sys.stderr)
    return list(map(Path, files.images))


def _print(predictions: PredictionList, format: str, rule: DecisionRule | None, *, with_sets: bool) -> None:
    from excite.bundle.prediction_files import documents, prediction_csv
    from excite.reporting.decision_text import rule_text

    if format == "json":
        print_json(documents(predictions))
    elif format == "csv":
        write_data(prediction_csv(predictions))
    elif predictions.has_labels:
        print_label_predictions(predictions)
    elif predictions:
        columns = ["image", "class", "probability", "next"]
        ensemble = predictions[0].disagreement is not None
        columns += (["set"] if with_sets else []) + (["members"] if ensemble else [])
        table = plain_table(*columns, right=("probability",), names=("image", "class"))
        for p in predictions:
            second = max(
                (name for name in p.probabilities if name != p.label), key=lambda name: p.probabilities[name]
            )
            label = f"abstained: {p.label}?" if p.abstained else p.label
            cells = [p.path, label, f"{p.probability:.1%}", f"{second} {p.probabilities[second]:.1%}"]
            inside = [", ".join(p.classes_in_set or ())] if with_sets else []
            table.add_row(*cells, *inside, *([_members(p.disagreement)] if p.disagreement else []))
        print_table(table)
        if rule is not None:
            print_sentence(rule_text(rule.label, float(rule.thresholds)))


def _members(disagreement: Disagreement) -> str:
    """How far the members of an ensemble differ, such as "1 of 5 disagrees, 48.1-97.3 %"."""
    agree = f"all {disagreement.members} agree"
    if disagreement.disagreeing:
        verb = "disagrees" if disagreement.disagreeing == 1 else "disagree"
        agree = f"{disagreement.disagreeing} of {disagreement.members} {verb}"
    return f"{agree}, {100 * disagreement.low:.1f}-{100 * disagreement.high:.1f} %"
