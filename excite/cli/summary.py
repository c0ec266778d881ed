"""excite summary"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from excite.cli.output import plain_table, print_json, print_table
from excite.errors import BAD_USAGE, ExciteError

if TYPE_CHECKING:
    from torch import nn


def add_to(app: typer.Typer) -> None:
    app.command(
        "summary",
        epilog="Examples: [bold]excite summary densenet121 --attention se[/bold] · "
        "[bold]excite summary resnet50[/bold] · [bold]excite summary runs/photos[/bold]",
    )(summary)


def summary(
    model: Annotated[str, typer.Argument(help="Network by name, or a run folder.", show_default=False)],
    attention: Annotated[str, typer.Option("--attention", help="Channel attention, or none.")] = "none",
    placement: Annotated[
        str, typer.Option("--placement", help="final, layer, block, transition; join with +.")
    ] = "final",
    classes: Annotated[int | None, typer.Option("--classes", help="Number of classes.", min=1)] = None,
    image_size: Annotated[int | None, typer.Option("--image-size", help="Side of the input.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """A network layer by layer: output shapes, parameters and multiply-adds for one image."""
    from excite.models.catalogue import create_model
    from excite.models.summary import summarise

    if (Path(model) / "config.yaml").is_file():
        from excite.runs.classifier import Classifier

        if attention != "none" or classes is not None or image_size is not None:
            raise ExciteError("a run has its own options", where=model, exit_code=BAD_USAGE)
        classifier = Classifier.load(model)
        net, size = classifier.model, classifier.preprocessing.image_size
    else:
        options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
        if attention != "none":
            options |= {"attention": attention, "placement": placement}
        net = create_model(model, image_size=image_size, **options)
        size = image_size or _usual_size(net)
    result = summarise(net, size)
    if as_json:
        print_json({"model": model, "image_size": size, **result.to_dict()})
        return
    table = plain_table(
        "layer", "type", "output", "parameters", "multiply-adds", right=("parameters", "multiply-adds")
    )
    for row in result.rows:
        shape = " x ".join(map(str, row.output_shape or ()))
        table.add_row(row.name, row.type, shape, f"{row.parameters:,}", f"{row.multiply_adds:,}")
    print_table(table)
    typer.echo(
        f"\n{model}, one image of {size} x {size}: {result.parameters:,} parameters, "
        f"{result.multiply_adds / 1e9:.3f} G multiply-adds"
    )


def _usual_size(net: nn.Module) -> int:
    """The input that a network was made for: as its library says, 32 pixels for a CIFAR stem, or 224."""
    declared = getattr(net, "pretrained_cfg", None) or {}
    if "input_size" in declared:
        return declared["input_size"][-1]
    small = getattr(net, "min_image_size", 224) < 16
    return 32 if small else 224
