"""Options that several commands of excite study share."""

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
        help="NAME:MODEL, optionally with +ATTENTION and ,option=value, such as "
        "se8:densenet121+se,reduction=8.",
        metavar="ARM",
        rich_help_panel=STUDY,
        show_default=False,
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Database of the cells, such as postgresql://host/studies. "
        "[dim]\\[default: a file in the folder][/dim]",
        rich_help_panel=STUDY,
        show_default=False,
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        help="Number of cells to train at the same time. "
        "[dim]\\[default: as many as cores and memory allow][/dim]",
        rich_help_panel=STUDY,
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
        help="Seconds without a heartbeat after which another worker takes over a cell.",
        rich_help_panel=STUDY,
    ),
]
MetricOption = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="Metric to compare. [dim]\\[default: balanced_accuracy][/dim]",
        rich_help_panel=STUDY,
    ),
]
BaselineOption = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        help="Arm that all others are compared with. [dim]\\[default: as in the plan, or the first][/dim]",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.", rich_help_panel=STUDY)]
