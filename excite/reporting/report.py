"""report.html and model_card.md of a training or a cross-validation."""

from __future__ import annotations

from excite.reporting.calibration_tables import calibration_table, set_table
from excite.reporting.chart_with_data import Chart
from excite.reporting.html import template
from excite.reporting.label_candidates import candidates_view
from excite.reporting.majority_text import majority_text
from excite.reporting.mistakes import confusion_view, worst_mistakes
from excite.reporting.model_card import model_card_of
from excite.reporting.provenance import audit_rows, command, setup_rows, typed_command
from excite.reporting.robustness_table import build_robustness_table
from excite.reporting.run_charts import (
    benefit_chart,
    coverage_chart,
    learning_charts,
    ranking_charts,
    reliability_chart,
)
from excite.reporting.run_facts import RunFacts
from excite.reporting.sentences import (
    disjointness,
    headline,
    intended_use,
    limitations,
    photo_accuracy,
    pooled_auroc_text,
    validation_note,
    warnings,
)
from excite.reporting.tables import (
    class_table,
    fold_table,
    overall_table,
    point_table,
    subgroup_table,
    tiles,
)
from excite.runs.derive import intensity_range_of
from excite.runs.run import Run
from excite.system.files import write_text
from excite.system.text import command_line


def write_report(run: Run, *, thumbnails: bool = False) -> None:
    """Write ``report.html`` and ``model_card.md`` into the folder of a finished run.

    Args:
        thumbnails: embed thumbnails of errors and label candidates; consider the people's privacy.

    Raises:
        ExciteError: if the run is not finished, one of its files is damaged, or a file cannot be written.
    """
    facts = RunFacts.of(run)
    write_text(run.path / "report.html", _page(facts, thumbnails))
    write_text(run.path / "model_card.md", model_card_of(facts))


def report_page(run: Run, *, thumbnails: bool = False) -> str:
    """The report as HTML: one file without scripts or external resources.

    Names of files, classes and groups are escaped.
    """
    return _page(RunFacts.of(run), thumbnails)


def model_card(run: Run) -> str:
    """The model card as Markdown with YAML front matter."""
    return model_card_of(RunFacts.of(run))


def _page(facts: RunFacts, thumbnails: bool) -> str:
    test = facts.test
    point = test.get("operating_point")
    parts, counts = facts.counts
    return template("report.html").render(
        title=facts.name,
        finished=facts.finished,
        verdict=headline(facts),
        majority=majority_text(facts.by_class),
        photos=photo_accuracy(facts),
        robustness=build_robustness_table(facts.robustness) if "rows" in facts.robustness else None,
        disjoint=disjointness(facts),
        warnings=warnings(facts),
        tiles=tiles(test),
        use=intended_use(facts),
        limits=limitations(facts),
        overall=overall_table(test, facts.val),
        classes=class_table(facts.by_class["classes"], facts.by_class.get("low_group_count") or ()),
        validation=validation_note(facts),
        repeats=test.get("repeats", 1),
        pooled_auroc=pooled_auroc_text(facts),
        folds=fold_table(facts.folds, facts.metrics.get("corrected", {})) if facts.folds else None,
        confusion=confusion_view(facts.by_class),
        mistakes=worst_mistakes(
            facts.predictions,
            thumbnails=thumbnails,
            max_pixels=facts.config.max_pixels,
            intensity_range=intensity_range_of(facts.config),
        ),
        labels=candidates_view(facts, thumbnails=thumbnails),
        learning=[]
        if facts.folds or facts.history is None
        else learning_charts(facts.history, facts.resolved.monitor),
        ranking=ranking_charts(facts.predictions, facts.by_class["classes"], facts.positive),
        reliability=[reliability_chart(*each) for each in facts.calibration],
        calibration=test.get("calibration"),
        class_calibration=calibration_table(test),
        ece=test["ece"],
        point=point_table(point["chosen"], point["test"]) if point else None,
        chosen=point,
        benefit=_benefit(facts),
        coverage=coverage_chart(facts.predictions),
        abstention=test.get("abstention"),
        sets=set_table(test.get("prediction_sets") or ()),
        subgroups=[subgroup_table(found) for found in test.get("subgroups") or ()],
        setup=setup_rows(facts),
        parts=parts,
        counts=counts,
        audit=audit_rows(facts.audit) if facts.audit else None,
        command=command(facts.config),
        typed=typed_command(facts.environment),
        from_config=command_line(
            "excite", "train", "--config", facts.run.path / "config.yaml", "--out", "NEW"
        ),
        interval=test.get("interval", {}),
    )


def _benefit(facts: RunFacts) -> Chart | None:
    """The decision curve; None without a positive class, or without positive or negative test images."""
    if facts.positive_class is None:
        return None
    positive = facts.predictions.targets == facts.predictions.class_index(facts.positive_class)
    return (
        None
        if positive.all() or not positive.any()
        else benefit_chart(facts.predictions, facts.positive_class)
    )
