"""report.html, model_card.md, and figures of a run whose images may have several labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from excite.evaluation.label_measure import AVERAGED, OF_LABEL
from excite.evaluation.label_predictions import LabelPredictions
from excite.reporting.html import common_folder, template, thumbnail
from excite.reporting.label_facts import (
    LabelFacts,
    confident_errors,
    label_headline,
    label_limits,
    label_use,
    threshold_text,
)
from excite.reporting.model_card import cell_text, code_block, markdown_text
from excite.reporting.png_figures import learning_curves, save
from excite.reporting.provenance import audit_rows, command, setup_rows, typed_command
from excite.reporting.robustness_table import build_robustness_table
from excite.reporting.run_charts import label_ranking_charts, learning_charts, reliability_chart
from excite.reporting.sentences import validation_note
from excite.reporting.tables import METHODS, NAMES, Notes, cell, interval_text, number_text
from excite.runs.derive import intensity_range_of
from excite.runs.run import Run
from excite.system.files import write_text
from excite.system.text import command_line

WORST = 24  # errors on the page
LABEL_NAMES = {
    "subset_accuracy": ("subset accuracy", "fraction of images whose labels are all predicted correctly"),
    "hamming_loss": ("Hamming loss", "fraction of values that are predicted wrongly; 0 is perfect"),
}
TILES = ("average_precision", "f1", "log_loss")  # macro averages beside the AUROC


def write_label_report(run: Run, *, thumbnails: bool = False) -> None:
    """Write ``report.html``, ``model_card.md``, and the learning curves of a finished run.

    Args:
        thumbnails: embed thumbnails of errors; consider the people's privacy.

    Raises:
        ExciteError: if the run is not finished, one of its files is damaged, or a file cannot be written.
    """
    facts = LabelFacts.of(run)
    if run.has_epochs:
        save(learning_curves(run.history, run.config.monitor), run.figures / "learning_curves.png")
    write_text(run.path / "report.html", label_page(facts, thumbnails))
    write_text(run.path / "model_card.md", label_card(facts))


def label_page(facts: LabelFacts, thumbnails: bool = False) -> str:
    """The report as HTML: one file without scripts or external resources; names are escaped."""
    test, config, parts = facts.test, facts.config, facts.counts
    return template("label_report.html").render(
        title=facts.name,
        finished=facts.finished,
        verdict=label_headline(test),
        statements=facts.statements,
        tiles=label_tiles(test),
        learning=[] if facts.history is None else learning_charts(facts.history, facts.resolved.monitor),
        robustness=build_robustness_table(facts.robustness) if "rows" in facts.robustness else None,
        mistakes=mistakes_view(facts.labeled, thumbnails, config.max_pixels, intensity_range_of(config)),
        overall=overall_labels(test, facts.val),
        validation=validation_note(facts) if facts.val is not None else "",
        interval=test.get("interval", {}),
        classes=label_table(test),
        thresholds=threshold_text(test["thresholds"]),
        ranking=label_ranking_charts(facts.labeled, test["labels"]),
        calibration=test["calibration"],
        calibrated=calibration_rows(test),
        reliability=[
            reliability_chart(f"reliability-{when}", f"Reliability {when} calibration", bins)
            for when in ("before", "after")
            if (bins := test["calibration"][when]["reliability"])
        ],
        subgroups=[label_subgroups(found) for found in test.get("subgroups") or ()],
        use=label_use(facts.labeled.classes),
        limits=label_limits(facts),
        setup=setup_rows(facts),
        parts=parts[0],
        counts=parts[1],
        audit=audit_rows(facts.audit) if facts.audit else None,
        command=command(config),
        typed=typed_command(facts.environment),
        from_config=command_line(
            "excite", "train", "--config", facts.run.path / "config.yaml", "--out", "NEW"
        ),
    )


def label_card(facts: LabelFacts) -> str:
    """The model card as Markdown with YAML front matter; names are escaped."""
    test, overall, labels = facts.test, Notes(), Notes()
    macro = test["macro"]
    front = {
        "library_name": "excite",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "multi-label", "excite", str(facts.config.model)],
        "metrics": [name for name in ("auroc", *TILES) if macro[name]["value"] is not None],
    }
    return template("label_card.md", md=markdown_text, cell=cell_text, code=code_block).render(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        title=facts.name,
        verdict=label_headline(test),
        statements=[each.text for each in facts.statements],
        use=label_use(facts.labeled.classes),
        limits=label_limits(facts),
        setup=setup_rows(facts),
        counts=facts.counts,
        size=f"{test['n']:,} images of {test['groups']:,} groups",
        macro=[(NAMES[name][0], cell(name, macro[name], overall)) for name in AVERAGED],
        overall_notes=overall,
        columns=[NAMES[name][0] for name in OF_LABEL],
        labels=[
            (
                name,
                row["present"],
                row["n"],
                f"{row['threshold']:.3f}",
                [cell(k, row[k], labels) for k in OF_LABEL],
            )
            for name, row in test["labels"].items()
            if row["n"]
        ],
        label_notes=labels,
        thresholds=threshold_text(test["thresholds"]),
        audit=audit_rows(facts.audit) if facts.audit else [],
        command=command(facts.config),
    )


def label_tiles(test: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, interval) for the top of a page."""
    rows = [("mean " + NAMES[name][0], test["macro"][name], name) for name in TILES]
    rows += [(LABEL_NAMES[name][0], test[name], name) for name in LABEL_NAMES]
    return [(title, number_text(key, each["value"]), interval_text(key, each)) for title, each, key in rows]


