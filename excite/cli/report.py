"""excite report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from excite.cli.output import loading, print_line
from excite.errors import ExciteError
from excite.system.progress import LABEL, ConsoleDisplay

WITHOUT = "--no-thumbnails writes the report without images"


def add_to(app: typer.Typer) -> None:
    app.command(
        "report",
        epilog="Examples: [bold]excite report runs/photos --thumbnails[/bold] · "
        "[bold]excite report runs/photos/repeat-0/fold-2[/bold]",
    )(report)


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    thumbnails: Annotated[
        bool | None,
        typer.Option(
            "--thumbnails/--no-thumbnails",
            help="Show images or remove them; consider the privacy of patients. "
            "[dim]\\[default: as in training][/dim]",
            show_default=False,
        ),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option("--data-root", help="Folder that the data is in now, if it has moved."),
    ] = None,
) -> None:
    """Write report.html, model_card.md, and the figures of a run again.

    Training does so at its end; for a single fold of a cross-validation, only this command does. If images
    are to be shown and are missing, nothing is written.
    """
    display = ConsoleDisplay()
    with loading(display):
        from excite.reporting.pages import write_pages
        from excite.runs.moved_data import open_run, require_images

    opened = open_run(run, data_root, display)
    shown = bool(opened.config.thumbnails) if thumbnails is None else thumbnails
    if shown:
        try:
            require_images(opened, opened.predictions["path"].tolist())
        except ExciteError as error:
            raise ExciteError(error.what, where=error.where, hint=f"{error.hint}; or {WITHOUT}") from error
    with display.waiting("writing the report"):
        write_pages(opened, thumbnails=shown)
    for label, path in (("written", run / "report.html"), ("", run / "model_card.md"), ("", opened.figures)):
        print_line(f"{label:<{LABEL}}{path}")
