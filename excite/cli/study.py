"""excite study"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import typer

from excite.cli.options import takes_config
from excite.cli.output import plain_table, print_json, print_table
from excite.errors import BAD_USAGE, ExciteError
from excite.training.config import RUN, TrainConfig
from excite.training.setting import with_setting

STUDY = "Study"
NOT_HERE = ("data", "folds", "repeats", "jobs", "out", "thumbnails")

FolderArgument = Annotated[Path, typer.Argument(help="Folder of the study.", show_default=False)]
ArmOption = Annotated[
    list[str] | None,
    typer.Option(
        "--arm",
        help="NAME:MODEL, with +ATTENTION and ,option=value: se8:densenet121+se,reduction=8.",
        metavar="ARM",
        rich_help_panel=STUDY,
        show_default=False,
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Database of the cells, such as postgresql://host/studies; default: a file in the folder.",
        rich_help_panel=STUDY,
        show_default=False,
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs", min=1, help="Cells at once; default: as fit cores and memory.", rich_help_panel=STUDY
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray", help="Train on the Ray cluster at this address.", metavar="ADDRESS", rich_help_panel=STUDY
    ),
]
LeaseOption = Annotated[
    float,
    typer.Option(
        "--lease",
        min=0.5,
        help="Seconds after which a cell is taken from a worker that is not heard of.",
        rich_help_panel=STUDY,
    ),
]
MetricOption = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="Figure that the verdict is about; default: balanced_accuracy.",
        rich_help_panel=STUDY,
    ),
]
AgainstOption = Annotated[
    str | None, typer.Option("--against", help="Arm to compare all others with.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.", rich_help_panel=STUDY)]


def _need_libraries() -> None:
    if importlib.util.find_spec("sqlalchemy") is None:
        raise ExciteError(
            "SQLAlchemy is not installed", where="excite study", hint='pip install "excite[study]"'
        )


def add_to(app: typer.Typer) -> None:
    verbs = typer.Typer(
        callback=_need_libraries,
        help="Compare networks as it should be done: paired over seeds and folds, with a verdict.",
        no_args_is_help=True,
        rich_markup_mode="rich",
    )
    verbs.command(
        "run",
        epilog="Examples: [bold]excite study run digits --arm plain:densenet_bc_40_12 "
        "--arm se:densenet_bc_40_12+se --epochs 10[/bold] · "
        "[bold]excite study run photos --plan reduction --model resnet50 --folds 5[/bold]",
    )(takes_config(*NOT_HERE)(run))
    verbs.command("status")(status)
    verbs.command("resume")(resume)
    verbs.command("add", epilog="Example: [bold]excite study add studies/digits --seeds 10[/bold]")(add)
    verbs.command("export")(export)
    app.add_typer(verbs, name="study")


def run(
    *,
    data: Annotated[
        str | None, typer.Argument(help="As for excite train: folder, CSV or 'digits'.", show_default=False)
    ] = None,
    arm: ArmOption = None,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan",
            help="The paper's own comparison: reduction, squeeze, gate, stages, strategy or architectures.",
            rich_help_panel=STUDY,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The plan in a YAML file.", rich_help_panel=STUDY)
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, help="Trainings of each arm; default: 5.", rich_help_panel=STUDY),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", min=2, help="Cross-validate: so many trainings for each seed.", rich_help_panel=STUDY
        ),
    ] = None,
    metric: MetricOption = None,
    store: StoreOption = None,
    jobs: JobsOption = None,
    ray: RayOption = None,
    lease: LeaseOption = 60.0,
    spread: Annotated[
        float | None,
        typer.Option(
            "--spread",
            min=1e-9,
            help="What differences vary by from cell to cell, for the statement of power before the start.",
            rich_help_panel=STUDY,
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder; default: studies/NAME of the data.", rich_help_panel=STUDY),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what it would take, and train nothing.", rich_help_panel=STUDY),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="As for excite train; holds for all arms.",
            metavar="NAME=VALUE",
            rich_help_panel=RUN,
        ),
    ] = None,
    as_json: JsonOption = False,
    given: dict[str, Any],
) -> None:
    """Train several networks on the same images with the same seeds, and say whether one is better.

    Options of training, such as --epochs, hold for all arms. A study that was interrupted is gone on with by
    the same command, or by excite study resume; nothing is trained twice.
    """
    from excite.study.plan import METRIC, Plan, parse_arm, plan_from_yaml
    from excite.training.progress import ConsoleDisplay

    written = None if config is None else plan_from_yaml(config)
    base = (TrainConfig() if written is None else written.base).replace(
        **(given if data is None else {"data": data, **given})
    )
    for setting in settings or []:
        base = with_setting(base, setting)
    if not base.data:
        hint = "excite study run --help"
        raise ExciteError("name the data: a folder, a CSV or 'digits'", hint=hint, exit_code=BAD_USAGE)
    if sum(one is not None for one in (plan, config, arm or None)) > 1:
        raise ExciteError("--arm, --plan and --config each say the arms: give one", exit_code=BAD_USAGE)
    from excite.study.drive import Means, ready_arms, start

    display = ConsoleDisplay()
    if plan is not None:
        arms = ready_arms(plan, base, display)
        base = base.replace(model="auto")
    else:
        arms = list(written.arms) if written else [parse_arm(text) for text in arm or []]
    whole = Plan(
        base.replace(repeats=1),
        arms,
        seeds or (written.seeds if written else 5),
        folds if folds is not None else written.folds if written else None,
        metric or (written.metric if written else METRIC),
        plan,
    )
    folder = out or Path("studies") / _name_of(base.data)
    means = Means(base.device, jobs, ray, lease)
    study, crew, said = start(whole, folder, store, means, display, spread)
    display.note(said)
    if dry_run:
        typer.echo(f"study     {folder}")
        typer.echo(f"next      excite study resume {folder}")
        return
    _train(study, means, crew, as_json)


def resume(
    folder: FolderArgument,
    store: StoreOption = None,
    jobs: JobsOption = None,
    ray: RayOption = None,
    lease: LeaseOption = 60.0,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps or auto.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Go on with a study: train what is left and what has failed. Several may do so at once."""
    from excite.study.drive import Means
    from excite.study.study import Study

    _train(Study.open(folder, store), Means(device, jobs, ray, lease), None, as_json)


