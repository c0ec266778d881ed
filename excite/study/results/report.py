"""The report of a study: study.html, study.md, cells.csv, and comparisons.csv."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from excite.evaluation.metrics import OVERALL
from excite.models.published_results import PUBLISHED
from excite.reporting.html import template
from excite.reporting.model_card import markdown_text
from excite.reporting.tables import NAMES
from excite.reporting.text import many
from excite.runs.prediction_table import prediction_rows
from excite.study.presets import PRESETS
from excite.study.results import sentences
from excite.study.results.analysis import Analysis, analyze
from excite.study.results.charts import cells_chart, forest_chart, learning_charts
from excite.study.results.comparisons import Comparison
from excite.study.store.leases import location_of
from excite.study.study import Study
from excite.system.files import write_text
from excite.system.text import csv_text


def write_study(
    study: Study, folder: Path | None = None, *, metric: str | None = None, baseline: str | None = None
) -> Analysis:
    """Write all four files; this is a look at the results.

    Args:
        folder: None: the folder of the study.
        metric, baseline: as for ``analyze``.
    """
    folder = folder or study.folder
    analysis = analyze(study, metric, baseline)
    write_text(folder / "study.html", study_page(study, analysis))
    write_text(folder / "study.md", study_markdown(study, analysis))
    write_text(folder / "cells.csv", _csv(cell_rows(study, analysis)))
    write_text(folder / "comparisons.csv", _csv(comparison_rows(analysis)))
    return analysis


def write_predictions(analysis: Analysis, folder: Path) -> None:
    """Write ``predictions/ARM/seed-S-fold-F.csv`` for every cell, as ``excite compare`` reads them."""
    for cell in analysis.cells:
        path = folder / "predictions" / cell.arm / f"seed-{cell.seed}-fold-{cell.fold}.csv"
        write_text(path, _csv(prediction_rows(cell.predictions)))


def study_page(study: Study, analysis: Analysis) -> str:
    """The study as one HTML file without scripts or external resources."""
    return template("study.html").render(
        **_facts(study, analysis),
        forest=forest_chart(analysis),
        learning=learning_charts(analysis),
        points=cells_chart(analysis),
    )


def study_markdown(study: Study, analysis: Analysis) -> str:
    """The same in Markdown."""
    return template("study.md", cell=markdown_text).render(**_facts(study, analysis))


def arm_rows(analysis: Analysis) -> list[dict[str, str]]:
    """Each arm with its metric and its costs."""
    metric = analysis.metric
    return [
        {
            "name": arm.name,
            "cells": f"{arm.cells} of {arm.planned}",
            "value": sentences.level(arm.estimate.value if arm.estimate else None, metric),
            "interval": sentences.interval(arm.estimate, metric),
            "deviation": "-"
            if arm.deviation is None
            else sentences.amount(arm.deviation, metric, unit=False),
            "parameters": sentences.count_text(arm.parameters),
            "multiply_adds": sentences.count_text(arm.multiply_adds),
            "memory": sentences.memory_text(arm),
        }
        for arm in analysis.arms
    ]


def paper_rows(study: Study, analysis: Analysis) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table like those of the SE paper: published errors beside those of this study."""
    preset = PRESETS.get(study.document["preset"] or "")
    errors = {arm.name: _error(analysis, arm.name) for arm in analysis.arms}
    parameters = {arm.name: f"{arm.parameters / 1e6:.3g} M" for arm in analysis.arms}
    if preset is not None and preset.reported:
        rows = []
        for name in study.arms:
            known = preset.reported.get(name)
            reported = "-" if known is None else f"{known.top1:.2f} / {known.top5:.2f}"
            size = f" ({known.parameters} M)" if known is not None and known.parameters else ""
            rows.append([name, reported + size, f"{errors[name]} ({parameters[name]})"])
        head = [preset.title, "published: ImageNet, top-1 / top-5 error in %", "this study: error in %"]
        return head, rows
    published = {row.name: row for row in PUBLISHED}
    rows = []
    first = next(iter(study.arms))
    for name, arm in study.arms.items():
        if arm["options"].get("attention", "none") == "none" and len(study.arms) > 1:
            continue
        model = str(arm["options"]["model"])
        row = published.get(model.removeprefix("excite:"))
        plain = arm["baseline"] or first
        errors_published = (
            ["-"] * 3 if row is None else [_pair(pair) for pair in (row.original, row.plain, row.se)]
        )
        rows.append(
            [model if row is None else row.title, *errors_published, plain, errors[plain], name, errors[name]]
        )
    head = [
        "network",
        "published: original",
        "published: re-implementation",
        "published: with SE",
        "this study, without",
        "error in %",
        "this study, with",
        "error in %",
    ]
    return head, rows


