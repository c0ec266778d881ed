"""excite audit"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from excite.cli.options import VerboseOption, takes_config
from excite.cli.output import loading, plain_table, print_json, print_line, print_sentence, print_table
from excite.config.train_config import TABLE_OPTIONS, TrainConfig
from excite.data.paths import data_name, refuse_inside_data
from excite.errors import ExciteError
from excite.system.progress import ConsoleDisplay

# Fields of TrainConfig that are also options of this command.
OPTIONS = (
    "near_duplicates",
    "decisions",
    "group_pattern",
    *TABLE_OPTIONS,
    "max_pixels",
)
STYLES = {"fine": "green", "warn": "yellow", "bad": "red"}  # of the first sentence
HELP = {"decisions": "Review decisions about pairs (CSV). decisions.csv in --out is always applied."}


def add_to(app: typer.Typer) -> None:
    app.command(
        "audit",
        epilog="Examples: [bold]excite audit photos[/bold] · "
        "[bold]excite audit photos --group-pattern '^(P\\d+)_' --strict[/bold] · "
        "[bold]excite audit table.csv --no-near-duplicates --json[/bold]",
    )(takes_config(only=OPTIONS, help=HELP)(audit))


def audit(
    *,
    data: Annotated[
        str,
        typer.Argument(
            help="Folder of class folders, folder with train/val/test, folder of images, zip or tar of one, "
            "CSV, or 'digits'.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for audit.json, audit.html, and decisions.csv. "
            "[dim]\\[default: audits/<data>][/dim]",
            show_default=False,
        ),
    ] = None,
    thumbnails: Annotated[
        bool | None,
        typer.Option(
            "--thumbnails/--no-thumbnails",
            help="Show images in audit.html, which may show people. "
            "[dim]\\[default: unless the images have groups, or names that look like groups][/dim]",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 1 if there are leaks or conflicting labels.")
    ] = False,
    verbose: VerboseOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print audit.json on standard output.")] = False,
    given: dict[str, Any],
) -> None:
    """Find near-duplicates, leaks, label conflicts, unreadable files, and shortcuts in a data set.

    The images are only read. audit.html shows the pairs side by side; decisions that you write into
    decisions.csv are applied by the next audit into the same folder.
    """
    display = ConsoleDisplay(verbose=verbose)
    with loading(display):
        from excite.audit.audit import audit as run_audit
        from excite.audit.audit import decision_files
        from excite.audit.people import may_show_people
        from excite.audit.reading import read_images
        from excite.audit.table import audit_rows, headline
        from excite.audit.verdict import verdict_of
        from excite.data.file_validation import check_files, note_patients
        from excite.reporting.audit_page import audit_document, write_audit
        from excite.system.cache import cache_directory
        from excite.system.malloc import keep_heap

    chosen = TrainConfig().replace(**given)
    keep_heap()
    manifest = read_images(data, group_pattern=chosen.group_pattern, **chosen.table_options())
    name = data_name(data)
    folder = out or Path("audits") / name
    refuse_inside_data(folder, data, manifest.table["path"])
    review = None if chosen.decisions is None else Path(chosen.decisions)
    try:
        cache = cache_directory()
        progress = display.stage("checking images") if len(manifest) else None
        images, unreadable = check_files(
            manifest, max_pixels=chosen.max_pixels, cache=cache, progress=progress, complete=False
        )
        note_patients(manifest, images, display)
        result = run_audit(
            images,
            unreadable=unreadable,
            near_duplicates=chosen.near_duplicates,
            max_pixels=chosen.max_pixels,
            cache=cache,
            decisions=decision_files(folder, review),
            progress=display.stage,
        )
        shown = not may_show_people(result.manifest) if thumbnails is None else thumbnails
        write_audit(
            result,
            folder,
            title=name,
            thumbnails=shown,
            max_pixels=chosen.max_pixels,
            progress=display.stage("drawing pairs"),
        )
    finally:
        display.close()
    if as_json:
        print_json(audit_document(result))
    else:
        verdict = verdict_of(result)
        print_sentence(verdict.text, style=STYLES[verdict.severity])
        table = plain_table("what", "found")
        for row in audit_rows(result):
            table.add_row(*row)
        print_table(table)
        print_line(f"written   {folder}   (pairs: {folder / 'audit.html'})")
    if strict and (findings := headline(result)):
        raise ExciteError("; ".join(findings), where=data, hint="--strict makes this an error")