def overall_labels(test: Mapping[str, Any], val: Mapping[str, Any] | None) -> dict[str, Any]:
    """Macro and micro averages, and metrics of whole images, for a table."""
    notes = Notes()

    def row(name: str, title: str, description: str, *keys: str) -> dict[str, Any]:
        figure, other = test, val
        for key in keys:
            figure, other = figure[key], None if other is None else other[key]
        return {
            "name": title,
            "description": description,
            "test": cell(name, figure, notes),
            "val": None if other is None else cell(name, other, notes),
            "method": METHODS.get(figure.get("method", ""), ""),
        }

    rows = [row(n, f"{NAMES[n][0]}, mean", NAMES[n][1], "macro", n) for n in AVERAGED]
    rows += [row(n, f"{NAMES[n][0]}, micro", "over every value of every label", "micro", n) for n in AVERAGED]
    rows += [row(name, *texts, name) for name, texts in LABEL_NAMES.items()]
    return {"rows": rows, "notes": notes.lines, "val": val is not None}


def label_table(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of each label, for a table."""
    notes = Notes()
    rows = [
        {
            "name": name,
            "present": row["present"],
            "n": row["n"],
            "groups": row.get("present_groups", 0),
            "few": name in metrics["low_group_count"],
            "threshold": f"{row['threshold']:.3f}" if row["n"] else "",
            "cells": [cell(key, row[key], notes) for key in OF_LABEL] if row["n"] else [],
        }
        for name, row in metrics["labels"].items()
    ]
    return {"columns": [NAMES[name][0] for name in OF_LABEL], "rows": rows, "notes": notes.lines}


def calibration_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Predicted and observed frequency, and calibration error, of each label."""
    notes = Notes()
    fitted = metrics.get("calibration", {})
    return [
        {
            "name": name,
            "predicted": number_text("sensitivity", row["calibration"]["predicted"]["value"]),
            "observed": cell("sensitivity", row["calibration"]["observed"], notes),
            "ece": cell("ece", row["calibration"]["ece"], notes),
            "temperature": f"{fitted['temperature'][name]:.3g}" if fitted else "",
            "intercept": f"{fitted['intercept'][name]:+.2f}" if fitted else "",
        }
        for name, row in metrics["labels"].items()
        if row["n"]
    ]


def label_subgroups(subgroup: Mapping[str, Any]) -> dict[str, Any]:
    """The table of one column of subgroups: macro averages."""
    notes = Notes()
    known = {"value", "n", "groups", "small"}
    names = [name for name in subgroup["rows"][0] if name not in known]
    rows = [
        {
            "name": row["value"],
            "n": row["n"],
            "groups": row["groups"],
            "few": row["small"],
            "cells": [cell(name, row[name], notes) for name in names],
        }
        for row in subgroup["rows"]
    ]
    columns = [f"mean {NAMES[name][0]}" for name in names]
    return {"column": subgroup["column"], "columns": columns, "rows": rows, "notes": notes.lines}


def mistakes_view(
    predictions: LabelPredictions, thumbnails: bool, max_pixels: int, intensity_range: Any
) -> dict[str, Any]:
    """The most confident errors, with thumbnails if asked."""
    rows = confident_errors(predictions, WORST)
    root = common_folder(predictions.paths or ()) if predictions.paths else ""
    for row in rows:
        source = thumbnail(row["path"], max_pixels, intensity_range) if thumbnails else ""
        row |= {
            "path": row["path"].removeprefix(root),
            "score": f"{100 * row['score']:.1f} %",
            "source": source,
            "small": source.startswith("data:image/png"),
        }
    wrong = int((predictions.known & ~predictions.correct).sum())
    return {"rows": rows, "wrong": wrong, "root": root, "pictures": thumbnails}
