"""excite summary"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from excite.cli.options import ImportOption, takes_config
from excite.cli.output import loading, plain_table, print_json, print_line, print_table
from excite.cli.published_table import print_published
from excite.errors import BAD_USAGE, ExciteError
from excite.plugins.loading import load_modules
from excite.system.progress import ConsoleDisplay

if TYPE_CHECKING:
    from torch import nn

    from excite.models.summary import Summary


# Fields of TrainConfig that say where attention goes.
PLACING = ("placement", "where", "stages", "identity")


def add_to(app: typer.Typer) -> None:
    app.command(
        "summary",
        epilog="Examples: [bold]excite summary densenet121 --attention se[/bold] · "
        "[bold]excite summary resnet50 --attention eca --stages 4,5[/bold] · "
        "[bold]excite summary runs/photos[/bold] · [bold]excite summary --table[/bold]",
    )(takes_config(only=[*PLACING, "image_size"])(summary))


def summary(
    *,
    model: Annotated[
        str | None, typer.Argument(help="Name of a network, or a run folder.", show_default=False)
    ] = None,
    attention: Annotated[str, typer.Option("--attention", help="Channel attention, or none.")] = "none",
    reduction: Annotated[
        int | None, typer.Option("--reduction", help="Reduction ratio of the attention.", min=1)
    ] = None,
    classes: Annotated[int | None, typer.Option("--classes", help="Number of classes.", min=1)] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Compare the networks of the papers with their published results.")
    ] = False,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also list every layer with its output shape.")
    ] = False,
    imports: ImportOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    given: dict[str, Any],
) -> None:
    """Show the parameters and multiply-adds of a network for one image: in total, and by stage.

    A stage has all modules between two reductions of the resolution.
    """
    load_modules(imports or ())
    display = ConsoleDisplay()
    placing = {name: given[name] for name in PLACING if name in given}
    if reduction is not None:
        placing["reduction"] = reduction
    if placing and attention == "none":
        raise ExciteError("needs --attention", where=f"--{next(iter(placing))}", exit_code=BAD_USAGE)
    fixed = attention != "none" or classes is not None or "image_size" in given
    if table:
        if fixed or model is not None:
            raise ExciteError(
                "cannot be combined with options other than --json", where="--table", exit_code=BAD_USAGE
            )
        print_published(as_json)
    elif model is None:
        hint = "or use --table for the networks of the papers"
        raise ExciteError("name a network or a run", hint=hint, exit_code=BAD_USAGE)
    elif (Path(model) / "config.yaml").is_file():
        if fixed:
            raise ExciteError("the options of a run cannot be changed", where=model, exit_code=BAD_USAGE)
        with loading(display):
            from excite.models.summary import summarize
            from excite.runs.classifier import Classifier

            classifier = Classifier.load(model)
            summarized = summarize(classifier.model, classifier.preprocessing.image_size)
        _print(model, summarized, layers=layers, as_json=as_json)
    else:
        with loading(display):
            from excite.models.summary import summarize

            network = _build(model, attention, placing, classes, given.get("image_size"))
            summarized = summarize(network, given.get("image_size") or _usual_size(network))
        _print(model, summarized, layers=layers, as_json=as_json)


def _build(
    name: str, attention: str, placing: dict[str, Any], classes: int | None, image_size: int | None
) -> nn.Module:
    from excite.config.overrides import module_paths, stage_numbers
    from excite.models.catalog import create_model

    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if attention != "none":
        options |= {"attention": attention, "placement": placing.get("placement")}
        if "where" in placing:
            options["where"] = module_paths(placing["where"])
        if "stages" in placing:
            options["stages"] = stage_numbers(placing["stages"])
        own = {key: placing[key] for key in ("reduction", "identity") if key in placing}
        options["attention_options"] = own
    return create_model(name, image_size=image_size, **options)


def _print(name: str, result: Summary, *, layers: bool, as_json: bool) -> None:
    if as_json:
        print_json({"model": name, **result.to_dict()})
        return
    print_line(f"{name}, one image of {result.image_size} x {result.image_size} pixels")
    print_line(f"{result.parameters:,} parameters, {result.multiply_adds / 1e9:.3f} G multiply-adds")
    print_line()
    numbers = ("layers", "parameters", "multiply-adds")
    table = plain_table("output", *numbers, "first module", right=numbers, names=("first module",))
    for stage in result.stages:
        counts = (stage.layers, stage.parameters, stage.multiply_adds)
        table.add_row(stage.output, *(f"{count:,}" for count in counts), stage.first)
    print_table(table)
    print_line()
    if not layers:
        print_line("--layers lists every layer")
        return
    table = plain_table("layer", "type", "output", *numbers[1:], right=numbers[1:], names=("layer",))
    for row in result.rows:
        shape = " x ".join(map(str, row.output_shape or ()))
        table.add_row(row.name, row.type, shape, f"{row.parameters:,}", f"{row.multiply_adds:,}")
    print_table(table)


def _usual_size(net: nn.Module) -> int:
    """The declared input size of a network; otherwise 32 pixels for a CIFAR stem, and 224 for others."""
    declared = getattr(net, "pretrained_cfg", None) or {}
    if "input_size" in declared:
        return int(declared["input_size"][-1])
    small = getattr(net, "min_image_size", 224) < 16
    return 32 if small else 224
