"""Printed results of a study: arms, comparisons, and their evidence."""

from __future__ import annotations

from typing import Any

from excite.cli.output import plain_table, print_json, print_line, print_sentence, print_table


def train_and_print(study: Any, resources: Any, pool: Any, as_json: bool) -> None:
    """Train the remaining cells of a study, and print its results."""
    from excite.study.results.analysis import analyze
    from excite.study.running.live_table import ConsoleLiveTable
    from excite.study.running.orchestrate import continue_study

    continue_study(study, resources, pool, ConsoleLiveTable())
    analysis = analyze(study)
    if as_json:
        print_document(study, analysis)
        return
    print_analysis(analysis)
    print_line(f"study     {study.folder}")
    print_line(f"report    {study.folder / 'study.html'}")


def print_document(study: Any, analysis: Any) -> None:
    """Print the results of a study as one JSON document."""
    from excite.study.results.report import arm_rows, comparison_rows, verdicts
    from excite.study.running.status_tables import look_rows

    document = {"study": str(study.folder), "done": analysis.done, "planned": analysis.planned}
    document |= {"metric": analysis.metric, "arms": arm_rows(analysis)}
    document |= {"comparisons": comparison_rows(analysis), "verdicts": verdicts(analysis)}
    print_json({**document, "looks": look_rows(analysis.looks)})


def print_analysis(analysis: Any) -> None:
    """Print the arms, the verdicts, and what the study can detect."""
    from excite.reporting.tables import NAMES
    from excite.study.results import sentences
    from excite.study.results.report import arm_rows, verdicts

    metric = NAMES[analysis.metric][0]
    table = plain_table("arm", "cells", metric, "95 % interval", "parameters", "multiply-adds")
    for row in arm_rows(analysis):
        shown = ("name", "cells", "value", "interval", "parameters", "multiply_adds")
        table.add_row(*(row[column] for column in shown))
    print_table(table)
    for sentence in [*verdicts(analysis), *sentences.reliance(analysis)]:
        print_sentence(sentence)
    for one in analysis.comparisons:
        if power := sentences.power_text(one, analysis.metric):
            print_sentence(f"{one.second} and {one.first}: {power}.")
    print_sentence(sentences.looks_text(analysis))
