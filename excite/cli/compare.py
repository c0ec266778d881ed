"""excite compare"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from excite.cli.metrics_output import with_interval
from excite.cli.output import plain_table, print_json, print_line, print_table

FRACTIONS = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "auroc",
    "average_precision",
    "ece",
    "ece_equal_mass",
)


def add_to(app: typer.Typer) -> None:
    app.command(
        "compare",
        epilog="Examples: [bold]excite compare runs/plain runs/se[/bold] · "
        "[bold]excite compare runs/* --metrics accuracy,mcc[/bold]",
    )(compare)


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders or tables of predictions (CSV). The first is the baseline."),
    ],
    metrics: Annotated[
        str | None, typer.Option("--metrics", help="Metrics, separated by commas.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare runs: their metrics, and the difference of each from the first.

    Differences are paired: they are computed on the test images that both runs have, and intervals and
    p-values swap their predictions within groups. For losses, such as log loss, lower is better. Of a
    repeated cross-validation, the first repeat is used.
    """
    from excite.runs.compare import METRICS, compare_runs
    from excite.runs.derive import column_names

    chosen = column_names(metrics) or METRICS
    found = compare_runs(runs, chosen)
    if as_json:
        print_json(found)
        return
    table = plain_table("run", "images", "groups", *chosen, right=("images", "groups", *chosen))
    for row in found["runs"]:
        cells = (_figure(name, row[name]) for name in chosen)
        name = row["run"] + (f" (repeat 1 of {row['repeats']})" if row["repeats"] > 1 else "")
        table.add_row(name, str(row["n"]), str(row["groups"]), *cells)
    print_table(table)
    for pair in found["differences"]:
        print_line()
        print_line(f"{pair['second']} minus {pair['first']}")
        _print_difference(pair)


def _print_difference(pair: dict[str, Any]) -> None:
    if "reason" in pair:
        print_line(f"not compared: {pair['reason']}")
        return
    table = plain_table(
        "metric", "difference", "95 % interval", "p", right=("difference", "95 % interval", "p")
    )
    for name, one in pair["metrics"].items():
        if one["value"] is None:
            table.add_row(name, "-", one["reason"] or "not defined", "")
            continue
        scale, unit = (100, " points") if name in FRACTIONS else (1, "")
        value = f"{scale * one['value']:+.{2 if unit else 3}f}{unit}"
        bounds = one["reason"] or ""
        if one["low"] is not None:
            digits = 2 if unit else 3
            bounds = f"{scale * one['low']:+.{digits}f} to {scale * one['high']:+.{digits}f}"
        table.add_row(name, value, bounds, "" if one["p"] is None else _p(one["p"]))
    print_table(table)
    test = pair["mcnemar"]
    behind = f"{pair['n']} shared images" + (
        f" of {pair['groups']} groups" if pair["groups"] != pair["n"] else ""
    )
    caution = "" if test["independent"] else "; prefer the interval: images of a group are not independent"
    print_line(
        f"{behind}; correct only in the first: {test['first_only']}, only in the second: "
        f"{test['second_only']} "
        f"(McNemar exact p {_p(test['p'], '= ')}{caution})"
    )
    area = pair.get("delong", {})
    if area.get("p") is not None:
        print_line(f"DeLong: AUROC {100 * area['value']:+.2f} points, p {_p(area['p'], '= ')}")


def _p(value: float, equals: str = "") -> str:
    return "< 0.001" if value < 0.001 else f"{equals}{value:.3f}"


def _figure(name: str, figure: dict[str, Any]) -> str:
    if name in FRACTIONS:
        return with_interval(figure)
    if figure["value"] is None:
        return "-"
    bounds = "" if figure.get("low") is None else f" ({figure['low']:.3f}-{figure['high']:.3f})"
    return f"{figure['value']:.3f}{bounds}"
