"""excite split"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from excite.cli.options import VerboseOption, takes_config
from excite.cli.output import loading, plain_table, print_json, print_line, print_table
from excite.config.train_config import TABLE_OPTIONS, TrainConfig
from excite.data.paths import is_same_path
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.system.progress import ConsoleDisplay
from excite.system.text import command_line

if TYPE_CHECKING:
    from excite.data.extension import Extension
    from excite.data.manifest import Manifest

METHODS = ("auto", "random", "grouped")
MOST_CLASSES = 30  # rows of a table of classes
MOST_CONFLICTS = 10  # lines about images that were left out
COLUMNS = tuple(name for name in TABLE_OPTIONS if name != "split_column")
# Fields of TrainConfig that are also options of this command.
OPTIONS = (
    "val_fraction",
    "test_fraction",
    "group_pattern",
    "near_duplicates",
    "decisions",
    *COLUMNS,
    "max_unreadable",
    "max_pixels",
    "seed",
    "folds",
    "repeats",
)
HELP = {
    "seed": "Seed of the random draw.",
    "folds": "Add columns fold_0, fold_1, ...: the fold in which each image is held out.",
    "repeats": "Number of these columns, each with new folds.",
}


def add_to(app: typer.Typer) -> None:
    app.command(
        "split",
        epilog="Examples: [bold]excite split photos --out manifest.csv[/bold] · "
        "[bold]excite split photos --out folds.csv --folds 5 --repeats 3[/bold] · "
        "[bold]excite split photos --extend manifest.csv --out extended.csv[/bold] · "
        "[bold]excite train manifest.csv[/bold]",
    )(takes_config(only=OPTIONS, help=HELP)(split))


def split(
    *,
    data: Annotated[
        str,
        typer.Argument(
            help="Folder of class folders, zip or tar of one, CSV, or 'digits'.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="CSV file to write.")] = Path("manifest.csv"),
    method: Annotated[
        str,
        typer.Option(
            "--split",
            help="grouped: keep groups together; random: assign each image independently; auto: grouped if "
            "there are groups.",
            metavar="METHOD",
        ),
    ] = "auto",
    extend: Annotated[
        Path | None,
        typer.Option(
            "--extend",
            help="Manifest of this data before images were added: old images keep their split and folds, "
            "new ones go to the split of their group, or are allocated.",
            show_default=False,
        ),
    ] = None,
    group_duplicates: Annotated[
        bool,
        typer.Option(
            "--group-duplicates/--no-group-duplicates",
            help="Find near-duplicates and keep them together.",
        ),
    ] = True,
    verbose: VerboseOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON document.")] = False,
    given: dict[str, Any],
) -> None:
    """Assign each image to training, validation, or test, and write a table.

    Classes keep their proportions, and groups stay together: those of the data, and near-duplicates.
    The table has the columns path, label, group, and split; excite train reads it.
    """
    chosen = TrainConfig().replace(**given)
    _check_options(method, group_duplicates, chosen)
    earlier = None if extend is None else _earlier(extend, out, chosen)
    images = _grouped(data, out, group_duplicates, chosen, earlier, ConsoleDisplay(verbose=verbose))
    from excite.data.extension import extend_split
    from excite.data.split import repeated_folds, split_manifest

    if method == "auto":
        method = "grouped" if images.table["group"].any() else "random"
    k, repeats = chosen.folds or 0, chosen.repeats
    fractions = (1 - chosen.val_fraction - chosen.test_fraction, chosen.val_fraction, chosen.test_fraction)
    extension = None
    if earlier is not None:
        extension = extend_split(
            images, earlier, grouped=method == "grouped", seed=chosen.seed, fractions=fractions
        )
        table = extension.manifest
    else:
        table = split_manifest(images, method=method, seed=chosen.seed, fractions=fractions)
    if k:
        numbers = repeated_folds(images, k, repeats, seed=chosen.seed, method=method)
        table = table.with_columns(**{f"fold_{r}": numbers[:, r] for r in range(repeats)})
    table.save(out)
    _report(table, out, method, (k, repeats if k else 0), extension, as_json=as_json)


def _report(
    table: Manifest,
    out: Path,
    method: str,
    folds: tuple[int, int],
    extension: Extension | None,
    *,
    as_json: bool,
) -> None:
    from excite.audit.leaks import count_near_duplicates

    k, repeats = folds
    in_train = count_near_duplicates(table.table["split"].tolist(), table.group_codes().tolist())
    if as_json:
        counts = {name: table.part(name).counts() for name in table.splits}
        document = {"manifest": str(out), "method": method, "images": len(table)}
        document |= {"groups": table.group_count(), "duplicates_in_train": in_train}
        document |= {"splits": counts, "folds": k, "repeats": repeats}
        if extension is not None:
            conflicts = [{"path": one.path, "examples": one.examples} for one in extension.conflicts]
            document |= {"retained": extension.retained, "added": extension.added}
            document |= {"vanished": list(extension.vanished), "conflicts": conflicts}
        print_json(document)
        return
    _print_counts(table)
    if extension is not None:
        _print_extension(extension)
    if in_train:
        tested = len(table.part("test"))
        print_line(
            f"warning   {in_train} of {tested} test images have a near-duplicate in the training set; "
            "--split grouped keeps groups together"
        )
    folds_text = f", {repeats} x {k} folds" if k else ""
    print_line(f"written   {out}   ({method}, {table.group_count()} groups{folds_text})")
    print_line(f"next      {command_line('excite', 'train', out)}")


def _print_extension(extension: Extension) -> None:
    print_line(f"extended  {extension.retained} images keep their split, {extension.added} new")
    if lost := extension.vanished:
        counted = "1 image" if len(lost) == 1 else f"{len(lost)} images"
        print_line(f"missing   {counted} of the earlier manifest, for example {lost[0]}")
    for conflict in extension.conflicts[:MOST_CONFLICTS]:
        print_line(f"left out  {conflict}")
    if (further := len(extension.conflicts) - MOST_CONFLICTS) > 0:
        print_line(f"left out  {further} more images; --json lists them")


def _earlier(extend: Path, out: Path, chosen: TrainConfig) -> Manifest:
    """The manifest to extend."""
    from excite.data.reading import read_manifest

    if chosen.folds is not None:
        what = "--folds has no effect with --extend, which extends the folds of the manifest"
        raise ExciteError(what, exit_code=BAD_USAGE)
    if is_same_path(str(out), str(extend)):
        hint = "choose another file with --out"
        raise ExciteError(
            "the manifest to extend would be overwritten", where=out, hint=hint, exit_code=BAD_USAGE
        )
    return read_manifest(extend)


def _check_options(method: str, group_duplicates: bool, chosen: TrainConfig) -> None:
    if method not in METHODS:
        raise unknown_name("split method", method, METHODS, where="--split")
    if chosen.repeats != 1 and chosen.folds is None:
        raise ExciteError("--repeats needs --folds", hint="add --folds 5", exit_code=BAD_USAGE)
    if not group_duplicates and (chosen.near_duplicates is not None or chosen.decisions is not None):
        what = "--near-duplicates and --decisions have no effect with --no-group-duplicates"
        raise ExciteError(what, exit_code=BAD_USAGE)


def _print_counts(manifest: Manifest) -> None:
    """One row for each split, and one for each class if there are few."""
    columns = ("images", "groups", "images per class")
    table = plain_table("split", *columns, right=columns)
    counts = {name: manifest.part(name).counts() for name in manifest.splits}
    for name in manifest.splits:
        part = manifest.part(name)
        low, high = min(counts[name].values()), max(counts[name].values())
        span = str(low) if low == high else f"{low} to {high}"
        table.add_row(name, str(len(part)), str(part.group_count()), span)
    print_table(table)
    print_line()
    if len(manifest.classes) > MOST_CLASSES:
        print_line(f"{len(manifest.classes)} classes; --json prints the counts of each")
        return
    table = plain_table("class", *manifest.splits, right=manifest.splits)
    for label in manifest.classes:
        table.add_row(label, *(str(counts[name][label]) for name in manifest.splits))
    print_table(table)


def _grouped(
    data: str,
    out: Path,
    group_duplicates: bool,
    chosen: TrainConfig,
    earlier: Manifest | None,
    display: ConsoleDisplay,
) -> Manifest:
    """The readable images with their groups; oversized groups are named."""
    with loading(display):
        from excite.audit.grouped_images import GroupingOptions, grouped_images
        from excite.data.manifest import check_classes

    options = GroupingOptions(
        {name: getattr(chosen, name) for name in COLUMNS},
        chosen.group_pattern,
        group_duplicates,
        chosen.near_duplicates,
        [] if chosen.decisions is None else [Path(chosen.decisions)],
        chosen.max_unreadable,
        chosen.max_pixels,
    )
    try:
        images, audited = grouped_images(data, options, display, out=out, earlier=earlier)
        if audited is not None:
            review = command_line("excite", "audit", Path(data))
            for number in audited.grouping.oversized:
                size = len(audited.members[number])
                display.note(f"group {number} contains {size} of {len(images)} images; review it: {review}")
    finally:
        display.close()
    check_classes(images, where=data)
    return images
