"""Options that several verbs of excite study share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

STUDY = "Study"

FolderArgument = Annotated[Path, typer.Argument(help="Folder of the study.", show_default=False)]
ArmOption = Annotated[
    list[str] | None,
    typer.Option(
        "--arm",
        help="NAME:MODEL, with +ATTENTION and ,option=value: se8:densenet121+se,reduction=8.",
        metavar="ARM",
        rich_help_panel=STUDY,
        show_default=False,
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Database of the cells, such as postgresql://host/studies; default: a file in the folder.",
        rich_help_panel=STUDY,
        show_default=False,
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs", min=1, help="Cells at once; default: as fit cores and memory.", rich_help_panel=STUDY
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray", help="Train on the Ray cluster at this address.", metavar="ADDRESS", rich_help_panel=STUDY
    ),
]
LeaseOption = Annotated[
    float,
    typer.Option(
        "--lease",
        min=0.5,
        help="Seconds after which a cell is taken from a worker that is not heard of.",
        rich_help_panel=STUDY,
    ),
]
MetricOption = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="Figure that the verdict is about; default: balanced_accuracy.",
        rich_help_panel=STUDY,
    ),
]
BaselineOption = Annotated[
    str | None, typer.Option("--baseline", help="Arm to compare all others with.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.", rich_help_panel=STUDY)]
