"""excite audit"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from excite.cli.output import plain_table, print_json, print_table
from excite.data.pixel_limit import MAX_PIXELS
from excite.errors import BAD_USAGE, ExciteError

DATA, LOOK, RESULT = "Data", "What is looked at", "Result"


def add_to(app: typer.Typer) -> None:
    app.command(
        "audit",
        epilog="Examples: [bold]excite audit photos[/bold] · "
        "[bold]excite audit photos --group-pattern '^(P\\d+)_' --strict[/bold] · "
        "[bold]excite audit table.csv --no-photos --json[/bold]",
    )(audit)


def audit(
    data: Annotated[
        str,
        typer.Argument(
            help="Folder of class folders, folder with train/val/test, folder of images, CSV, or 'digits'.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for audit.json, audit.html and decisions.csv. [dim]\\[audits/<data>][/dim]",
            rich_help_panel=RESULT,
            show_default=False,
        ),
    ] = None,
    photos: Annotated[
        bool | None,
        typer.Option(
            "--photos/--no-photos",
            help="Look for crops, turns and recoloured copies too. [dim]\\[up to 20,000 images][/dim]",
            rich_help_panel=LOOK,
            show_default=False,
        ),
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(
            "--decisions",
            help="A person's decisions about pairs; decisions.csv in --out is obeyed unasked.",
            rich_help_panel=LOOK,
            show_default=False,
        ),
    ] = None,
    group_pattern: Annotated[
        str | None,
        typer.Option(
            "--group-pattern",
            help="Regular expression on the file name; what its first bracket matches is the group.",
            rich_help_panel=DATA,
        ),
    ] = None,
    path_column: Annotated[
        str, typer.Option("--path-column", help="CSV column of the image's path.", rich_help_panel=DATA)
    ] = "path",
    label_column: Annotated[
        str, typer.Option("--label-column", help="CSV column of the class.", rich_help_panel=DATA)
    ] = "label",
    group_column: Annotated[
        str, typer.Option("--group-column", help="CSV column of the group.", rich_help_panel=DATA)
    ] = "group",
    split_column: Annotated[
        str, typer.Option("--split-column", help="CSV column of train, val, test.", rich_help_panel=DATA)
    ] = "split",
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", help="Larger pictures are refused.", min=1, rich_help_panel=DATA)
    ] = MAX_PIXELS,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="End with 1 when there are leaks or label conflicts.", rich_help_panel=RESULT
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print audit.json on standard output.", rich_help_panel=RESULT)
    ] = False,
) -> None:
    """Find out what a data set hides: bad files, copies, leaks, wrong labels, shortcuts.

    The images are only read. audit.html shows the pairs side by side; what you write into decisions.csv is
    obeyed by the next audit into the same folder.
    """
    from excite.data.audit import audit as run_audit
    from excite.data.audit import decision_files
    from excite.data.audit_reading import read_images
    from excite.data.audit_table import audit_rows, headline
    from excite.data.cache import cache_directory
    from excite.reporting.audit_page import write_audit
    from excite.training.memory import keep_memory
    from excite.training.progress import ConsoleDisplay

    keep_memory()
    manifest = read_images(
        data,
        group_pattern=group_pattern,
        path_column=path_column,
        label_column=label_column,
        group_column=group_column,
        split_column=split_column,
    )
    name = data_name(data)
    folder = out or Path("audits") / name
    refuse_inside_data(folder, data)
    display = ConsoleDisplay()
    try:
        found = run_audit(
            manifest,
            photos=photos,
            max_pixels=max_pixels,
            cache=cache_directory(),
            decisions=decision_files(folder, decisions),
            progress=display.stage,
        )
        write_audit(found, folder, title=name, max_pixels=max_pixels, progress=display.stage("drawing pairs"))
    finally:
        display.close()
    if as_json:
        print_json(found.to_dict())
    else:
        table = plain_table("what", "found")
        for row in audit_rows(found):
            table.add_row(*map(escaped, row))
        print_table(table)
        typer.echo(f"written   {folder}   (look at the pairs in {folder / 'audit.html'})")
    if strict and (findings := headline(found)):
        raise ExciteError("; ".join(findings), where=data, hint="--strict was asked for")


def data_name(data: str) -> str:
    """What a data set is called: its folder's name, or its CSV's without the ending."""
    path = Path(data)
    return path.stem if path.suffix.lower() == ".csv" else path.resolve().name


def refuse_inside_data(target: Path, data: str) -> None:
    """Nothing is ever written among a user's images."""
    source, place = Path(data).resolve(), target.resolve()
    if source.is_dir() and (place == source or source in place.parents):
        raise ExciteError(
            "lies inside the data, where nothing is written",
            where=target,
            hint="name another place with --out",
            exit_code=BAD_USAGE,
        )


def escaped(text: str) -> str:
    """Text that rich prints as it is, with control characters of file names made visible."""
    from rich.markup import escape

    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return escape(visible)
