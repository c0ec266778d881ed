"""excite report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from excite.cli.output import loading, print_line
from excite.system.progress import ConsoleDisplay


def add_to(app: typer.Typer) -> None:
    app.command(
        "report",
        epilog="Examples: [bold]excite report runs/photos --thumbnails[/bold] · "
        "[bold]excite report runs/photos/repeat-0/fold-2[/bold]",
    )(report)


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    thumbnails: Annotated[
        bool,
        typer.Option(
            "--thumbnails",
            help="Include mistakes and label candidates as images; mind the privacy of patients.",
        ),
    ] = False,
) -> None:
    """Write report.html, model_card.md, and the figures of a run again.

    Training does so at its end; for a single fold of a cross-validation, only this command does.
    """
    display = ConsoleDisplay()
    with loading(display):
        from excite.reporting.png_figures import draw_figures
        from excite.reporting.report import write_report
        from excite.runs.run import Run

    opened = Run.open(run)
    with display.waiting("writing the report"):
        write_report(opened, thumbnails=thumbnails)
        draw_figures(opened)
    print_line(f"written   {run / 'report.html'}, {run / 'model_card.md'}, {opened.figures}")
