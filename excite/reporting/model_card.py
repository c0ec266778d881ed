"""model_card.md: the model card of a run (Mitchell et al. 2019), for readers and model hubs."""

from __future__ import annotations

import re
from typing import Any

import yaml

from excite.evaluation.metrics import ORDINAL, OVERALL, PER_CLASS
from excite.reporting.html import template
from excite.reporting.label_candidates import candidates_text
from excite.reporting.majority_text import majority_text
from excite.reporting.provenance import audit_rows, command, setup_rows
from excite.reporting.run_facts import RunFacts
from excite.reporting.sentences import disjointness, headline, intended_use, limitations, warnings
from excite.reporting.tables import NAMES, Cell, Notes, cell, fold_table, metric_text, worst_first
from excite.system.text import document_text

MOST_CLASSES = 50
"""Maximum number of classes in a table of the card; report.html lists all."""

_LIST_MARK = re.compile(r"^(\d*)([-+.)=])(?=\s|=*$|-*$)")
_MARKUP = re.compile(r"([\\`*_\[\]<>#|~&$])")


def model_card_of(facts: RunFacts) -> str:
    """The card as Markdown with YAML front matter; names are escaped."""
    test = facts.test
    point = test.get("operating_point")
    folds = fold_table(facts.folds, facts.metrics.get("corrected", {})) if facts.folds else None
    overall, classes, points = Notes(), Notes(), Notes()
    return template("model_card.md", md=markdown_text, cell=cell_text, code=code_block).render(
        front=yaml.safe_dump(_front(facts), sort_keys=False, allow_unicode=True),
        title=facts.name,
        verdict=headline(facts),
        majority=majority_text(facts.by_class),
        disjoint=disjointness(facts).text,
        warnings=[warning.text for warning in warnings(facts)],
        use=intended_use(facts),
        limits=limitations(facts),
        setup=setup_rows(facts),
        counts=_short_counts(facts.counts),
        audit=audit_rows(facts.audit) if facts.audit else [],
        overall=[
            (NAMES[name][0], cell(name, test[name], overall)) for name in OVERALL + ORDINAL if name in test
        ],
        overall_notes=overall,
        class_columns=[NAMES[name][0] for name in PER_CLASS],
        classes=[
            (label, row["n"], row["groups"], [cell(name, row[name], classes) for name in PER_CLASS])
            for label, row in worst_first(facts.by_class["classes"], MOST_CLASSES)
        ],
        class_notes=classes,
        class_count=len(facts.by_class["classes"]),
        folds=folds,
        size=f"{test['n']:,} images of {test['groups']:,} groups",
        calibration=test.get("calibration"),
        ece=metric_text(test["ece"]),
        point=point,
        point_rows=[
            (NAMES[name][0], cell(name, point["test"][name], points))
            for name in ("sensitivity", "specificity", "ppv", "npv", "accuracy")
        ]
        if point
        else [],
        point_notes=points,
        command=command(facts.config),
        ensemble="ensemble" in facts.metrics,
        labels=candidates_text(facts) if "label_noise" in facts.metrics else "",
    )


def _short_counts(
    counts: tuple[list[str], list[tuple[str, list[str]]]],
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The rows, or, if there are too many classes, only the last one, which counts all."""
    parts, rows = counts
    return parts, rows if len(rows) <= MOST_CLASSES + 1 else [(f"all {len(rows) - 1:,} classes", rows[-1][1])]


def markdown_text(text: object) -> str:
    """Text escaped for Markdown, on one line: for a heading, a list or a cell of a table."""
    marked = _MARKUP.sub(r"\\\1", " ".join(document_text(str(text)).split()))
    marked = marked.replace("\\<", "&lt;").replace("\\>", "&gt;")
    return _LIST_MARK.sub(r"\1\\\2", marked)


def cell_text(cell: Cell) -> str:
    """A metric in a cell of a table: value, interval, and the mark of its footnote."""
    text = f"{cell.value} ({cell.interval})" if cell.interval else cell.value
    return markdown_text(text) + (f"<sup>{cell.mark}</sup>" if cell.mark else "")


def code_block(text: str) -> str:
    """Text as a code block; its fence is longer than any fence in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _front(facts: RunFacts) -> dict[str, Any]:
    """The front matter that model hubs read: task and metrics."""
    test = facts.test
    names = ("accuracy", "balanced_accuracy", "auroc", "log_loss")
    metrics = [
        {"type": name, "value": round(test[name]["value"], 6), "name": f"{NAMES[name][0]} (test)"}
        for name in names
        if name in test and test[name]["value"] is not None
    ]
    dataset = {
        "type": "imagefolder",
        "name": str(facts.config.data),
        "split": "out of fold" if facts.folds else "test",
    }
    return {
        "library_name": "excite",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "excite", str(facts.config.model)],
        "metrics": [metric["type"] for metric in metrics],
        "model-index": [
            {
                "name": facts.name,
                "results": [
                    {"task": {"type": "image-classification"}, "dataset": dataset, "metrics": metrics}
                ],
            }
        ],
    }
