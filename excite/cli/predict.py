"""excite predict"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from excite.cli.output import plain_table, print_json, print_table
from excite.cli.streams import write_data
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.system.text import csv_text, printable

if TYPE_CHECKING:
    from excite.runs.classifier import Classifier
    from excite.runs.prediction import Disagreement, Prediction

FORMATS = ("table", "json", "csv")
BATCH = 64
IN_SET = "set:"  # a column of a CSV with --set: whether the set holds the class
MEMBERS = ("members", "members_disagreeing", "members_low", "members_high")  # columns of an ensemble's CSV


def add_to(app: typer.Typer) -> None:
    app.command(
        "predict",
        epilog="Examples: [bold]excite predict runs/photos new.jpg[/bold] · "
        "[bold]excite predict runs/photos inbox/ --format csv > out.csv[/bold] · "
        "[bold]excite predict runs/photos new.jpg --set 0.9[/bold]",
    )(predict)


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    images: Annotated[list[Path], typer.Argument(help="Image files or folders.", show_default=False)],
    format: Annotated[
        str, typer.Option("--format", help="Format of the output.", metavar="|".join(FORMATS))
    ] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    set_level: Annotated[
        float | None,
        typer.Option(
            "--set",
            help="Also print the set of classes that holds the true class of this fraction of new images, "
            "such as 0.9.",
            metavar="LEVEL",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, mps, auto.")] = "cpu",
) -> None:
    """Classify images.

    The networks of a cross-validation form an ensemble; the range of their predictions is printed, too. An
    unreadable file is reported on standard error; all others are classified, and the exit code is 1.
    """
    format = "json" if as_json else format
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    from excite.runs.classifier import Classifier

    classifier = Classifier.load(run, device=device)
    if set_level is not None:
        classifier.check_set_level(set_level)
    predictions: list[Prediction] = []
    files, refused = _files(images)
    if refused and not files:
        raise refused[0]
    for error in refused:
        _report(error)
    failed = len(refused)
    for start in range(0, len(files), BATCH):
        try:
            predictions += classifier.predict(files[start : start + BATCH], set_level=set_level)
        except ExciteError:  # one of them is unreadable: find out which
            for file in files[start : start + BATCH]:
                try:
                    predictions += classifier.predict(file, set_level=set_level)
                except ExciteError as error:
                    _report(error)
                    failed += 1
    _print(predictions, format, classifier, with_sets=set_level is not None)
    if failed:
        raise typer.Exit(1)


def _report(error: ExciteError) -> None:
    """Report an image that cannot be classified on standard error."""
    print(printable(f"excite: error: {error}"), file=sys.stderr)


def _files(images: list[Path]) -> tuple[list[Path], list[ExciteError]]:
    """The image files, those of the folders, and the errors of folders without images."""
    files: list[Path] = []
    refused: list[ExciteError] = []
    for path in images:
        try:
            files += _images_in(path) if path.is_dir() else [path]
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


def _print(predictions: list[Prediction], format: str, classifier: Classifier, *, with_sets: bool) -> None:
    classes, ensemble = classifier.classes, classifier.is_ensemble
    if format == "json":
        print_json(
            [
                {
                    "path": p.path,
                    "label": p.label,
                    "probability": p.probability,
                    "abstained": p.abstained,
                    "probabilities": dict(p.probabilities),
                    **({"set": list(p.classes_in_set or ())} if with_sets else {}),
                    **({"disagreement": asdict(p.disagreement)} if p.disagreement else {}),
                }
                for p in predictions
            ]
        )
    elif format == "csv":
        columns = ["path", "predicted", "probability", "abstained", *(f"p:{name}" for name in classes)]
        columns += [IN_SET + name for name in classes] if with_sets else []
        rows: list[list[object]] = [[*columns, *(MEMBERS if ensemble else ())]]
        for p in predictions:
            shares = [p.probabilities[name] for name in classes]
            members = asdict(p.disagreement).values() if p.disagreement else ()
            inside = [str(name in (p.classes_in_set or ())).lower() for name in classes] if with_sets else []
            head = [p.path, p.label, p.probability, str(p.abstained).lower()]
            rows.append([*head, *shares, *inside, *members])
        write_data(csv_text(rows))
    elif predictions:
        columns = ["image", "class", "probability", "next"]
        columns += (["set"] if with_sets else []) + (["members"] if ensemble else [])
        table = plain_table(*columns, right=("probability",), names=("image", "class"))
        for p in predictions:
            second = sorted(p.probabilities, key=lambda name: -p.probabilities[name])[1]
            label = f"abstained: {p.label}?" if p.abstained else p.label
            cells = [p.path, label, f"{p.probability:.1%}", f"{second} {p.probabilities[second]:.1%}"]
            inside = [", ".join(p.classes_in_set or ())] if with_sets else []
            table.add_row(*cells, *inside, *([_members(p.disagreement)] if p.disagreement else []))
        print_table(table)


def _members(disagreement: Disagreement) -> str:
    """How far the members of an ensemble differ, such as "1 of 5 disagrees, 48.1-97.3 %"."""
    agree = f"all {disagreement.members} agree"
    if disagreement.disagreeing:
        verb = "disagrees" if disagreement.disagreeing == 1 else "disagree"
        agree = f"{disagreement.disagreeing} of {disagreement.members} {verb}"
    return f"{agree}, {100 * disagreement.low:.1f}-{100 * disagreement.high:.1f} %"
