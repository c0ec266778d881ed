"""excite summary"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from excite.cli.output import plain_table, print_json, print_line, print_table
from excite.errors import BAD_USAGE, ExciteError

if TYPE_CHECKING:
    from torch import nn

    from excite.models.published_results import MeasuredCost


def add_to(app: typer.Typer) -> None:
    app.command(
        "summary",
        epilog="Examples: [bold]excite summary densenet121 --attention se[/bold] · "
        "[bold]excite summary resnet50 --attention eca --stages 4,5[/bold] · "
        "[bold]excite summary runs/photos[/bold] · [bold]excite summary --table[/bold]",
    )(summary)


def summary(
    model: Annotated[
        str | None, typer.Argument(help="Network by name, or a run folder.", show_default=False)
    ] = None,
    attention: Annotated[str, typer.Option("--attention", help="Channel attention, or none.")] = "none",
    placement: Annotated[
        str | None,
        typer.Option(
            "--placement",
            help="In excite's DenseNets final, layer, block, transition, joined with +; in other networks "
            "standard, pre, post, identity, inner.",
        ),
    ] = None,
    where: Annotated[
        str | None, typer.Option("--where", help="Modules to put it in: paths with * and **, with commas.")
    ] = None,
    stages: Annotated[str | None, typer.Option("--stages", help="Stages to put it in, such as 4,5.")] = None,
    reduction: Annotated[
        int | None, typer.Option("--reduction", help="Reduction of the attention.", min=1)
    ] = None,
    identity: Annotated[
        bool | None,
        typer.Option(
            "--identity",
            help="Attention that starts with every gate at one; refused where its kind cannot.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[int | None, typer.Option("--classes", help="Number of classes.", min=1)] = None,
    image_size: Annotated[int | None, typer.Option("--image-size", help="Side of the input.", min=1)] = None,
    table: Annotated[
        bool, typer.Option("--table", help="All networks of the papers, beside the published figures.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """A network layer by layer: output shapes, parameters and multiply-adds for one image."""
    placing: dict[str, Any] = {"placement": placement, "where": where, "stages": stages}
    placing |= {"reduction": reduction, "identity": identity}
    given = [f"--{name}" for name, value in placing.items() if value is not None]
    if attention == "none" and given:
        raise ExciteError("there is no attention to place", where=given[0], exit_code=BAD_USAGE)
    if table:
        if model is not None or attention != "none" or classes is not None or image_size is not None:
            raise ExciteError("takes no other option but --json", where="--table", exit_code=BAD_USAGE)
        _print_published(as_json)
        return
    if model is None:
        raise ExciteError(
            "name a network or a run", hint="or --table for all of the papers'", exit_code=BAD_USAGE
        )
    from excite.models.summary import summarize

    if (Path(model) / "config.yaml").is_file():
        if attention != "none" or classes is not None or image_size is not None:
            raise ExciteError("a run has its own options", where=model, exit_code=BAD_USAGE)
        from excite.runs.classifier import Classifier

        classifier = Classifier.load(model)
        net, size = classifier.model, classifier.preprocessing.image_size
    else:
        net = _build(model, attention, placing, classes, image_size)
        size = image_size or _usual_size(net)
    result = summarize(net, size)
    if as_json:
        print_json({"model": model, "image_size": size, **result.to_dict()})
        return
    layers = plain_table(
        "layer", "type", "output", "parameters", "multiply-adds", right=("parameters", "multiply-adds")
    )
    for row in result.rows:
        shape = " x ".join(map(str, row.output_shape or ()))
        layers.add_row(row.name, row.type, shape, f"{row.parameters:,}", f"{row.multiply_adds:,}")
    print_table(layers)
    print_line()
    print_line(
        f"{model}, one image of {size} x {size}: {result.parameters:,} parameters, "
        f"{result.multiply_adds / 1e9:.3f} G multiply-adds"
    )


def _build(
    name: str, attention: str, placing: dict[str, Any], classes: int | None, image_size: int | None
) -> nn.Module:
    from excite.config.overrides import module_paths, stage_numbers
    from excite.models.catalog import create_model

    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if attention != "none":
        options |= {"attention": attention, "placement": placing["placement"]}
        if placing["where"] is not None:
            options["where"] = module_paths(placing["where"])
        if placing["stages"] is not None:
            options["stages"] = stage_numbers(placing["stages"])
        own = {name: placing[name] for name in ("reduction", "identity") if placing[name] is not None}
        options["attention_options"] = own
    return create_model(name, image_size=image_size, **options)


def _usual_size(net: nn.Module) -> int:
    """The input that a network was made for: as its library says, 32 pixels for a CIFAR stem, or 224."""
    declared = getattr(net, "pretrained_cfg", None) or {}
    if "input_size" in declared:
        return declared["input_size"][-1]
    small = getattr(net, "min_image_size", 224) < 16
    return 32 if small else 224


def _print_published(as_json: bool) -> None:
    from dataclasses import asdict

    from excite.insertion.insert import insert
    from excite.models.published_results import measure_all

    rows = measure_all(insert)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    columns = ("parameters", "paper", "with SE", "paper", "G multiply-adds", "paper", "with SE", "paper")
    table = plain_table(
        "network", *columns, "top-1 error", "with SE", right=(*columns, "top-1 error", "with SE")
    )
    for row in rows:
        table.add_row(row.published.title, *_figures(row))
    print_table(table)
    notes = [f"{row.published.title}: {row.published.difference}" for row in rows if row.published.difference]
    print_line()
    print_line(
        "One image, at the papers' sizes; 'paper' and the errors in % are as published, in "
        "excite/models/published_results.py with their sources."
    )
    for note in notes:
        print_line(note)


def _figures(row: MeasuredCost) -> list[str]:
    """Ours and the paper's side by side; a dash where there is none."""
    paper = row.published
    plain_error, se_error = paper.plain[0] or paper.original[0], paper.se[0]

    def count(value: int | None) -> str:
        return "-" if value is None else f"{value:,}"

    def giga(value: int | None) -> str:
        return "-" if value is None else f"{value / 1e9:.3f}"

    def said(value: float | None, unit: str = "") -> str:
        return "-" if value is None else f"{value:g}{unit}"

    return [
        *(count(row.parameters), said(paper.parameters, " M")),
        *(count(row.se_parameters), said(paper.se_parameters, " M")),
        *(giga(row.multiply_adds), said(paper.gmacs)),
        *(giga(row.se_multiply_adds), said(paper.se_gmacs)),
        *(said(plain_error), said(se_error)),
    ]
