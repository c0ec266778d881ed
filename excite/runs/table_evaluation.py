"""Evaluate a table of predictions from any source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from excite.config.task import MULTILABEL
from excite.config.train_config import TrainConfig
from excite.data.csv_table import read_table
from excite.data.paths import absolute_path, is_same_path, refuse_inside_data
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.evaluate import EvaluationSpec, choose_point, evaluate_predictions
from excite.evaluation.evaluate_labels import LabelSpec
from excite.evaluation.label_predictions import task_of_table
from excite.evaluation.prediction_sets import PredictionSets
from excite.evaluation.predictions import read_predictions
from excite.runs.derive import changed_evaluation_spec
from excite.runs.evaluate import Evaluation
from excite.runs.label_evaluation import changed_label_spec, evaluate_label_table
from excite.runs.run import refuse_run_folder


def evaluate_table(
    file: Path,
    spec: EvaluationSpec | LabelSpec,
    *,
    validation: Path | None = None,
    group_column: str = "group",
    out: Path | None = None,
) -> Evaluation:
    """Evaluate a table of predictions: path, label, and a column ``p:CLASS`` for each class.

    Of several labels, ``read_label_predictions`` describes the table.

    Args:
        file: the table, a CSV.
        spec: as ``table_spec`` gives it: positive class, thresholds, and subgroups.
        validation: a table of validation images, which choose the thresholds.
        group_column: the column with groups.
        out: the folder that will be written; a run folder, one among the images, and one where the result
            would overwrite a table that is read, is refused.

    Raises:
        ExciteError: as ``read_predictions`` and ``evaluate_predictions``, and for a missing column.
    """
    columns = _subgroup_columns(file, spec.subgroups)
    if isinstance(spec, LabelSpec):
        labeled, metrics = evaluate_label_table(
            file, spec, columns, validation=validation, group_column=group_column
        )
        _check_out(out, file, validation, labeled.paths or ())
        return Evaluation("table", metrics, labeled)
    predictions = read_predictions(file, group=group_column)
    _check_out(out, file, validation, predictions.paths or ())
    held = None if validation is None else read_predictions(validation, group=group_column)
    if held is not None and held.classes != predictions.classes:
        raise ExciteError("has different classes than the table to evaluate", where=validation)
    sets = None if held is None else PredictionSets.fit(held)
    if spec.positive is not None and held is not None:
        point = choose_point(held, spec)
        predictions = predictions.with_rule(point.rule)
    metrics = evaluate_predictions(predictions, spec, sets=sets, validation=held, columns=columns)
    return Evaluation("table", metrics, predictions)


def table_spec(file: Path, changes: Mapping[str, Any]) -> EvaluationSpec | LabelSpec:
    """What is evaluated of a table of predictions, with these options.

    Raises:
        ExciteError: as ``changed_spec``.
    """
    if task_of_table(file) == MULTILABEL:
        return changed_label_spec(TrainConfig(), changes)
    return changed_evaluation_spec(TrainConfig(), changes)


def _subgroup_columns(file: Path, names: Sequence[str]) -> dict[str, list[object]]:
    """The columns of subgroups. Raises: ExciteError for one that the table does not have."""
    columns: dict[str, list[object]] = {}
    table = read_table(file).frame() if names else None
    for name in names:
        assert table is not None
        if name not in table:
            raise unknown_name("column", name, list(table.columns), where="--subgroups")
        columns[name] = table[name].tolist()
    return columns


def _check_out(out: Path | None, file: Path, validation: Path | None, paths: Sequence[str]) -> None:
    """Refuse a run folder, one among the images, and one where a table that is read would be overwritten."""
    if out is None:
        return
    refuse_run_folder(out)
    _refuse_same_table(out, [file] if validation is None else [file, validation])
    images = [str(absolute_path(path, file.parent)) for path in paths]
    refuse_inside_data(out, file, [image for image in images if Path(image).is_file()])


def _refuse_same_table(out: Path, tables: Sequence[Path]) -> None:
    """Raises: ExciteError if the result would overwrite a table that is read."""
    for table in tables:
        if is_same_path(str(table), str(out / "predictions.csv")):
            what = "would be overwritten by the evaluation"
            raise ExciteError(what, where=table, hint="choose another folder with --out", exit_code=BAD_USAGE)
