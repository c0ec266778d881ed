"""A network that has diverged becomes no classifier. (A whole run: tests/pipeline/test_experiment.py.)"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.errors import ExciteError
from excite.pipeline.finalize import Outputs, finalize
from excite.runs.run import Run


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_outputs_that_are_not_finite_are_an_error_and_nothing_is_written(
    tmp_path: Path, value: float, split: str
) -> None:
    table = pd.DataFrame({"path": ["/1.png", "/2.png"], "label": ["a", "b"], "split": "val"})
    manifest = Manifest(table, ("a", "b"))
    logits = {"validation": np.zeros((2, 2)), "test": np.zeros((1, 2))}
    logits[split][0, 1] = value
    context: Any = SimpleNamespace(run=Run(tmp_path), config=TrainConfig(), manifest=manifest)
    message = r"training diverged .try a lower --lr, or --precision float32"
    with pytest.raises(ExciteError, match=message) as raised:
        finalize(context, Outputs(manifest, logits["validation"], logits["test"]))
    assert raised.value.where == str(tmp_path)
    assert list(tmp_path.iterdir()) == []
