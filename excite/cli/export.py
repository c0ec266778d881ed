"""excite export"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from excite.cli.output import loading, print_json, print_line
from excite.export.formats import FORMATS, get_format
from excite.system.progress import ConsoleDisplay
from excite.system.text import command_line

SHOWN = 12  # names of classes


def add_to(app: typer.Typer) -> None:
    app.command(
        "export",
        epilog="Examples: [bold]excite export runs/photos --format keras[/bold] · "
        "[bold]excite export runs/photos --format keras --out photos.keras[/bold]",
    )(export)


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="; ".join(f"{name}: {each.description}" for name, each in FORMATS.items()) + ".",
            metavar="|".join(FORMATS),
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Output file. Default: in the run folder, with the run's name."),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", help="Number of test images of the run for the parity check.", min=1)
    ] = 256,
    data_root: Annotated[
        Path | None,
        typer.Option("--data-root", help="Folder that the run's data is in now, if it has moved."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Export a trained classifier to another format, and check its predictions.

    The exported model takes uint8 images of the run's input size, normalizes them, and returns calibrated
    probabilities. If its predictions differ from the run's, nothing is written.
    """
    chosen = get_format(format)
    with loading(ConsoleDisplay()):
        from excite.export.export import export_run
        from excite.reporting.decision_text import rule_text
        from excite.runs.moved_data import open_run

    exported = export_run(open_run(run, data_root), format, out, images=images)
    if as_json:
        print_json({**asdict(exported), "path": str(exported.path)})
        return
    side, parity = exported.image_size, exported.parity
    print_line(f"written   {exported.path}   ({exported.size / 2**20:.1f} MiB)")
    names = ", ".join(exported.classes[:SHOWN]) + (", ..." if len(exported.classes) > SHOWN else "")
    print_line(f"takes     uint8 images {side} x {side}")
    print_line(f"gives     probabilities of {len(exported.classes)} classes: {names}")
    if point := exported.operating_point:
        print_line(f"predicts  {rule_text(point.label, point.threshold)}")
        print_line("          model.get_layer('probabilities').decide(probabilities) applies this rule")
    print_line(
        f"checked   on {parity.images} images of the run: the largest difference of a probability is "
        f"{parity.largest:.1e}, the same class for {parity.same_class}"
    )
    load = command_line("python", "-c", chosen.use.format(str(exported.path)))
    print_line(f"next      {load}")