def status(
    folder: FolderArgument,
    metric: MetricOption = None,
    against: AgainstOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Where a study stands, and what it says so far."""
    from excite.study.analysis import analyse
    from excite.study.board import table_of
    from excite.study.study import Study

    study = Study.open(folder, store)
    _check(study, metric, against)
    analysis = analyse(study, metric, against)
    if not as_json:
        print_table(table_of(study.store.cells(study.name)))
    _print(study, analysis, as_json)


def add(
    folder: FolderArgument,
    arm: ArmOption = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, help="Seeds in all, those before counted.", rich_help_panel=STUDY),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Add arms or seeds to a study, while it runs or later; what is trained stays."""
    from excite.study.plan import parse_arm
    from excite.study.study import Study
    from excite.study.study import add as add_cells
    from excite.training.progress import ConsoleDisplay

    if not arm and seeds is None:
        raise ExciteError(
            "say what to add", hint="--arm NAME:MODEL+ATTENTION, or --seeds 10", exit_code=BAD_USAGE
        )
    study = Study.open(folder, store)
    new = add_cells(study, [parse_arm(text) for text in arm or []], seeds or 1, ConsoleDisplay())
    typer.echo(f"new cells {new}")
    typer.echo(f"next      excite study resume {folder}")


def export(
    folder: FolderArgument,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to; default: the study's.")
    ] = None,
    metric: MetricOption = None,
    against: AgainstOption = None,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Also what each cell said of each image, as CSV.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Write study.html, study.md, cells.csv and comparisons.csv of what is done so far."""
    from excite.study.report import write_predictions, write_study
    from excite.study.study import Study

    study = Study.open(folder, store)
    _check(study, metric, against)
    place = out or study.folder
    analysis = write_study(study, place, metric=metric, reference=against)
    if predictions:
        write_predictions(analysis, place)
    for name in ("study.html", "study.md", "cells.csv", "comparisons.csv"):
        typer.echo(place / name)


def _train(study: Any, means: Any, crew: Any, as_json: bool) -> None:
    from excite.study.analysis import analyse
    from excite.study.board import ConsoleBoard
    from excite.study.drive import go_on

    go_on(study, means, crew, ConsoleBoard())
    _print(study, analyse(study), as_json)
    if not as_json:
        typer.echo(f"study     {study.folder}")
        typer.echo(f"report    {study.folder / 'study.html'}")


def _print(study: Any, analysis: Any, as_json: bool) -> None:
    from excite.study import words
    from excite.study.report import arm_rows, comparison_rows, verdicts

    sentences = verdicts(analysis)
    if as_json:
        arms = arm_rows(analysis)
        document = {"study": str(study.folder), "done": analysis.done, "planned": analysis.planned}
        document |= {"metric": analysis.metric, "arms": arms, "comparisons": comparison_rows(analysis)}
        print_json({**document, "verdicts": sentences})
        return
    table = plain_table(
        "arm", "cells", analysis.metric, "95 % interval", "parameters", "a step", "a training"
    )
    for row in arm_rows(analysis):
        table.add_row(
            row["name"],
            row["cells"],
            row["value"],
            row["interval"],
            row["parameters"],
            row["step"],
            row["seconds"],
        )
    print_table(table)
    for sentence in [*sentences, *words.reliance(analysis)]:
        typer.echo(sentence)
    for one in analysis.comparisons:
        if power := words.power_text(one, analysis.metric):
            typer.echo(f"{one.second} and {one.first}: {power}.")


def _check(study: Any, metric: str | None, against: str | None) -> None:
    from excite.errors import unknown_name
    from excite.study.plan import METRICS

    if metric is not None and metric not in METRICS:
        raise unknown_name("metric", metric, METRICS, where="--metric")
    if against is not None and against not in study.arms:
        raise unknown_name("arm", against, study.arms, where="--against")


def _name_of(data: str) -> str:
    path = Path(data)
    return path.stem if path.suffix.lower() == ".csv" else path.resolve().name
