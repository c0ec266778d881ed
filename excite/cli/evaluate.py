"""``excite evaluate``: parses the options, calls ``excite.runs.evaluate``, and prints the metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from excite.cli.label_output import print_label_figures
from excite.cli.metrics_output import print_figures, print_seen
from excite.cli.options import ImportOption, VerboseOption, takes_config
from excite.cli.output import loading, print_json, print_line
from excite.config.task import MULTILABEL
from excite.config.train_config import TABLE_OPTIONS, TrainConfig
from excite.errors import BAD_USAGE, ExciteError
from excite.plugins.loading import load_modules
from excite.system.progress import ConsoleDisplay, Display

if TYPE_CHECKING:
    from excite.runs.evaluate import Evaluation
    from excite.runs.run import Run


METRIC_OPTIONS = (
    "positive",
    "sensitivity",
    "specificity",
    "label_threshold",
    "abstain_below",
    "selective_accuracy",
    "subgroups",
    "ordinal",
)
# Fields of TrainConfig that are also options of this command.
OPTIONS = (
    *TABLE_OPTIONS,
    "group_pattern",
    "max_unreadable",
    *METRIC_OPTIONS,
    "device",
)
HELP = {
    "group_pattern": "Regular expression for the file names of DATA; its first capture group is the group. "
    "The pattern of the run is not used.",
}


def add_to(app: typer.Typer) -> None:
    app.command(
        "evaluate",
        epilog="Examples: [bold]excite evaluate runs/photos[/bold] · "
        "[bold]excite evaluate runs/photos other-photos --map-class Chickenpox=Others --out report[/bold]",
    )(takes_config(only=OPTIONS, help=HELP)(evaluate))


def evaluate(
    *,
    run: Annotated[
        Path,
        typer.Argument(help="Run folder, or a table of any model's predictions (CSV).", show_default=False),
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            help="Folder or CSV of labeled images. [dim]\\[default: the run's own test images][/dim]"
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split", help="train, val, test, or all. [dim]\\[default: test, if there is one][/dim]"
        ),
    ] = None,
    map_class: Annotated[
        list[str] | None,
        typer.Option(
            "--map-class",
            help="Evaluate a class of DATA as a class of the run; may be repeated.",
            metavar="THEIRS=OURS",
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation",
            help="For a table of predictions: that of the validation images, on which thresholds are chosen.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for evaluation.html, metrics.json, predictions.csv, and, with DATA, "
            "seen_in_training.csv.",
        ),
    ] = None,
    thumbnails: Annotated[
        bool | None,
        typer.Option(
            "--thumbnails/--no-thumbnails",
            help="Show images that were seen in training in evaluation.html. "
            "[dim]\\[default: as in the training][/dim]",
            show_default=False,
        ),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option("--data-root", help="Folder that the run's own data is in now, if it has moved."),
    ] = None,
    imports: ImportOption = None,
    verbose: VerboseOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as one JSON document.")] = False,
    given: dict[str, Any],
) -> None:
    """Evaluate a trained classifier on labeled images.

    Classes are matched by name; images of a class that the run does not know are refused. Thresholds are
    chosen on the run's validation images. Options that are not given keep their values from training. Images
    of DATA that were seen in training, as exact or near-duplicates, are listed, and a second set of metrics
    leaves them out.
    """
    chosen = TrainConfig().replace(**given)  # checks the values
    load_modules(imports or ())
    display = ConsoleDisplay(verbose=verbose)
    with loading(display):
        from excite.reporting.evaluation_page import write_evaluation
        from excite.runs.moved_data import open_run
    limits: dict[str, Any] = {}
    if run.suffix.lower() == ".csv":
        _refuse(run, {"DATA": data, "--split": split, "--map-class": map_class})
        _refuse(run, {"--group-pattern": chosen.group_pattern, "--data-root": data_root})
        result = _evaluate_table(run, validation, out, given, chosen)
    else:
        _refuse(run, {"--validation": validation})
        opened = open_run(run, data_root, display)
        limits["max_pixels"] = opened.config.max_pixels
        limits["thumbnails"] = bool(opened.config.thumbnails) if thumbnails is None else thumbnails
        with contextlib.closing(display):
            result = _evaluate_run(
                opened, data, split, _mapping(map_class or []), out, given, chosen, display
            )
    if out is not None:
        write_evaluation(result, out, title=str(run), source=_source(run, data, result.split), **limits)
    if as_json:
        print_json({result.split: result.metrics})
        return
    if result.task == MULTILABEL:
        print_label_figures(result.split, result.metrics)
    else:
        print_figures(result.split, result.metrics)
    print_seen(result.metrics)
    if out is not None:
        print_line(f"written   {out}   (open evaluation.html)")


def _evaluate_table(
    table: Path, validation: Path | None, out: Path | None, given: Mapping[str, Any], chosen: TrainConfig
) -> Evaluation:
    from excite.runs.table_evaluation import evaluate_table, table_spec

    spec = table_spec(table, _metric_options(given))
    return evaluate_table(table, spec, validation=validation, group_column=chosen.group_column, out=out)


def _evaluate_run(
    run: Run,
    data: str | None,
    split: str | None,
    mapping: dict[str, str],
    out: Path | None,
    given: Mapping[str, Any],
    chosen: TrainConfig,
    display: Display,
) -> Evaluation:
    from excite.runs.evaluate import changed_spec, evaluate_run
    from excite.runs.evaluation_images import DataOptions

    _check_groups(data, given)
    return evaluate_run(
        run,
        data,
        split=split,
        spec=changed_spec(run, _metric_options(given)),
        options=DataOptions(
            mapping=mapping,
            group_pattern=chosen.group_pattern,
            columns=chosen.table_options(),
            max_unreadable=chosen.max_unreadable,
        ),
        device=chosen.device,
        out=out,
        display=display,
    )


def _metric_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that change what is evaluated."""
    return {name: given[name] for name in METRIC_OPTIONS if name in given}


def _source(run: Path, data: str | None, split: str) -> str:
    """Which images were evaluated, as a phrase for the report."""
    if run.suffix.lower() == ".csv":
        return "A table of predictions"
    images = "All images" if split == "all" else f"The {split} images"
    return f"{images} of {data or 'the run itself'}"


def _check_groups(data: str | None, given: Mapping[str, Any]) -> None:
    """Refuse options of groups without DATA, and two sources of groups at once."""
    flags = {"--group-pattern": "group_pattern", "--group-column": "group_column"}
    named = [flag for flag, name in flags.items() if name in given]
    if len(named) == 2:
        what = "are mutually exclusive"
        raise ExciteError(what, where="--group-pattern and --group-column", exit_code=BAD_USAGE)
    if named and data is None:
        what = "has no effect without DATA: the run's own images keep their groups"
        raise ExciteError(what, where=named[0], hint="excite evaluate RUN DATA", exit_code=BAD_USAGE)


def _refuse(run: Path, options: dict[str, Any]) -> None:
    """Refuse options that do not apply to a run, or to a table of predictions."""
    for name, value in options.items():
        if value:
            what = "a table of predictions" if run.suffix.lower() == ".csv" else "a run"
            raise ExciteError(f"{name} does not apply to {what}", where=run, exit_code=BAD_USAGE)


def _mapping(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for text, (theirs, _, ours) in zip(texts, pairs, strict=True):
        if not theirs or not ours:
            raise ExciteError(
                "must have the form THEIRS=OURS", where=f"--map-class {text}", exit_code=BAD_USAGE
            )
    return {theirs: ours for theirs, _, ours in pairs}
