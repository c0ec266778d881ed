"""excite train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from excite.cli.label_output import print_label_result
from excite.cli.options import takes_config
from excite.cli.output import print_json
from excite.cli.result_output import print_result
from excite.cli.short_help import HelpAllOption, short_help
from excite.cli.streams import write_data
from excite.config.overrides import apply_override
from excite.config.task import MULTILABEL
from excite.config.train_config import RUN, TrainConfig
from excite.errors import BAD_USAGE, INTERRUPTED, ExciteError
from excite.plugins.loading import import_flags
from excite.system.progress import ConsoleDisplay
from excite.system.text import command_line

PATHS = ("decisions", "weights")
"""Options that are paths: one file may be written in several ways."""


COMMON = (
    "model",
    "attention",
    "pretrained",
    "recipe",
    "epochs",
    "image_size",
    "augment",
    "group_pattern",
    "positive",
    "folds",
    "device",
    "out",
    "resume",
    "verbose",
)
"""Parameters in ``--help``; ``--help-all`` shows all."""


def add_to(app: typer.Typer) -> None:
    app.command(
        "train",
        cls=short_help(COMMON),
        epilog="Examples: [bold]excite train digits[/bold] · "
        "[bold]excite train photos --epochs 30 --augment standard[/bold] · "
        "[bold]excite train photos --resume[/bold]",
    )(takes_config(without=["data"])(train))


def train(
    *,
    data: Annotated[
        str | None,
        typer.Argument(
            help="Folder of class folders, folder with train/val/test, zip or tar of one, CSV with path and "
            "label, or 'digits'.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        list[Path] | None,
        typer.Option(
            "--config",
            help="Read options from a YAML file; of several files, the last one decides.",
            rich_help_panel=RUN,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Set any option as name=value, or a key of a mapping as name.key=value.",
            metavar="NAME=VALUE",
            rich_help_panel=RUN,
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all options as YAML and exit.", rich_help_panel=RUN)
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Resume an interrupted run; DATA may be its folder.", rich_help_panel=RUN
        ),
    ] = False,
    data_root: Annotated[
        Path | None,
        typer.Option(
            "--data-root", help="With --resume: the folder that the data is in now.", rich_help_panel=RUN
        ),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", help="Print the reasons for resolved options, and lists.", rich_help_panel=RUN
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the metrics as one JSON document.", rich_help_panel=RUN)
    ] = False,
    help_all: HelpAllOption = False,
    given: dict[str, Any],
) -> None:
    """Train a classifier on a folder of images and evaluate it.

    The images are checked and split into training, validation, and test images. The best weights on the
    validation images are evaluated on the test images. All results are written to a run folder.
    """
    base = TrainConfig.from_yaml(*(config or []))
    options = base.replace(**(given if data is None else {"data": data, **given}))
    for setting in settings or []:
        options = apply_override(options, setting)
    if print_config:
        write_data(options.to_yaml())
        return
    if data_root is not None and not resume:
        what = "is for a run that is resumed"
        raise ExciteError(what, where="--data-root", hint="name the data instead", exit_code=BAD_USAGE)
    if resume and options.data and not options.out:
        folder = Path(options.data)
        if (folder / "config.yaml").is_file():
            options = options.replace(data="", out=str(folder))
    if resume and not options.data and not options.out:
        options = options.replace(out=str(_only_unfinished()))
    if not options.data and not resume:
        raise ExciteError(
            "no data given: name a folder, a CSV, or 'digits'",
            hint="excite train --help",
            exit_code=BAD_USAGE,
        )
    display = ConsoleDisplay(verbose=verbose)
    with display.waiting("loading"):
        from excite.api import train_as_configured
    if resume:
        _refuse_changes(options, given, settings or [])
    try:
        run = train_as_configured(options, resume=resume, data_root=data_root, display=display)
    except KeyboardInterrupt:
        display.close()
        raise _stopped(options) from None
    if as_json:
        print_json({"run": str(run.path), **run.metrics})
    elif run.task == MULTILABEL:
        print_label_result(run)
    else:
        with display.waiting("looking for shortcuts"):
            from excite.explain.run_shortcuts import region_findings

            shortcuts = region_findings(run)
        print_result(run, shortcuts)


def _stopped(options: TrainConfig) -> ExciteError:
    """What is left of a training that Ctrl-C stopped outside its steps."""
    from excite.pipeline.experiment import run_folder
    from excite.runs.run import Run

    run = Run(run_folder(options, resume=True))
    if not (run.path / "config.yaml").is_file() or run.finished:
        return ExciteError("stopped before the training began; nothing was written", exit_code=INTERRUPTED)
    flags = import_flags(options.imports)
    hint = f"continue with: {command_line('excite', 'train', '--resume', '--out', run.path, *flags)}"
    return ExciteError("stopped", where=run.path, hint=hint, exit_code=INTERRUPTED)


def _refuse_changes(options: TrainConfig, given: dict[str, Any], settings: list[str]) -> None:
    """Raises: ExciteError if a resumed run would get other options."""
    from excite.pipeline.experiment import run_folder
    from excite.runs.run import Run

    run = Run.open(run_folder(options, resume=True))
    before = run.config
    if options.data and not run.was_trained_on(options.data):
        raise ExciteError(
            f"was {before.data!r} when the run {run.path} started, not {options.data!r}",
            where="the data",
            hint=f"excite train --resume --out {run.path} resumes it; without --resume a new run starts",
            exit_code=BAD_USAGE,
        )
    named = {name for name in given if name != "out"}
    named |= {text.partition("=")[0].partition(".")[0] for text in settings}
    for name in sorted(named - {"data", "imports"}):
        now, then = getattr(options, name), getattr(before, name)
        if now != then and not (name in PATHS and now and then and run.is_same_place(now, then)):
            raise ExciteError(
                f"was {then!r} when the run started",
                where=f"--{name.replace('_', '-')}",
                hint="omit it, or start a new run without --resume",
                exit_code=BAD_USAGE,
            )


def _only_unfinished() -> Path:
    """The run below ``runs/`` that was not finished. Raises: ExciteError if there is none, or several."""
    from excite.runs.run import Run

    runs = [Run(file.parent) for file in sorted(Path("runs").glob("*/config.yaml"))]
    unfinished = [run for run in runs if not run.finished]
    if len(unfinished) == 1:
        return unfinished[0].path
    what = "several runs can be resumed" if runs else "there is no run in runs/ to resume"
    if runs and not unfinished:
        what = "every run in runs/ has finished"
    named = ", ".join(str(run.path) for run in unfinished[:5])
    hint = "name it: excite train --resume --out RUN" + (f"; not finished: {named}" if named else "")
    raise ExciteError(what, hint=hint, exit_code=BAD_USAGE)