def cell_rows(study: Study, analysis: Analysis) -> list[dict[str, Any]]:
    """A row for every cell, finished or not."""
    done = {(cell.arm, *cell.unit): cell.result for cell in analysis.cells}
    rows = []
    for cell in study.store.cells(study.name):
        result: Mapping[str, Any] = done.get((cell.arm, cell.seed, cell.fold), {})
        figures = result.get("figures", {})
        row = {"arm": cell.arm, "seed": cell.seed, "fold": cell.fold, "state": cell.state}
        row |= {name: result.get(name, "") for name in ("n", "groups", "train")}
        row |= {name: figures.get(name, "") for name in OVERALL}
        row |= {"training_seconds": result.get("training", ""), "cell_seconds": result.get("seconds", "")}
        row |= {"memory_bytes": result.get("memory", "")}
        row |= {"run": result.get("run", ""), "worker": location_of(cell.worker), "error": cell.error}
        rows.append(row)
    return rows


def comparison_rows(analysis: Analysis) -> list[dict[str, Any]]:
    """A row for every pair of arms with finished cells."""
    rows = []
    for one in analysis.comparisons:
        swapped = one.swap_test
        row: dict[str, Any] = {"arm": one.second, "baseline": one.first, "metric": analysis.metric}
        row |= {"difference": one.estimate.value, "low": one.estimate.low, "high": one.estimate.high}
        row |= {
            "p": one.estimate.p,
            "looks": len(one.looks.pairs) if one.looks else 0,
            "sequential_p": one.sequential,
            "holm_p": one.holm,
            "significant": one.significant,
            "method": one.estimate.method,
        }
        row |= {"corrected_low": one.corrected.low, "corrected_high": one.corrected.high}
        row |= {"corrected_p": one.corrected.p}
        row |= {
            f"swap_test_{name}": None if swapped is None else getattr(swapped, name)
            for name in ("low", "high", "p")
        }
        row |= {"pairs": one.units, "seeds": one.seeds, "n": one.n, "groups": one.groups}
        possible = one.smallest is not None and math.isfinite(one.smallest)
        row |= {"more_seeds": one.more_seeds, "smallest": one.smallest if possible else None}
        rows.append({name: "" if value is None or value != value else value for name, value in row.items()})
    return rows


def verdicts(analysis: Analysis) -> list[str]:
    """A sentence for every pair."""
    count = analysis.planned_comparisons
    return [sentences.verdict(one, analysis.metric, count) for one in analysis.comparisons]


def _facts(study: Study, analysis: Analysis) -> dict[str, Any]:
    metric = analysis.metric
    head, paper = paper_rows(study, analysis)
    compared = [
        {
            "name": f"{one.second} {sentences.MINUS} {one.first}",
            "value": sentences.signed(one.estimate.value, metric),
            "methods": sentences.differences(one, metric),
            "holm": "-" if one.holm is None else sentences.p_text(one.holm),
            "significant": one.significant,
            "power": sentences.power_text(one, metric),
            "basis": f"{many(one.units, 'pair')} of cells, {_images(one)}",
        }
        for one in analysis.comparisons
    ]
    arms, classes = study.arms, len(study.document["classes"])
    return {
        "title": study.folder.resolve().name,
        "metric": NAMES[metric][0],
        "done": f"{analysis.done} of {many(analysis.planned, 'cell')}",
        "verdicts": list(
            zip(verdicts(analysis), (one.significant for one in analysis.comparisons), strict=True)
        ),
        "warnings": sentences.reliance(analysis),
        "design": sentences.design_text(analysis, study.folds),
        "looks": f"{sentences.looks_text(analysis)} {sentences.interval_text()}",
        "arms": arm_rows(analysis),
        "compared": compared,
        "paper_head": head,
        "paper": paper,
        "preset": PRESETS.get(study.document["preset"] or ""),
        "shared": _options(_shared(arms)),
        "options": [(name, _options(_own(arms, name))) for name in arms],
        "images": f"{many(len(study.images), 'image')}, {many(classes, 'class', 'classes')}",
        "folds": study.folds,
        "split": study.document["split"],
        "folder": study.folder,
    }


def _images(one: Comparison) -> str:
    groups = "" if one.groups == one.n else f" of {many(one.groups, 'group')}"
    return f"{many(one.n, 'test image')}{groups}"


def _shared(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The options shared by all arms."""
    first, *others = (arm["options"] for arm in arms.values())
    return {k: v for k, v in first.items() if all(k in one and one[k] == v for one in others)}


def _own(arms: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """The options of an arm that not all arms share."""
    shared = _shared(arms)
    return {k: v for k, v in arms[name]["options"].items() if k not in shared}


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items()) or "no further options"


def _error(analysis: Analysis, arm: str) -> str:
    values = [cell.result["figures"]["accuracy"] for cell in analysis.cells if cell.arm == arm]
    if not values:
        return "-"
    spread = f" ± {100 * float(np.std(values, ddof=1)):.2f}" if len(values) > 1 else ""
    return f"{100 * (1 - float(np.mean(values))):.2f}{spread}"


def _pair(errors: tuple[float | None, float | None]) -> str:
    top1, top5 = errors
    if top1 is None:
        return "-"
    return f"{top1:.2f}" + ("" if top5 is None else f" / {top5:.2f}")


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    rows = list(rows)
    if not rows:
        return ""
    return csv_text([list(rows[0]), *(list(row.values()) for row in rows)])
