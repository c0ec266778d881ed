"""excite sites"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from excite.cli.options import ImportOption
from excite.cli.output import loading, print_json, print_line
from excite.plugins.loading import load_modules
from excite.system.progress import ConsoleDisplay


def add_to(app: typer.Typer) -> None:
    app.command(
        "sites",
        epilog="Examples: [bold]excite sites resnet50[/bold] · "
        "[bold]excite sites efficientnet_b0 --stages 4,5 --placement post[/bold] · "
        "[bold]excite sites vit_tiny_patch16_224 --where 'patch_embed.*'[/bold]",
    )(sites)


def sites(
    model: Annotated[str, typer.Argument(help="Name of a network.", show_default=False)],
    placement: Annotated[
        str,
        typer.Option("--placement", help="Position in the block: standard, pre, post, identity, or inner."),
    ] = "standard",
    where: Annotated[
        str | None,
        typer.Option("--where", help="Only these modules: paths with * and **, separated by commas."),
    ] = None,
    stages: Annotated[str | None, typer.Option("--stages", help="Only these stages, such as 4,5.")] = None,
    imports: ImportOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List where attention can be inserted into a network, for --where, --stages, and --placement."""
    load_modules(imports or ())
    with loading(ConsoleDisplay()):
        from excite.config.overrides import module_paths, stage_numbers
        from excite.insertion.sites import sites as find_sites
        from excite.models.catalog import create_model

    table = find_sites(
        create_model(model),
        where=None if where is None else module_paths(where),
        stages=None if stages is None else stage_numbers(stages),
        placement=placement,
    )
    if as_json:
        print_json([asdict(site) for site in table])
        return
    for line in str(table).split("\n"):
        print_line(line)
    print_line()
    print_line(
        f"{model}: {len(table)} sites, {sum(not site.has_attention for site in table)} of them without "
        "attention"
    )
