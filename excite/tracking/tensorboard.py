"""``--track tensorboard``: curves in the run folder, for ``tensorboard --logdir runs``."""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from excite.errors import BAD_USAGE, ExciteError
from excite.tracking.hook import EpochEnd, Hook, StepEnd, TrainingEnd, TrainingStart
from excite.tracking.values import final_values, step_values

FOLDER = "tensorboard"  # inside the run folder


class TensorBoard(Hook):
    """Writes the records of epochs, every tenth step, and the final metrics as scalars over steps.

    A resumed training hides what an interrupted one wrote beyond its checkpoint, so that curves continue.

    Raises:
        ExciteError: if TensorBoard is not installed.
    """

    step_interval = 10

    def __init__(self) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            what, hint = "TensorBoard is not installed", 'pip install "excite[track]"'
            raise ExciteError(what, where="--track tensorboard", hint=hint, exit_code=BAD_USAGE)

    def on_start(self, start: TrainingStart) -> None:
        # Steps are counted from 1: the first one to come, and all after it, replace earlier ones.
        self._events = EventFile(start.run / FOLDER, purge_step=start.step + 1 if start.resumed else None)
        if not start.resumed:
            options = yaml.safe_dump(dict(start.options), sort_keys=False, allow_unicode=True)
            self._events.add_text("options", f"```yaml\n{options}```")
        self._events.flush()

    def on_step(self, step: StepEnd) -> None:
        self._events.add_scalars(step_values(step), step.step)

    def on_epoch(self, epoch: EpochEnd) -> None:
        self._events.add_scalars(epoch.record, epoch.step)
        self._events.flush()

    def on_end(self, end: TrainingEnd) -> None:
        self._events.add_scalars(final_values(end.metrics), end.step)
        self._events.close()


class EventFile:
    """A file of TensorBoard's events.

    ``SummaryWriter`` would import TensorFlow where it is installed, for ten seconds, and write in a thread
    whose errors come late.

    Args:
        folder: where the file is written.
        purge_step: TensorBoard hides events of earlier files from this step on; None: none.
    """

    def __init__(self, folder: Path, *, purge_step: int | None = None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = Event, Summary
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() // 1000:016}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter((folder / name).open("wb"))
        self._write(step=purge_step or 0, file_version="brain.Event:2")
        if purge_step is not None:
            self._write(step=purge_step, session_log=SessionLog(status=SessionLog.START))

    def add_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add values by name."""
        found = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        if found:
            self._write(step=step, summary=self._summary(value=found))

    def add_text(self, name: str, text: str) -> None:
        """Add a text in Markdown."""
        from tensorboard.compat.proto.summary_pb2 import SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto

        plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()])
        value = self._summary.Value(tag=name, metadata=plugin, tensor=tensor)
        self._write(step=0, summary=self._summary(value=[value]))

    def flush(self) -> None:
        """Write what is buffered."""
        self._records.flush()

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        self._records.close()

    def _write(self, **fields: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **fields).SerializeToString())
