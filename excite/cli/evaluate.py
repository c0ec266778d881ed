"""excite evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from excite.cli.output import accuracy_line, percent, plain_table, print_json, print_table


def add_to(app: typer.Typer) -> None:
    app.command(
        "evaluate",
        epilog="Examples: [bold]excite evaluate runs/photos[/bold] · "
        "[bold]excite evaluate runs/photos other-photos --out judged[/bold]",
    )(evaluate)


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Argument(help="Folder or CSV of labelled images; left out: the run's own test images."),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="train, val, test or all; default: test where there is one.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, mps, auto.")] = "auto",
    max_bad: Annotated[
        float, typer.Option("--max-bad", help="Largest share of unreadable files.", min=0.0, max=1.0)
    ] = 0.01,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for metrics.json, predictions.csv and the confusion matrix."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON document.")] = False,
) -> None:
    """Measure a trained classifier on labelled images.

    Classes are matched by name; images of a class that the run does not know are refused.
    """
    from excite.reporting.figures import write_evaluation
    from excite.runs.evaluate import evaluate_run
    from excite.runs.run import Run
    from excite.training.progress import ConsoleDisplay

    result = evaluate_run(
        Run.open(run), data, split=split, device=device, max_bad=max_bad, display=ConsoleDisplay()
    )
    if out is not None:
        write_evaluation(result, out)
    if as_json:
        print_json({result.split: result.figures})
        return
    typer.echo(f"{result.split:<10}{accuracy_line(result.figures)}")
    table = plain_table("class", "images", "sensitivity", "ppv", right=("images", "sensitivity", "ppv"))
    for name, figures in result.figures["classes"].items():
        table.add_row(name, str(figures["n"]), percent(figures["sensitivity"]), percent(figures["ppv"]))
    print_table(table)
    if out is not None:
        typer.echo(f"written   {out}")
