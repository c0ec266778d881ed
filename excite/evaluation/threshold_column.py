"""The column of thresholds in a table of predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.decision_rule import DecisionRule
from excite.evaluation.prediction_columns import THRESHOLD


def read_rule(table: pd.DataFrame) -> DecisionRule | None:
    """The rule of a table with a column ``threshold:CLASS``; None without one.

    Raises:
        ExciteError: for several such columns, and a value that is not a number.
    """
    columns = [name for name in table.columns if name.startswith(THRESHOLD)]
    if not columns:
        return None
    if len(columns) > 1:
        what = f"has several columns of thresholds: {', '.join(columns)}"
        raise ExciteError(what, hint="keep the one of the positive class", exit_code=BAD_USAGE)
    thresholds = pd.to_numeric(table[columns[0]], errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(np.isnan(thresholds))
    if len(wrong):
        what = f"row {wrong[0] + 1}: {columns[0]} is {table[columns[0]].iloc[wrong[0]]!r}, not a number"
        raise ExciteError(what, exit_code=BAD_USAGE)
    return DecisionRule(columns[0].removeprefix(THRESHOLD), thresholds)
