"""``--track mlflow``: a run of MLflow, on this machine or on the server of ``MLFLOW_TRACKING_URI``."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from excite.errors import BAD_USAGE, ExciteError
from excite.system.files import write_text
from excite.tracking.hook import EpochEnd, Hook, StepEnd, TrainingEnd, TrainingStart
from excite.tracking.values import final_values, step_values

FILE = "mlflow.json"  # in the run folder: which run of MLflow continues
EXPERIMENT = "excite"  # unless MLFLOW_EXPERIMENT_NAME names another
# Unless the user sets them. A server that does not answer delays a training by seconds, not by the minutes of
# MLflow's own limits; and nothing is sent to anyone but the server that the user named.
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
MAX_METRICS, MAX_PARAMETERS = 1000, 100  # in one request
MAX_TEXT = 500  # characters of a parameter; some servers take no more
STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MLflow(Hook):
    """Logs the options as parameters, and records of epochs, every tenth step, and final metrics as metrics.

    Without ``MLFLOW_TRACKING_URI``, MLflow writes ``mlflow.db`` in the working directory. A resumed training
    continues the run that ``mlflow.json`` in the run folder names, and logs nothing twice.

    Raises:
        ExciteError: if MLflow is not installed.
    """

    step_interval = 10

    def __init__(self) -> None:
        if importlib.util.find_spec("mlflow") is None:
            what, hint = "MLflow is not installed", 'pip install "excite[track]"'
            raise ExciteError(what, where="--track mlflow", hint=hint, exit_code=BAD_USAGE)
        self._waiting: list[tuple[str, float, int, int]] = []  # name, value, step, and time in ms

    def on_start(self, start: TrainingStart) -> None:
        with _defaults():
            self._open(start)

    def on_step(self, step: StepEnd) -> None:
        self._add(
            step_values(step), step.step
        )  # sent with the epoch: a request per step takes longer than it

    def on_epoch(self, epoch: EpochEnd) -> None:
        self._add(epoch.record, epoch.step)
        with _defaults():
            self._send()

    def on_end(self, end: TrainingEnd) -> None:
        self._add(final_values(end.metrics), end.step)
        with _defaults():
            self._send()
            self._client.set_terminated(self._run, STATUS[end.status])

    def _open(self, start: TrainingStart) -> None:
        """The run that this training began before, or a new one."""
        from mlflow import MlflowClient

        file = start.run / FILE
        noted = json.loads(file.read_text(encoding="utf-8")) if start.resumed and file.is_file() else None
        self._client = MlflowClient(_address(noted))
        self._logged: dict[str, int] = {}  # name of a metric -> the last step that an earlier process sent
        if noted is not None:
            self._run = str(noted["run_id"])
            self._client.update_run(self._run, status="RUNNING")
            for name in ("val_loss", "step_loss"):
                history = self._client.get_metric_history(self._run, name)
                self._logged[name] = max((each.step for each in history), default=0)
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        tags = {"excite.run": str(start.run.absolute())}
        self._run = self._client.create_run(experiment, tags=tags, run_name=str(start.run)).info.run_id
        address = _without_password(self._client.tracking_uri)
        write_text(file, json.dumps({"tracking_uri": address, "run_id": self._run}, indent=2) + "\n")
        self._send_parameters(start.options)

    def _send_parameters(self, options: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        texts = {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in options.items()
        }
        parameters = [Param(name, text[:MAX_TEXT]) for name, text in texts.items()]
        for first in range(0, len(parameters), MAX_PARAMETERS):
            self._client.log_batch(self._run, params=parameters[first : first + MAX_PARAMETERS])

    def _add(self, values: Mapping[str, float], step: int) -> None:
        """Keep values for the next request, unless an earlier process has sent them."""
        leading = "step_loss" if "step_loss" in values else "val_loss"
        if leading in values and step <= self._logged.get(leading, 0):
            return
        now = round(time.time() * 1000)
        self._waiting += [(name, float(value), step, now) for name, value in values.items()]

    def _send(self) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(name, value, now, step) for name, value, step, now in self._waiting]
        for first in range(0, len(metrics), MAX_METRICS):
            self._client.log_batch(self._run, metrics=metrics[first : first + MAX_METRICS])
        self._waiting.clear()


def _address(noted: Mapping[str, Any] | None) -> str | None:
    """The server: that of the environment, which knows its password, or the one that the run began on."""
    if noted is None or os.environ.get("MLFLOW_TRACKING_URI"):
        return None
    return str(noted["tracking_uri"])


def _without_password(address: str) -> str:
    """The address of a server without user and password, which no file of a run holds.

    >>> _without_password("https://anna:secret@tracking.example.org/ml")
    'https://tracking.example.org/ml'
    >>> _without_password("sqlite:////home/anna/mlflow.db")
    'sqlite:////home/anna/mlflow.db'
    """
    parts = urlsplit(address)
    if "@" not in parts.netloc:
        return address
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def _defaults() -> Iterator[None]:
    """Set MLflow's variables that the user has not set, in the block."""
    unset = {name: value for name, value in DEFAULTS.items() if name not in os.environ}
    os.environ.update(unset)
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)
