"""excite split"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from excite.cli.output import plain_table, print_json, print_line, print_table
from excite.config.pixel_limit import MAX_PIXELS
from excite.data.paths import refuse_inside_data
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.system.text import command_line

if TYPE_CHECKING:
    from excite.data.manifest import Manifest

METHODS = ("auto", "random", "grouped")
MOST_CLASSES = 30  # rows of a table of classes
DATA, SPLIT, RESULT = "Data", "Split", "Result"


def add_to(app: typer.Typer) -> None:
    app.command(
        "split",
        epilog="Examples: [bold]excite split photos --out manifest.csv[/bold] · "
        "[bold]excite split photos --out folds.csv --folds 5 --repeats 3[/bold] · "
        "[bold]excite train manifest.csv[/bold]",
    )(split)


def split(
    data: Annotated[
        str, typer.Argument(help="Folder of class folders, CSV, or 'digits'.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="The CSV to write.", rich_help_panel=RESULT)] = Path(
        "manifest.csv"
    ),
    method: Annotated[
        str,
        typer.Option(
            "--split",
            help="Whole groups (grouped), each image for itself (random), or grouped where there are groups.",
            metavar="|".join(METHODS),
            rich_help_panel=SPLIT,
        ),
    ] = "auto",
    group_duplicates: Annotated[
        bool,
        typer.Option(
            "--group-duplicates/--no-group-duplicates",
            help="Look for copies of one photo, and keep them together.",
            rich_help_panel=SPLIT,
        ),
    ] = True,
    near_duplicates: Annotated[
        bool | None,
        typer.Option(
            "--near-duplicates/--no-near-duplicates",
            help="Look for crops, turns and recolored copies too. [dim]\\[up to 20,000 images][/dim]",
            rich_help_panel=SPLIT,
            show_default=False,
        ),
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option("--decisions", help="A decisions.csv of an audit, obeyed.", rich_help_panel=SPLIT),
    ] = None,
    val_fraction: Annotated[
        float,
        typer.Option("--val-fraction", help="Share for validation.", rich_help_panel=SPLIT),
    ] = 0.1,
    test_fraction: Annotated[
        float, typer.Option("--test-fraction", help="Share for the test.", rich_help_panel=SPLIT)
    ] = 0.2,
    k: Annotated[
        int, typer.Option("--folds", help="Number the images of so many folds too.", rich_help_panel=SPLIT)
    ] = 0,
    repeats: Annotated[
        int, typer.Option("--repeats", help="Draw the folds so many times.", rich_help_panel=SPLIT)
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", help="What is drawn.", min=0, rich_help_panel=SPLIT)] = 0,
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
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", help="Larger pictures are refused.", min=1, rich_help_panel=DATA)
    ] = MAX_PIXELS,
    max_unreadable: Annotated[
        float,
        typer.Option(
            "--max-unreadable",
            help="Largest share of unreadable files.",
            min=0.0,
            max=1.0,
            rich_help_panel=DATA,
        ),
    ] = 0.01,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the counts as one JSON document.", rich_help_panel=RESULT)
    ] = False,
) -> None:
    """Write a table that says of every image whether it is for training, validation or test.

    Classes are kept in proportion and groups whole: those that you name, and the copies that are found. The
    columns path, label, group and split are for any tool; excite train reads the table back. With --folds
    it has columns fold_0, fold_1 ... too, one a repeat: the fold in which each image is held out.
    """
    if method not in METHODS:
        raise unknown_name("split method", method, METHODS, where="--split")
    if repeats != 1 and k == 0:
        raise ExciteError("--repeats repeats folds", hint="add --folds 5", exit_code=BAD_USAGE)
    manifest = _grouped(
        data,
        out,
        group_duplicates=group_duplicates,
        near_duplicates=near_duplicates,
        decisions=decisions,
        group_pattern=group_pattern,
        columns={"path_column": path_column, "label_column": label_column, "group_column": group_column},
        max_pixels=max_pixels,
        max_unreadable=max_unreadable,
    )
    from excite.audit.leaks import count_near_duplicates
    from excite.data.split import repeated_folds, split_manifest

    if method == "auto":
        method = "grouped" if manifest.table["group"].any() else "random"
    shares = (1 - val_fraction - test_fraction, val_fraction, test_fraction)
    made = split_manifest(manifest, method=method, seed=seed, fractions=shares)
    if k:
        numbers = repeated_folds(manifest, k, repeats, seed=seed, method=method)
        made = made.with_columns(**{f"fold_{r}": numbers[:, r] for r in range(repeats)})
    made.save(out)
    counts = {name: made.part(name).counts() for name in made.splits}
    torn = count_near_duplicates(made.table["split"].tolist(), made.group_codes().tolist())
    if as_json:
        document = {"manifest": str(out), "method": method, "images": len(made), "groups": made.group_count()}
        document["duplicates_in_train"] = torn
        print_json({**document, "splits": counts, "folds": k, "repeats": repeats if k else 0})
        return
    _print_counts(made)
    if torn:
        tested = len(made.part("test"))
        print_line(
            f"warning   {torn} of {tested} test images have a near-duplicate in the training set; "
            "--split grouped keeps groups together"
        )
    folds_text = f", {repeats} x {k} folds" if k else ""
    print_line(f"written   {out}   ({method}, {made.group_count()} groups{folds_text})")
    print_line(f"next      {command_line('excite', 'train', out)}")


def _print_counts(made: Manifest) -> None:
    """A row a split; of few classes a row each, of many the range."""
    columns = ("images", "groups", "images a class")
    table = plain_table("split", *columns, right=columns)
    counts = {name: made.part(name).counts() for name in made.splits}
    for name in made.splits:
        part = made.part(name)
        low, high = min(counts[name].values()), max(counts[name].values())
        span = str(low) if low == high else f"{low} to {high}"
        table.add_row(name, str(len(part)), str(part.group_count()), span)
    print_table(table)
    print_line()
    if len(made.classes) > MOST_CLASSES:
        print_line(f"{len(made.classes)} classes; --json prints the counts of each")
        return
    table = plain_table("class", *made.splits, right=made.splits)
    for label in made.classes:
        table.add_row(label, *(str(counts[name][label]) for name in made.splits))
    print_table(table)


def _grouped(
    data: str,
    out: Path,
    *,
    group_duplicates: bool,
    near_duplicates: bool | None,
    decisions: Path | None,
    group_pattern: str | None,
    columns: dict[str, str],
    max_pixels: int,
    max_unreadable: float,
) -> Manifest:
    """The readable images with their groups: the user's, and with ``group_duplicates`` near-duplicates."""
    from excite.audit.audit import audit
    from excite.audit.reading import read_images
    from excite.data.file_validation import read_checked
    from excite.data.manifest import check_classes
    from excite.system.cache import cache_directory
    from excite.system.progress import ConsoleDisplay

    if not group_duplicates and (near_duplicates is not None or decisions is not None):
        raise ExciteError(
            "--near-duplicates and --decisions have no effect with --no-group-duplicates",
            exit_code=BAD_USAGE,
        )
    # What the data says of splits is replaced: it need not even be complete.
    refuse_inside_data(out, data)
    manifest = read_images(data, **columns).with_columns(split="")
    refuse_inside_data(out, data, manifest.table["path"])
    cache, display = cache_directory(), ConsoleDisplay()
    try:
        images, unreadable = read_checked(
            manifest,
            max_unreadable=max_unreadable,
            max_pixels=max_pixels,
            cache=cache,
            display=display,
            group_pattern=group_pattern,
            complete=False,
        )
        if group_duplicates:
            audited = audit(
                images,
                unreadable=unreadable,
                near_duplicates=near_duplicates,
                max_pixels=max_pixels,
                cache=cache,
                decisions=[] if decisions is None else [decisions],
                progress=display.stage,
            )
            images = audited.grouped()
            for number in audited.grouping.oversized:
                size = len(audited.members[number])
                look = command_line("excite", "audit", Path(data))
                display.note(f"group {number} contains {size} of {len(images)} images: review it with {look}")
    finally:
        display.close()
    check_classes(images, where=data)
    return images
