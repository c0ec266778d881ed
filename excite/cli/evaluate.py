"""excite evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from excite.cli.metrics_output import print_figures, print_seen
from excite.cli.output import print_json, print_line
from excite.config.train_config import EITHER, TrainConfig
from excite.errors import BAD_USAGE, ExciteError

if TYPE_CHECKING:
    from excite.evaluation.evaluate import EvaluationSpec

ASKED, FOUND = "What to measure", "Data"


def add_to(app: typer.Typer) -> None:
    app.command(
        "evaluate",
        epilog="Examples: [bold]excite evaluate runs/photos[/bold] · "
        "[bold]excite evaluate runs/photos other-photos --map-class Chickenpox=Others --out judged[/bold]",
    )(evaluate)


def evaluate(
    run: Annotated[
        Path,
        typer.Argument(help="Run folder, or a table of anybody's predictions (CSV).", show_default=False),
    ],
    data: Annotated[
        str | None,
        typer.Argument(help="Folder or CSV of labeled images; left out: the run's own test images."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="train, val, test or all; default: test where there is one.",
            rich_help_panel=FOUND,
        ),
    ] = None,
    same: Annotated[
        list[str] | None,
        typer.Option(
            "--map-class",
            help="A class of the data that is another of the run's; may be given several times.",
            metavar="THEIRS=OURS",
            rich_help_panel=FOUND,
        ),
    ] = None,
    path_column: Annotated[
        str, typer.Option(help="CSV column of the image's path.", rich_help_panel=FOUND)
    ] = "path",
    label_column: Annotated[
        str, typer.Option(help="CSV column of the class.", rich_help_panel=FOUND)
    ] = "label",
    group_pattern: Annotated[
        str | None,
        typer.Option(
            "--group-pattern",
            help="Regular expression on the file names of DATA; what its first bracket matches is the "
            "group. The run's own pattern is not used.",
            rich_help_panel=FOUND,
        ),
    ] = None,
    group_column: Annotated[
        str, typer.Option(help="CSV column of the group, such as the patient.", rich_help_panel=FOUND)
    ] = "group",
    split_column: Annotated[
        str, typer.Option(help="CSV column that says train, val or test.", rich_help_panel=FOUND)
    ] = "split",
    max_unreadable: Annotated[
        float,
        typer.Option(
            "--max-unreadable",
            help="Largest share of unreadable files.",
            min=0.0,
            max=1.0,
            rich_help_panel=FOUND,
        ),
    ] = 0.01,
    positive: Annotated[
        str | None,
        typer.Option("--positive", help="The class that is to be found.", rich_help_panel=ASKED),
    ] = None,
    sensitivity: Annotated[
        float | None,
        typer.Option(
            "--sensitivity",
            help="Choose the threshold that finds this share of the positive validation images.",
            min=0.01,
            max=1.0,
            rich_help_panel=ASKED,
        ),
    ] = None,
    specificity: Annotated[
        float | None,
        typer.Option(
            "--specificity",
            help="The same, sparing this share of the others.",
            min=0.01,
            max=1.0,
            rich_help_panel=ASKED,
        ),
    ] = None,
    abstain_below: Annotated[
        float | None,
        typer.Option(
            "--abstain-below",
            help='Answer "not sure" below this confidence.',
            min=0.0,
            max=1.0,
            rich_help_panel=ASKED,
        ),
    ] = None,
    selective_accuracy: Annotated[
        float | None,
        typer.Option(
            "--selective-accuracy",
            help='Answer "not sure" below the confidence from which so many validation answers are right.',
            min=0.01,
            max=1.0,
            rich_help_panel=ASKED,
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation",
            help="For a table of predictions: another one, of validation images, to choose thresholds with.",
            rich_help_panel=ASKED,
        ),
    ] = None,
    subgroups: Annotated[
        str | None,
        typer.Option(
            "--subgroups",
            help="Columns whose values are measured apart, as site,camera.",
            rich_help_panel=ASKED,
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, mps, auto.")] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for evaluation.html, metrics.json, predictions.csv, and for other data "
            "seen_in_training.csv.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON document.")] = False,
) -> None:
    """Measure a trained classifier on labeled images.

    Classes are matched by name; images of a class that the run does not know are refused. Thresholds are
    chosen on the run's validation images; what is not asked here is asked as in the training. Images of DATA
    that the training has seen, as exact or near-duplicates, are named, and a second set of metrics leaves
    them out.
    """
    from excite.reporting.evaluation_page import write_evaluation
    from excite.runs.evaluate import evaluate_run, evaluate_table
    from excite.runs.evaluation_images import DataOptions
    from excite.runs.run import Run
    from excite.system.progress import ConsoleDisplay

    limits: dict[str, int] = {}
    wishes = {
        "positive": positive,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "abstain_below": abstain_below,
        "selective_accuracy": selective_accuracy,
        "subgroups": subgroups,
    }
    if run.suffix.lower() == ".csv":
        _refuse(run, {"DATA": data, "--split": split, "--map-class": same, "--group-pattern": group_pattern})
        spec = _questions(TrainConfig(), wishes)
        result = evaluate_table(run, spec, validation=validation, group_column=group_column, out=out)
    else:
        _refuse(run, {"--validation": validation})
        opened = Run.open(run)
        limits["max_pixels"] = opened.config.max_pixels
        _check_groups(data, group_pattern, group_column)
        result = evaluate_run(
            opened,
            data,
            split=split,
            spec=_questions(opened.config, wishes),
            options=DataOptions(
                mapping=_mapping(same or []),
                group_pattern=group_pattern,
                columns={
                    "path_column": path_column,
                    "label_column": label_column,
                    "group_column": group_column,
                    "split_column": split_column,
                },
                max_unreadable=max_unreadable,
            ),
            device=device,
            out=out,
            display=ConsoleDisplay(),
        )
    if out is not None:
        write_evaluation(result, out, title=str(run), source=_source(run, data, result.split), **limits)
    if as_json:
        print_json({result.split: result.metrics})
        return
    print_figures(result.split, result.metrics)
    print_seen(result.metrics)
    if out is not None:
        print_line(f"written   {out}   (evaluation.html shows it)")


def _questions(asked: TrainConfig, wishes: dict[str, Any]) -> EvaluationSpec:
    """What was asked before, changed by the flags; one wish for a threshold replaces the other."""
    from excite.runs.derive import evaluation_spec_of

    given = {name: value for name, value in wishes.items() if value is not None}
    for one, other, _ in EITHER:
        if one in wishes and (one in given or other in given):
            asked = asked.replace(**{one: None, other: None})
    asked = asked.replace(**given)
    if asked.positive is None and (asked.sensitivity is not None or asked.specificity is not None):
        raise ExciteError("which class is to be found?", where="--positive", exit_code=BAD_USAGE)
    return evaluation_spec_of(asked)


def _source(run: Path, data: str | None, split: str) -> str:
    """Which images were evaluated, in a sentence."""
    if run.suffix.lower() == ".csv":
        return "A table of predictions"
    images = "All images" if split == "all" else f"The {split} images"
    return f"{images} of {data or 'the run itself'}"


def _check_groups(data: str | None, pattern: str | None, column: str) -> None:
    """Raises: ExciteError for groups of no data, and for two sources of groups."""
    given = {"--group-pattern": pattern is not None, "--group-column": column != "group"}
    if all(given.values()):
        what = "are mutually exclusive"
        raise ExciteError(what, where="--group-pattern and --group-column", exit_code=BAD_USAGE)
    for name, is_given in given.items():
        if is_given and data is None:
            what = "names the groups of DATA, and the run's own images keep those of its manifest"
            raise ExciteError(what, where=name, hint="excite evaluate RUN DATA", exit_code=BAD_USAGE)


def _refuse(run: Path, options: dict[str, Any]) -> None:
    """Raises: ExciteError for what says nothing of such a source."""
    for name, value in options.items():
        if value:
            what = "is a table of predictions" if run.suffix.lower() == ".csv" else "is a run"
            raise ExciteError(f"{what}, of which {name} says nothing", where=run, exit_code=BAD_USAGE)


def _mapping(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for text, (theirs, _, ours) in zip(texts, pairs, strict=True):
        if not theirs or not ours:
            raise ExciteError(
                "is not of the form THEIRS=OURS", where=f"--map-class {text}", exit_code=BAD_USAGE
            )
    return {theirs: ours for theirs, _, ours in pairs}
