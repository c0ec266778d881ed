"""excite compare"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from excite.cli.metrics_output import with_interval
from excite.cli.output import loading, plain_table, print_json, print_line, print_sentence, print_table
from excite.errors import BAD_USAGE, ExciteError
from excite.system.progress import ConsoleDisplay

FRACTIONS = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "auroc",
    "average_precision",
    "ece",
    "ece_equal_mass",
    "off_by_one",
)


class ComparisonCommand(TyperCommand):
    """A command whose option ``--with`` takes all values up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words: list[str] = []
        inside = False
        for number, word in enumerate(args):
            following = args[number + 1 : number + 2]
            if word == "--with" and following and not following[0].startswith("-"):
                inside = True  # without a value, the parser says what is missing
                continue
            inside = inside and not word.startswith("-")
            words += ["--with", word] if inside else [word]
        return super().parse_args(ctx, words)


def add_to(app: typer.Typer) -> None:
    app.command(
        "compare",
        cls=ComparisonCommand,
        epilog="Examples: [bold]excite compare runs/plain runs/se[/bold] · "
        "[bold]excite compare runs/* --metrics accuracy,mcc[/bold] · "
        "[bold]excite compare plain-0 plain-1 plain-2 --with se-0 se-1 se-2[/bold]",
    )(compare)


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders or tables of predictions (CSV). The first is the baseline."),
    ],
    second: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            help="Runs of a second configuration; the others are then runs of the first. Each side needs two "
            "or more runs, which differ only in the seed; all must have the same test images.",
            metavar="RUN...",
            show_default=False,
        ),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", help="Metrics, separated by commas.", show_default=False)
    ] = None,
    ordinal: Annotated[
        str | None,
        typer.Option(
            "--ordinal",
            help="The classes from the lowest to the highest, separated by commas: compare errors in ranks, "
            "too. [dim]\\[default: the order of the training, if it is the same in all runs][/dim]",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare runs: their metrics, and the difference of each from the first.

    Differences are paired: they are computed on the test images that both runs have, and intervals and
    p-values swap their predictions within groups. They are about these networks: other seeds would give other
    differences. With --with, the means of two configurations are compared, for other seeds and other images.
    For losses, such as log loss, lower is better. Of a repeated cross-validation, the first repeat is used.
    """
    display = ConsoleDisplay()
    with loading(display):
        from excite.evaluation.ordinal import parse_order
        from excite.runs.compare import compare_runs
        from excite.runs.compare_configurations import compare_configurations
        from excite.runs.compare_labels import has_labels
        from excite.runs.derive import column_names

    if any(map(has_labels, (*runs, *(second or ())))):
        _compare_labels(runs, second, metrics, ordinal, display, as_json=as_json)
        return
    chosen, order = column_names(metrics) or None, parse_order(ordinal)
    if second:
        with display.waiting("comparing"):
            configurations = compare_configurations(runs, second, chosen, ordinal=order)
        if as_json:
            print_json(configurations)
        else:
            _print_configurations(configurations)
        return
    with display.waiting("comparing"):
        comparison = compare_runs(runs, chosen, ordinal=order)
    if as_json:
        print_json(comparison)
        return
    shown = [name for name, value in comparison["runs"][0].items() if isinstance(value, dict)]
    numbers = ("images", "groups", *shown)
    table = plain_table("run", *numbers, right=numbers, names=("run",))
    for row in comparison["runs"]:
        cells = (_figure(name, row[name]) for name in shown)
        name = row["run"] + (f" (repeat 1 of {row['repeats']})" if row["repeats"] > 1 else "")
        table.add_row(name, str(row["n"]), str(row["groups"]), *cells)
    print_table(table)
    for pair in comparison["differences"]:
        print_line()
        print_sentence(f"{pair['second']} minus {pair['first']}")
        _print_difference(pair)


def _compare_labels(
    runs: list[Path],
    second: list[Path] | None,
    metrics: str | None,
    ordinal: str | None,
    display: ConsoleDisplay,
    *,
    as_json: bool,
) -> None:
    from excite.runs.compare_labels import AVERAGES, compare_label_runs

    for option, value in (("--with", second), ("--metrics", metrics), ("--ordinal", ordinal)):
        if value:
            what = "is for one class per image; these runs have several labels"
            raise ExciteError(what, where=option, hint="omit it", exit_code=BAD_USAGE)
    with display.waiting("comparing"):
        comparison = compare_label_runs(runs)
    if as_json:
        print_json(comparison)
        return
    numbers = ("images", "groups", *AVERAGES)
    table = plain_table("run", *numbers, right=numbers, names=("run",))
    for row in comparison["runs"]:
        table.add_row(row["run"], str(row["n"]), str(row["groups"]), *(_figure("", row[m]) for m in AVERAGES))
    print_table(table)
    print_sentence("means over labels")
    for pair in comparison["differences"]:
        print_line()
        print_sentence(f"{pair['second']} minus {pair['first']}")
        if "reason" in pair:
            print_sentence(f"not compared: {pair['reason']}")
            continue
        _print_metrics(pair["metrics"])
        print_sentence(f"over {pair['n']:,} values of labels of {pair['groups']:,} groups")
        _print_metrics(
            {f"{name}: AUROC": row["auroc"] | {"metric": "auroc"} for name, row in pair["labels"].items()}
        )
        print_sentence(
            "Each p-value is for its label alone: of twenty labels without a difference, one is below 0.05. "
            "They compare these two networks, not their configurations."
        )


def _print_difference(pair: dict[str, Any]) -> None:
    if "reason" in pair:
        print_sentence(f"not compared: {pair['reason']}")
        return
    if pair["identical"]:
        print_sentence(f"identical: every probability is equal on {pair['n']} shared images")
        _print_scope(pair)
        return
    _print_metrics(pair["metrics"])
    test = pair["mcnemar"]
    behind = f"{pair['n']} shared images" + (
        f" of {pair['groups']} groups" if pair["groups"] != pair["n"] else ""
    )
    caution = "" if test["independent"] else "; prefer the interval: images of a group are not independent"
    print_sentence(
        f"{behind}; correct only in the first: {test['first_only']}, only in the second: "
        f"{test['second_only']} "
        f"(McNemar exact p {_p(test['p'], '= ')}{caution})"
    )
    area = pair.get("delong", {})
    if area.get("p") is not None:
        print_sentence(f"DeLong: AUROC {100 * area['value']:+.2f} points, p {_p(area['p'], '= ')}")
    _print_scope(pair)


def _print_metrics(metrics: dict[str, Any]) -> None:
    table = plain_table(
        "metric", "difference", "95 % interval", "p", right=("difference", "95 % interval", "p")
    )
    for name, one in metrics.items():
        if one["value"] is None:
            table.add_row(name, "-", "-", "")
            continue
        scale, unit = (100, " points") if {name, one.get("metric")} & set(FRACTIONS) else (1, "")
        digits = 2 if unit else 3
        value = f"{scale * one['value']:+.{digits}f}{unit}"
        bounds = "-"
        if one["low"] is not None:
            bounds = f"{scale * one['low']:+.{digits}f} to {scale * one['high']:+.{digits}f}"
        table.add_row(name, value, bounds, "" if one["p"] is None else _p(one["p"]))
    print_table(table)
    for reason in dict.fromkeys(one["reason"] for one in metrics.values() if one["reason"]):
        named = ", ".join(name for name, one in metrics.items() if one["reason"] == reason)
        print_sentence(f"no interval (-) of {named}: {reason}")
    if warnings := dict.fromkeys(one["warning"] for one in metrics.values() if one.get("warning")):
        print_sentence(f"rough: {'; '.join(warnings)}")


def _print_scope(pair: dict[str, Any]) -> None:
    """What the difference of two runs is about, and how to compare their configurations."""
    differing = pair["differing_options"]
    if differing is None:
        print_sentence("The p-values compare these predictions, not the configurations behind them.")
        return
    if not differing:
        text = "" if pair["identical"] else ": the difference is between two trainings of it"
        print_sentence(f"The runs have the same configuration{text}.")
        return
    print_sentence(
        "The p-values compare these two networks, not their configurations: another seed gives other "
        "networks. The configurations differ in"
    )
    for name, (one, two) in differing.items():
        print_sentence(f"  {name}: {one} in the first, {two} in the second")
    if pair["study"] is None:
        print_sentence("To compare configurations, train them on one data set, as excite study run does.")
        return
    print_sentence(
        "To compare the configurations, train each with several seeds and all other options as they are here:"
    )
    print_line(f"  {pair['study']}")


def _print_configurations(comparison: dict[str, Any]) -> None:
    first, second = len(comparison["first"]), len(comparison["second"])
    print_sentence(f"mean of {second} runs ({comparison['second'][0]}, ...) minus")
    print_sentence(f"mean of {first} runs ({comparison['first'][0]}, ...)")
    _print_metrics(comparison["metrics"])
    behind = f"{comparison['n']} shared images"
    if comparison["groups"] != comparison["n"]:
        behind += f" of {comparison['groups']} groups"
    print_sentence(f"{behind}; intervals and p-values are for other seeds and other images like these")
    if first != second:
        print_sentence(
            f"warning: {first} and {second} runs; the p-values are valid only if both configurations "
            "vary equally between seeds; train equally many runs of each"
        )
    for name, one in comparison["metrics"].items():
        if one["seed_variance"] is None or one["seed_variance"] + one["group_variance"] == 0:
            continue
        share = one["seed_variance"] / (one["seed_variance"] + one["group_variance"])
        print_sentence(
            f"  {name}: {100 * share:.0f} % of the variance is between seeds, the rest between images"
        )
    if comparison["differing_options"] is None:
        print_sentence(
            "Tables record no options: whether those of one side differ only in the seed was not checked."
        )
    for name, (one, two) in (comparison["differing_options"] or {}).items():
        print_sentence(f"  {name}: {one} in the first, {two} in the second")


def _p(value: float, equals: str = "") -> str:
    return "< 0.001" if value < 0.001 else f"{equals}{value:.3f}"


def _figure(name: str, figure: dict[str, Any]) -> str:
    if name in FRACTIONS:
        return with_interval(figure)
    if figure["value"] is None:
        return "-"
    bounds = "" if figure.get("low") is None else f" ({figure['low']:.3f}-{figure['high']:.3f})"
    return f"{figure['value']:.3f}{bounds}"
