"""excite study"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import typer

from excite.cli.options import ImportOption, takes_config
from excite.cli.output import loading, print_json, print_line, print_renderable
from excite.cli.short_help import short_help
from excite.cli.study.options import (
    STUDY,
    ArmOption,
    BaselineOption,
    FolderArgument,
    JobsOption,
    JsonOption,
    LeaseOption,
    MetricOption,
    RayOption,
    StoreOption,
)
from excite.cli.study.output import print_analysis, train_and_print
from excite.cli.study.run import COMMON, run
from excite.data.paths import refuse_inside_data
from excite.errors import BAD_USAGE, ExciteError
from excite.plugins.loading import load_modules
from excite.system.progress import ConsoleDisplay
from excite.system.text import command_line

OF_RUNS = ("positive", "sensitivity", "specificity")  # a study compares the most probable classes
PRETRAINED = (
    "Start from published weights, installed (see excite doctor) or downloaded. Default: off; all arms are "
    "trained from scratch."
)
NOT_HERE = ("data", "folds", "repeats", "jobs", "out", "thumbnails", *OF_RUNS)


def _need_libraries() -> None:
    if importlib.util.find_spec("sqlalchemy") is None:
        raise ExciteError(
            "SQLAlchemy is not installed", where="excite study", hint='pip install "excite[study]"'
        )


def add_to(app: typer.Typer) -> None:
    verbs = typer.Typer(
        callback=_need_libraries,
        help="Compare networks over seeds and folds, with a paired test.",
        no_args_is_help=True,
        rich_markup_mode="rich",
    )
    verbs.command(
        "run",
        cls=short_help(COMMON),
        epilog="Examples: [bold]excite study run digits --arm plain:densenet_bc_40_12 "
        "--arm se:densenet_bc_40_12+se --epochs 10[/bold] · "
        "[bold]excite study run photos --plan reduction --model resnet50 --folds 5[/bold]",
    )(takes_config(without=NOT_HERE, help={"pretrained": PRETRAINED})(run))
    verbs.command("status", epilog="Example: [bold]excite study status studies/digits --cells[/bold]")(status)
    verbs.command("resume", epilog="Example: [bold]excite study resume studies/digits --jobs 2[/bold]")(
        resume
    )
    verbs.command("add", epilog="Example: [bold]excite study add studies/digits --seeds 10[/bold]")(add)
    verbs.command("export", epilog="Example: [bold]excite study export studies/digits[/bold]")(export)
    app.add_typer(verbs, name="study")


def resume(
    folder: FolderArgument,
    store: StoreOption = None,
    jobs: JobsOption = None,
    ray: RayOption = None,
    lease: LeaseOption = 60.0,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps, or auto.")] = "auto",
    data_root: Annotated[
        Path | None,
        typer.Option("--data-root", help="Folder that the data is in now, if it has moved."),
    ] = None,
    imports: ImportOption = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            "--track", metavar="NAME", help="As for excite train; may be repeated.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Continue a study: train the remaining and the failed cells. Several processes may do so at once."""
    display = ConsoleDisplay()
    with loading(display):
        from excite.study.moved_data import locate_images
        from excite.study.running.orchestrate import Resources
        from excite.study.running.worker_options import WorkerOptions
        from excite.study.study import Study

    brought = WorkerOptions(tuple(imports or ()), tuple(track or ()))
    study = locate_images(Study.open(folder, store), data_root, display)
    train_and_print(study, Resources(device, jobs, ray, lease, brought), None, as_json)


def status(
    folder: FolderArgument,
    store: StoreOption = None,
    every_cell: Annotated[
        bool, typer.Option("--cells", help="Also list each cell with its state, time, and worker.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the progress and the workers of a study, but no results, which would be a look at them."""
    from excite.study.running import status_tables
    from excite.study.store.schema import DONE, RUNNING
    from excite.study.study import Study

    study = Study.open(folder, store)
    cells, looks = study.store.cells(study.name), study.store.looks(study.name)
    states = [cell.state for cell in cells]
    if as_json:
        document: dict[str, Any] = {"study": str(study.folder), "done": states.count(DONE)}
        document |= {"planned": len(cells), "workers": status_tables.worker_rows(cells)}
        document |= {"looks": status_tables.look_rows(looks)}
        document |= {"each_cell": status_tables.state_rows(cells)} if every_cell else {}
        print_json(document)
        return
    print_renderable(status_tables.signs_table(cells))
    print_line(status_tables.progress_text(cells))
    print_line()
    if every_cell:
        print_renderable(status_tables.cells_table(cells))
        print_line()
    if {DONE, RUNNING} & set(states):
        print_renderable(status_tables.workers_table(cells))
        print_line()
    print_line(status_tables.looks_text(looks))


def add(
    folder: FolderArgument,
    arm: ArmOption = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            min=1,
            help="Total number of seeds, including the existing ones.",
            rich_help_panel=STUDY,
        ),
    ] = None,
    imports: ImportOption = None,
    store: StoreOption = None,
) -> None:
    """Add arms or seeds to a study, even while it runs; finished cells are kept."""
    from excite.study.plan import parse_arm
    from excite.study.study import Study
    from excite.study.study import add as add_cells

    if not arm and seeds is None:
        raise ExciteError(
            "nothing to add", hint="add --arm NAME:MODEL+ATTENTION or --seeds 10", exit_code=BAD_USAGE
        )
    load_modules(imports or ())
    study = Study.open(folder, store)
    new = add_cells(study, [parse_arm(text) for text in arm or []], seeds or 1, ConsoleDisplay())
    print_line(f"new cells {new}")
    print_line(f"next      {command_line('excite', 'study', 'resume', folder)}")


def export(
    folder: FolderArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Output folder. [dim]\\[default: the folder of the study][/dim]"),
    ] = None,
    metric: MetricOption = None,
    against: BaselineOption = None,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Also write the predictions of each cell, as CSV.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Print the verdicts so far, and write study.html, study.md, cells.csv, and comparisons.csv.

    Each export with more finished cells is another look at the results, which the intervals account for.
    """
    from excite.study.results.report import write_predictions, write_study
    from excite.study.study import Study

    study = Study.open(folder, store)
    _check(study, metric, against)
    place = out or study.folder
    refuse_inside_data(place, study.folder / "manifest.csv", study.images.table["path"])
    analysis = write_study(study, place, metric=metric, baseline=against)
    if predictions:
        write_predictions(analysis, place)
    print_analysis(analysis)
    for name in ("study.html", "study.md", "cells.csv", "comparisons.csv"):
        print_line(place / name)


def _check(study: Any, metric: str | None, against: str | None) -> None:
    from excite.errors import unknown_name
    from excite.study.plan import METRICS

    if metric is not None and metric not in METRICS:
        raise unknown_name("metric", metric, METRICS, where="--metric")
    if against is not None and against not in study.arms:
        raise unknown_name("arm", against, study.arms, where="--baseline")
