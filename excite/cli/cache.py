"""excite cache"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from excite.cli.output import loading, plain_table, print_json, print_line, print_table
from excite.errors import BAD_USAGE, ExciteError
from excite.system.progress import ConsoleDisplay
from excite.system.text import command_line

MIB = 2**20  # bytes


def add_to(app: typer.Typer) -> None:
    verbs = typer.Typer(
        help="List what was computed from images and kept, or remove it.",
        no_args_is_help=True,
        rich_markup_mode="rich",
    )
    verbs.command("list", epilog="Example: [bold]excite cache list[/bold]")(list_cache)
    verbs.command(
        "empty",
        epilog="Examples: [bold]excite cache empty photos[/bold] · [bold]excite cache empty --all[/bold]",
    )(empty)
    verbs.command("prune", epilog="Example: [bold]excite cache prune --days 30 --max-gb 10[/bold]")(prune)
    app.add_typer(verbs, name="cache")


def list_cache(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False
) -> None:
    """List the data sets of which the cache holds decoded images, features, or results of checks."""
    with loading(ConsoleDisplay()):
        from excite.audit.cached_data import cached_data
        from excite.system.cache import cache_path

    cache = cache_path()
    rows = cached_data(cache)
    if as_json:
        print_json({"cache": str(cache), "rows": [asdict(row) for row in rows]})
        return
    print_line(f"cache     {cache}")
    if not rows:
        print_line("it is empty")
        return
    table = plain_table("of", "holds", "files", "MiB", right=("files", "MiB"), names=("of",))
    for row in rows:
        whose = row.data if row.data else "-"
        gone = " (gone)" if row.exists is False else ""
        table.add_row(whose + gone, row.content, f"{row.files:,}", f"{row.size / MIB:.1f}")
    print_table(table)
    lost = next((row.data for row in rows if row.exists is False), None)
    if lost is not None:
        command = command_line("excite", "cache", "empty", Path(lost))
        print_line("decoded images outlive their files; this command removes them:")
        print_line(f"next      {command}")


def empty(
    *,
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder or archive of a data set, which may be gone.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove everything.")] = False,
) -> None:
    """Remove what was computed from the images of a data set. It is computed again when it is needed."""
    from excite.audit.cached_data import empty_cache
    from excite.data.paths import absolute_path
    from excite.system.cache import cache_path

    if (data is None) != everything:
        what = "needs the folder or archive of a data set, or --all"
        raise ExciteError(what, where="excite cache empty", hint="excite cache list", exit_code=BAD_USAGE)
    count, size = empty_cache(cache_path(), None if data is None else absolute_path(data))
    if data is not None and not count:
        raise ExciteError("the cache holds nothing of it", where=data, hint="excite cache list")
    print_line(f"removed   {count} files and fingerprints, {size / MIB:.1f} MiB")


def prune(
    *,
    days: Annotated[
        float | None,
        typer.Option("--days", help="Remove what was last used more than this many days ago.", min=0),
    ] = None,
    max_gb: Annotated[
        float | None,
        typer.Option("--max-gb", help="Remove the least recently used until this many GB are left.", min=0),
    ] = None,
) -> None:
    """Remove decoded images and other results that have not been used for long.

    They are computed again when they are needed. Compiled kernels, fingerprints, and converted weights stay.
    """
    from excite.audit.cached_data import prune_cache
    from excite.system.cache import cache_path

    if days is None and max_gb is None:
        raise ExciteError("needs --days or --max-gb", where="excite cache prune", exit_code=BAD_USAGE)
    count, size = prune_cache(
        cache_path(),
        older_than=None if days is None else days * 24 * 3600,
        max_size=None if max_gb is None else round(max_gb * 1e9),
    )
    print_line(f"removed   {count} files, {size / MIB:.1f} MiB")
