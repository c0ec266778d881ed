"""Runs of MLflow, read from its database with SQL: parameters, curves, final metrics, also after a kill."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import yaml

from excite.runs.run import Run
from tests.conftest import SMALL, Command
from tests.tracking.trackers import EPOCHS, train_killed_and_resumed

for library in ("mlflow", "sqlalchemy", "alembic"):
    pytest.importorskip(library, reason=f"{library} is not installed")


@pytest.mark.slow
def test_a_killed_and_resumed_training_is_one_run_with_each_value_once(
    excite_command: Command, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    train_killed_and_resumed(excite_command, pictures, tmp_path, "mlflow", alone=True)
    run = Run(tmp_path / "run")
    noted = json.loads((run.path / "mlflow.json").read_text())
    database = tmp_path / "work" / "mlflow.db"  # in the working directory
    assert noted["tracking_uri"] == f"sqlite:///{database}"
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select run_uuid, status, name from runs").fetchall()
        parameters = dict(connection.execute("select key, value from params").fetchall())
        values = connection.execute("select key, step, value from metrics order by step").fetchall()
    connection.close()
    assert rows == [(noted["run_id"], "FINISHED", str(run.path))]
    assert parameters["model"] == SMALL["model"]
    assert json.loads(parameters["model_options"]) == SMALL["model_options"]
    assert parameters.keys() == run.config.to_dict().keys()
    for name in ("train_loss", "val_loss", "val_accuracy", "lr"):
        found = [(step, value) for key, step, value in values if key == name]
        expected = list(zip((5, 10, 15, 20), run.history[name], strict=True))
        assert found == [(step, pytest.approx(value)) for step, value in expected], name
    assert [step for key, step, _ in values if key == "step_loss"] == [10, 20]
    accuracy = run.metrics["test"]["accuracy"]
    final = {key: value for key, _, value in values if key.startswith("test/accuracy")}
    assert final == {"test/accuracy": accuracy["value"]} | {
        f"test/accuracy_{bound}": accuracy[bound] for bound in ("low", "high") if accuracy[bound] is not None
    }
    assert len(run.history) == EPOCHS


@pytest.mark.slow
def test_a_server_that_is_gone_is_one_warning(
    excite_command: Command, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the discard port: nobody listens
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "options.yaml").write_text(yaml.safe_dump({**SMALL, "epochs": 1, "track": ["mlflow"]}))
    out = tmp_path / "run"
    done = excite_command("train", pictures, "--config", tmp_path / "options.yaml", "--out", out, alone=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "warning" in line]
    assert len(lines) == 1
    assert lines[0].startswith("excite: warning: the hook MLflow failed in on_start and is left out")
    assert Run(out).finished
