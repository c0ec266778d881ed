"""excite shard"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from excite.cli.options import takes_config
from excite.cli.output import loading, print_json, print_line
from excite.data.paths import data_name, refuse_inside_data
from excite.data.stored_image import is_remote
from excite.errors import BAD_USAGE, ExciteError
from excite.system.progress import ConsoleDisplay
from excite.system.text import command_line

OPTIONS = ("path_column", "label_column", "group_column", "split_column")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)b?", re.IGNORECASE)
SMALLEST = 100_000  # bytes


def add_to(app: typer.Typer) -> None:
    app.command(
        "shard",
        epilog="Examples: [bold]excite shard photos --out photos-shards[/bold] · "
        "[bold]excite train photos-shards[/bold] · [bold]excite shard photos-shards --verify[/bold]",
    )(takes_config(only=OPTIONS)(shard))


def shard(
    *,
    data: Annotated[
        str,
        typer.Argument(
            help="Folder of class folders, folder with train/val/test, CSV, or 'digits'; with --verify, "
            "folder or address of shards.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for the shards. [dim]\\[default: <data>-shards][/dim]",
            show_default=False,
        ),
    ] = None,
    shard_size: Annotated[
        str,
        typer.Option(
            "--shard-size", help="Size at which the next shard begins, such as 64MB.", metavar="SIZE"
        ),
    ] = "256MB",
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all shards and compare each image with its SHA-256.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON document.")] = False,
    given: dict[str, Any],
) -> None:
    """Write a data set as tar files with an index, for large sets and object stores.

    Images are stored as they are, in WebDataset's layout. excite train, audit, split, and evaluate read the
    folder as they read the images, with the same results. An interrupted command goes on where it stopped.
    """
    display = ConsoleDisplay()
    if verify:
        if out is not None or given:
            raise ExciteError("has no effect with --verify", where="--out", exit_code=BAD_USAGE)
        _verify(data, display, as_json)
        return
    if is_remote(data):
        hint = "name a folder, and copy its shards there with a tool of the object store"
        raise ExciteError("shards are written from files", where=data, hint=hint, exit_code=BAD_USAGE)
    size = parse_size(shard_size)
    with loading(display):
        from excite.data.reading import read_manifest
        from excite.data.shards import write_shards

    folder = Path(f"{data_name(data)}-shards") if out is None else out
    refuse_inside_data(folder, data)
    with display.waiting("reading the data set"):
        manifest = read_manifest(data, complete=False, **given)
    refuse_inside_data(folder, data, manifest.table["path"])
    for left_out in manifest.left_out:
        display.note(str(left_out))
    facts = write_shards(manifest, folder, shard_bytes=size, progress=display.stage("writing shards"))
    display.close()
    written = sum(each.size for each in facts.shards)
    if as_json:
        print_json(
            {"out": str(folder), "images": facts.images, "shards": len(facts.shards), "bytes": written}
        )
        return
    print_line(f"shards    {len(facts.shards):,} with {facts.images:,} images, {written / 1e6:,.1f} MB")
    print_line(f"written   {folder}")
    print_line(f"next      {command_line('excite', 'train', folder)}")


def _verify(data: str, display: ConsoleDisplay, as_json: bool) -> None:
    with loading(display):
        from excite.data.paths import absolute_path
        from excite.data.shard_index import has_shards
        from excite.data.shard_verification import verify_shards

    folder = data.rstrip("/") if is_remote(data) else str(absolute_path(Path(data).expanduser()))
    if not is_remote(data) and not has_shards(Path(folder)):
        hint = "name a folder that excite shard has written; it is not complete before the command ends"
        raise ExciteError("has no index of shards", where=data, hint=hint, exit_code=BAD_USAGE)
    manifest, problems = verify_shards(folder, display.stage("verifying"))
    display.close()
    shards = manifest.table["shard"].nunique()
    if as_json:
        print_json(
            {"images": len(manifest), "shards": shards, "problems": [problem.message for problem in problems]}
        )
    if problems:
        more = f"; {len(problems) - 1:,} more images of {len(manifest):,}" if len(problems) > 1 else ""
        raise ExciteError(problems[0].what + more, where=problems[0].where, hint=problems[0].hint)
    if not as_json:
        print_line(f"verified  {len(manifest):,} images in {shards:,} shards")


def parse_size(text: str) -> int:
    """Bytes from a text such as 64MB.

    Raises:
        ExciteError: for a text that is no size, or a size below 100 kB.

    Example:
        >>> parse_size("1.5 GB"), parse_size("200000")
        (1500000000, 200000)
    """
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if size < SMALLEST:
        what = f"{text!r} is not a size of at least 100kB"
        raise ExciteError(what, where="--shard-size", hint="for example 256MB", exit_code=BAD_USAGE)
    return size
