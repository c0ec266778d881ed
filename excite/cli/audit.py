"""excite audit"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from excite.cli.output import plain_table, print_json, print_line, print_table
from excite.config.pixel_limit import MAX_PIXELS
from excite.data.paths import data_name, refuse_inside_data
from excite.errors import ExciteError

DATA, LOOK, RESULT = "Data", "What is looked at", "Result"


def add_to(app: typer.Typer) -> None:
    app.command(
        "audit",
        epilog="Examples: [bold]excite audit photos[/bold] · "
        "[bold]excite audit photos --group-pattern '^(P\\d+)_' --strict[/bold] · "
        "[bold]excite audit table.csv --no-near-duplicates --json[/bold]",
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
    near_duplicates: Annotated[
        bool | None,
        typer.Option(
            "--near-duplicates/--no-near-duplicates",
            help="Look for crops, turns and recolored copies too. [dim]\\[up to 20,000 images][/dim]",
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
    from excite.audit.audit import audit as run_audit
    from excite.audit.audit import decision_files
    from excite.audit.reading import read_images
    from excite.audit.table import audit_rows, headline
    from excite.data.file_validation import check_files
    from excite.reporting.audit_page import write_audit
    from excite.system.cache import cache_directory
    from excite.system.malloc import keep_heap
    from excite.system.progress import ConsoleDisplay

    keep_heap()
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
    refuse_inside_data(folder, data, manifest.table["path"])
    display = ConsoleDisplay()
    try:
        cache = cache_directory()
        progress = display.stage("checking images") if len(manifest) else None
        images, unreadable = check_files(
            manifest, max_pixels=max_pixels, cache=cache, progress=progress, complete=False
        )
        found = run_audit(
            images,
            unreadable=unreadable,
            near_duplicates=near_duplicates,
            max_pixels=max_pixels,
            cache=cache,
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
            table.add_row(*row)
        print_table(table)
        print_line(f"written   {folder}   (look at the pairs in {folder / 'audit.html'})")
    if strict and (findings := headline(found)):
        raise ExciteError("; ".join(findings), where=data, hint="--strict was asked for")
