"""excite study run"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from excite.cli.output import loading, print_line
from excite.cli.short_help import HelpAllOption
from excite.cli.study.options import (
    STUDY,
    ArmOption,
    JobsOption,
    JsonOption,
    LeaseOption,
    MetricOption,
    RayOption,
    StoreOption,
)
from excite.cli.study.output import train_and_print
from excite.config.overrides import apply_override
from excite.config.train_config import RUN, TrainConfig
from excite.data.paths import data_name
from excite.errors import BAD_USAGE, ExciteError
from excite.plugins.loading import load_modules
from excite.system.progress import ConsoleDisplay

COMMON = (
    "arm",
    "plan",
    "seeds",
    "folds",
    "metric",
    "jobs",
    "out",
    "dry_run",
    "pretrained",
    "recipe",
    "epochs",
    "image_size",
    "device",
)
"""Parameters in ``--help``; ``--help-all`` shows all."""


def run(
    *,
    data: Annotated[
        str | None, typer.Argument(help="Folder, CSV, or 'digits', as for excite train.", show_default=False)
    ] = None,
    arm: ArmOption = None,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan",
            help="A comparison from the SE paper: reduction, squeeze, gate, stages, placement, or "
            "architectures.",
            rich_help_panel=STUDY,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file with a plan.", rich_help_panel=STUDY)
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            min=1,
            help="Number of seeds per arm. [dim]\\[default: 5][/dim]",
            rich_help_panel=STUDY,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            min=2,
            help="Number of folds of the cross-validation for each seed.",
            rich_help_panel=STUDY,
        ),
    ] = None,
    metric: MetricOption = None,
    store: StoreOption = None,
    jobs: JobsOption = None,
    ray: RayOption = None,
    lease: LeaseOption = 60.0,
    std: Annotated[
        float | None,
        typer.Option(
            "--std",
            min=1e-9,
            help="Standard deviation of the differences between paired cells, for the estimate of "
            "statistical power.",
            rich_help_panel=STUDY,
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder of the study. [dim]\\[default: studies/NAME][/dim]",
            rich_help_panel=STUDY,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the estimated cost; write nothing.", rich_help_panel=STUDY),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any option as for excite train; applies to all arms.",
            metavar="NAME=VALUE",
            rich_help_panel=RUN,
        ),
    ] = None,
    as_json: JsonOption = False,
    help_all: HelpAllOption = False,
    given: dict[str, Any],
) -> None:
    """Train several networks on the same images with the same seeds, and test whether one is better.

    Options of training, such as --epochs, apply to all arms. The same command, or excite study resume,
    continues an interrupted study; nothing is trained twice.
    """
    display = ConsoleDisplay()
    with loading(display):
        from excite.study.plan import METRIC, Plan, parse_arm, plan_from_yaml
        from excite.study.running.orchestrate import Resources, preset_arms, rehearse, start
        from excite.study.running.worker_options import WorkerOptions

    written = None if config is None else plan_from_yaml(config)
    base = (TrainConfig() if written is None else written.base).replace(
        **(given if data is None else {"data": data, **given})
    )
    for setting in settings or []:
        base = apply_override(base, setting)
    load_modules(base.imports)
    if not base.data:
        hint = "excite study run --help"
        raise ExciteError("no data given: name a folder, a CSV, or 'digits'", hint=hint, exit_code=BAD_USAGE)
    if sum(one is not None for one in (plan, config, arm or None)) > 1:
        raise ExciteError("--arm, --plan, and --config are mutually exclusive", exit_code=BAD_USAGE)
    if plan is not None:
        arms = preset_arms(plan, base, display)
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
    folder = out or Path("studies") / data_name(base.data)
    brought = WorkerOptions(tuple(base.imports), tuple(base.track))
    resources = Resources(base.device, jobs, ray, lease, brought)
    if dry_run:
        for line in rehearse(whole, folder, resources, display, std).split("\n"):
            display.note(line)
        print_line("nothing was written; the same command without --dry-run trains")
        return
    study, pool, forecast = start(whole, folder, store, resources, display, std)
    for line in forecast.split("\n"):
        display.note(line)
    train_and_print(study, resources, pool, as_json)
