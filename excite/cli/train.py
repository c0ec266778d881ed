"""excite train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from excite.cli.figures import labels_line, print_figures, print_folds
from excite.cli.options import takes_config
from excite.cli.output import print_json, print_line
from excite.cli.streams import write_data
from excite.errors import BAD_USAGE, ExciteError
from excite.text import command_line
from excite.training.config import RUN, TrainConfig
from excite.training.setting import with_setting


def add_to(app: typer.Typer) -> None:
    app.command(
        "train",
        epilog="Examples: [bold]excite train digits[/bold] · "
        "[bold]excite train photos --epochs 30 --augment standard[/bold] · "
        "[bold]excite train photos --resume[/bold]",
    )(takes_config("data")(train))


def train(
    *,
    data: Annotated[
        str | None,
        typer.Argument(
            help="Folder of class folders, folder with train/val/test, CSV with path and label, or 'digits'.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Options from a YAML file.", rich_help_panel=RUN)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any option as name=value, parts of a mapping as name.key=value.",
            metavar="NAME=VALUE",
            rich_help_panel=RUN,
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all options as YAML and end.", rich_help_panel=RUN)
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run where it stopped.", rich_help_panel=RUN)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON document.", rich_help_panel=RUN)
    ] = False,
    given: dict[str, Any],
) -> None:
    """Train a classifier on a folder of images, and find out how good it is.

    The images are checked, split into training, validation and test, and the network is trained; the best
    averaged weights are kept and measured on the test images. Everything goes into a run folder.
    """
    base = TrainConfig.from_yaml(config) if config else TrainConfig()
    options = base.replace(**(given if data is None else {"data": data, **given}))
    for setting in settings or []:
        options = with_setting(options, setting)
    if print_config:
        write_data(options.to_yaml())
        return
    if not options.data and not (resume and options.out):
        raise ExciteError(
            "name the data: a folder, a CSV or 'digits'", hint="excite train --help", exit_code=BAD_USAGE
        )
    from excite.api import train_as_configured

    if resume:
        _refuse_changes(options, given, settings or [])
    run = train_as_configured(options, resume=resume)
    if as_json:
        print_json({"run": str(run.path), **run.metrics})
        return
    print_figures("test", run.metrics["test"])
    if run.config.folds is not None:
        print_folds(run.metrics)
        print_line(f"labels    {labels_line(run.metrics['label_noise'])}")
    print_line(f"run       {run.path}")
    print_line(f"report    {run.path / 'report.html'}")
    image = Path(run.predictions["path"].iloc[0])
    print_line(f"next      {command_line('excite', 'predict', run.path, image)}")


def _refuse_changes(options: TrainConfig, given: dict[str, Any], settings: list[str]) -> None:
    """A resumed run keeps its options, or it would be another run."""
    from excite.runs.experiment import run_folder
    from excite.runs.run import Run

    before = Run.open(run_folder(options, resume=True)).config
    named = {name for name in given if name != "out"}
    named |= {text.partition("=")[0].partition(".")[0] for text in settings}
    if options.data:
        named.add("data")
    for name in sorted(named):
        if getattr(options, name) != getattr(before, name):
            raise ExciteError(
                f"was {getattr(before, name)!r} when the run began",
                where=f"--{name.replace('_', '-')}",
                hint="leave it out, or start a new run without --resume",
                exit_code=BAD_USAGE,
            )
