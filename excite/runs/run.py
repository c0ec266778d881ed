"""The run folder: everything that one training produced, and what is needed to repeat it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excite.config.task import MULTICLASS, Task
from excite.config.train_config import TrainConfig
from excite.data.paths import absolute_path, is_same_path
from excite.errors import BAD_USAGE, ExciteError, require_utf8
from excite.plugins.loading import import_flags
from excite.system.files import create_exclusively, write_text
from excite.system.notebook import facts_html, picture_html, table_html
from excite.system.text import command_line, csv_text

if TYPE_CHECKING:
    import pandas as pd

    from excite.data.manifest import Manifest
    from excite.evaluation.label_predictions import LabelPredictions
    from excite.evaluation.predictions import Predictions

CLAIM = "environment.json"
_FIRST_FILES = {CLAIM, "manifest.csv", "audit.json", "config.yaml"}
_SHOWN = ("accuracy", "balanced_accuracy", "auroc", "log_loss")  # in a notebook
_NOTEBOOK_FIGURES = ("learning_curves", "confusion_matrix")
_OWN_FOLDERS = re.compile(r"checkpoints|figures|repeat-\d+")


class Run:
    """A run folder; docs/reference/runs.md describes its files.

    Every property that reads a file raises ExciteError if the file is missing or damaged.

    Args:
        path: the run folder.
        data_root: the folder that the data is in now; paths of images are changed accordingly. None: where
            the training read it.

    >>> run = Run("runs/photos")
    >>> run.finished
    False
    >>> str(run.weights)
    'runs/photos/model.safetensors'
    """

    def __init__(self, path: str | Path, data_root: Path | None = None) -> None:
        self.path = Path(path)
        self.data_root = None if data_root is None else absolute_path(data_root)

    def __repr__(self) -> str:
        """The run in a few lines; a file that is missing or damaged leaves its line out."""
        lines = [f"Run({str(self.path)!r})"]
        with contextlib.suppress(ExciteError):
            config = self.config
            attention = "" if config.attention in ("auto", "none") else f" with {config.attention}"
            lines += [f"  data      {config.data}", f"  network   {config.model}{attention}"]
            lines += ["" if self.finished else "  not finished"]
        with contextlib.suppress(ExciteError, KeyError, TypeError):
            test = self.metrics["test"]
            is_multiclass = self.task == MULTICLASS
            figure = test["accuracy"] if is_multiclass else test["macro"]["auroc"]
            interval = ""
            if figure.get("low") is not None:
                interval = f" ({100 * figure['low']:.1f}-{100 * figure['high']:.1f})"
            name = "accuracy  " if is_multiclass else "AUROC     mean over labels "
            lines.append(f"  {name}{figure['value']:.1%}{interval} on {test['n']:,} test images")
        return "\n".join(filter(None, lines))

    def _repr_html_(self) -> str:
        """The run for a notebook: its facts, its metrics, and the figures that ``excite train`` drew."""
        first, *lines = repr(self).split("\n")
        facts = [tuple(line.strip().split("  ", 1)) for line in lines if "  " in line.strip()]
        rows: list[list[str]] = []
        with contextlib.suppress(ExciteError, KeyError, TypeError, AttributeError):
            for split in self._splits:
                found = [self.metrics[split][name] for name in _SHOWN]
                rows.append([split, f"{self.metrics[split]['n']:,}", *map(_interval, found)])
        table = table_html(["split", "images", *_SHOWN], rows, right=("images", *_SHOWN)) if rows else ""
        drawn = [
            picture_html(self.figures / f"{name}.png", name.replace("_", " ")) for name in _NOTEBOOK_FIGURES
        ]
        shown = [(name, value.strip()) for name, value in facts]
        return facts_html(first, shown, table, *drawn)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run. Raises: ExciteError if the folder is not a run."""
        run = cls(path)
        if not (run.path / "config.yaml").is_file():
            what, hint = "there is no such run", "use the folder that excite train printed"
            if (run.path / CLAIM).is_file():
                what, hint = "its process stopped before the training began", "train again without --resume"
            elif run.path.exists():
                what = "is not a run folder: config.yaml is missing"
            raise ExciteError(what, where=path, hint=hint)
        return run

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """The file of the final weights."""
        return self.path / "model.safetensors"

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.path / "figures"

    @property
    def finished(self) -> bool:
        """Whether the training ended and was evaluated."""
        return (self.path / "metrics.json").is_file()

    @cached_property
    def config(self) -> TrainConfig:
        """All options, resolved."""
        return TrainConfig.from_yaml(self.path / "config.yaml")

    def was_trained_on(self, data: str) -> bool:
        """Whether the run was trained on this folder or table, in any spelling of its path."""
        return self.is_same_place(data, self.config.data)

    def is_same_place(self, path: str, before: str) -> bool:
        """Whether a path is the same file or folder as ``before`` was when the run began."""
        return path == before or is_same_path(path, before, self.working_directory)

    @property
    def data_path(self) -> Path:
        """The folder or table that the run was trained on, as an absolute path; or where its data is now."""
        before = absolute_path(os.path.expanduser(self.config.data), self.working_directory)  # noqa: PTH111
        return before if self.data_root is None else self.data_root

    @property
    def working_directory(self) -> Path:
        """The folder that relative paths of the configuration refer to."""
        with contextlib.suppress(ExciteError):
            return Path(str(self.read_json(CLAIM).get("working_directory", "")))
        return Path()

    @property
    def manifest(self) -> Manifest:
        """All images with their groups and splits."""
        manifest = self._manifest
        if self.data_root is None:
            return manifest
        return manifest.with_paths([self._moved(path) for path in manifest.table["path"]])

    @property
    def _manifest(self) -> Manifest:
        from excite.data.reading import read_manifest

        return read_manifest(self.path / "manifest.csv", complete=False)

    @cached_property
    def root(self) -> Path:
        """The folder whose place ``data_root`` takes: that of the data, or the common one of its images."""
        paths = [Path(path) for path in self._manifest.table["path"]]
        data = Run(self.path).data_path
        for place in (data, data.parent):
            if all(path.is_relative_to(place) for path in paths):
                return place
        return Path(os.path.commonpath([path.parent for path in paths]))

    def _moved(self, path: str) -> str:
        """The path of an image in the folder that the data is in now."""
        if self.data_root is None or not Path(path).is_relative_to(self.root):
            return path
        return str(self.data_root / Path(path).relative_to(self.root))

    @property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json``: split -> metric -> ``{"value", "low", "high"}``."""
        return self.read_json("metrics.json")

    @property
    def metrics_table(self) -> pd.DataFrame:
        """``metrics`` as a DataFrame, see ``excite.evaluation.metrics_table``."""
        from excite.evaluation.metrics_table import metrics_table

        return metrics_table({split: self.metrics[split] for split in self._splits})

    @property
    def _splits(self) -> list[str]:
        """The sets of images that were evaluated."""
        return [split for split in ("train", "val", "test") if split in self.metrics]

    @property
    def has_epochs(self) -> bool:
        """Whether the run has epochs; a cross-validation and a linear probe have none."""
        return (self.path / "metrics.csv").is_file() and "epoch" in self.history

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch; of a linear probe, one per value of C."""
        return self.table("metrics.csv")

    @property
    def predictions(self) -> pd.DataFrame:
        """One row per test image: path, label, group, photo, predicted, and a probability for each class."""
        table = self.table("predictions.csv")
        return table if self.data_root is None else table.assign(path=table["path"].map(self._moved))

    @property
    def task(self) -> Task:
        """Whether an image has exactly one class, or any number of labels."""
        task: Task = self.metrics.get("test", {}).get("task", MULTICLASS)
        return task

    def predicted(self, split: str = "test") -> Predictions:
        """Predictions for the test or the validation images, as the metrics are computed from them.

        Raises:
            ExciteError: also for a run of several labels, whose predictions are ``predicted_labels``.
        """
        from excite.evaluation.predictions import read_predictions

        if self.finished and self.task != MULTICLASS:
            what = "has several labels per image; this is for one class per image"
            raise ExciteError(what, where=self.path, exit_code=BAD_USAGE)
        found = read_predictions(self._predictions_file(split))
        if self.data_root is None:
            return found
        return replace(found, paths=tuple(map(self._moved, found.paths or ())))

    def predicted_labels(self, split: str = "test") -> LabelPredictions:
        """Predictions of several labels for the test or the validation images."""
        from excite.evaluation.label_predictions import read_label_predictions

        found = read_label_predictions(self._predictions_file(split))
        if self.data_root is None:
            return found
        return replace(found, paths=tuple(map(self._moved, found.paths or ())))

    def _predictions_file(self, split: str) -> Path:
        return self.path / ("predictions.csv" if split == "test" else f"{split}_predictions.csv")

    def fold(self, repeat: int, fold: int) -> Run:
        """The run of one fold of a cross-validation."""
        return Run(self.path / f"repeat-{repeat}" / f"fold-{fold}", self.data_root)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the run. Raises: ExciteError if it is missing or damaged."""
        try:
            content: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
            return content
        except FileNotFoundError as error:
            flags: list[str] = []
            with contextlib.suppress(ExciteError):
                flags = import_flags(self.config.imports)
            resume = command_line("excite", "train", "--resume", "--out", self.path, *flags)
            hint = f"the training has not finished; continue it with {resume}"
            raise ExciteError(f"has no {name}", where=self.path, hint=hint) from error
        except (OSError, ValueError) as error:
            raise ExciteError(f"cannot be read: {error}", where=self.path / name) from error

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file of the run, atomically."""
        write_text(self.path / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def write_table(
        self, name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
    ) -> None:
        """Write a CSV of rows with equal keys; ``columns`` names them if there may be no rows."""
        names = list(columns or rows[0])
        write_text(self.path / name, csv_text([names, *([row[key] for key in names] for row in rows)]))

    def table(self, name: str) -> pd.DataFrame:
        """Read a CSV file of the run. Raises: ExciteError if it is missing or damaged."""
        import pandas as pd

        text = {"path": str, "label": str, "group": str, "photo": str, "predicted": str}
        try:
            return pd.read_csv(self.path / name, dtype=text, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise ExciteError(f"cannot be read: {error}", where=self.path / name) from error


def _interval(metric: Mapping[str, Any]) -> str:
    """A metric with its interval, for a table."""
    if metric["value"] is None:
        return "-"
    bounds = "" if metric.get("low") is None else f" ({metric['low']:.3f} to {metric['high']:.3f})"
    return f"{metric['value']:.3f}{bounds}"


def create_run_folder(wanted: Path) -> Path:
    """Create the folder ``wanted`` or, if it is a run already, the first free of ``wanted-2``, ``-3`` ...

    The process that creates ``environment.json`` in an empty folder owns the folder, so that processes that
    start at the same time get different folders. The folder of a process that was killed is not used again.

    Raises: ExciteError if the folder cannot be created, or if ``wanted`` contains other files.
    """
    require_utf8(wanted)
    for folder in _numbered(wanted):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            present = {path.name for path in folder.iterdir()}
            if not present and create_exclusively(folder / CLAIM):
                return folder
        except OSError as error:
            if folder != wanted and folder.is_file():
                continue
            raise ExciteError(
                f"cannot be created: {error.strerror}", where=folder, hint="choose another with --out"
            ) from error
        # The user named ``wanted`` only: a numbered folder with other files is skipped.
        if present and not present & _FIRST_FILES and folder == wanted:
            raise ExciteError(
                f"contains files that do not belong to a run, such as {min(present)}",
                where=folder,
                hint="choose another with --out",
            )
    raise AssertionError("unreachable")


def refuse_run_folder(out: Path) -> None:
    """Protect the files of a run from being overwritten by an evaluation.

    Args:
        out: the folder that will be written; a new folder inside a run is allowed.

    Raises: ExciteError for a run folder, its checkpoints or figures, and a folder of its folds.
    """
    place = Path(os.path.realpath(out))
    around = [folder for folder in (place, *place.parents) if (folder / CLAIM).is_file()]
    runs = [folder for folder in around if folder == place or _holds_run(folder)]
    if not runs:
        return
    inside = place.relative_to(runs[0]).parts
    if inside and not _OWN_FOLDERS.fullmatch(inside[0]):
        return
    what = "is a run folder" if not inside else f"belongs to the run {runs[0].name}"
    raise ExciteError(
        f"{what}, whose files are never overwritten",
        where=out,
        hint=f"choose another folder, such as --out {os.path.relpath(runs[-1] / 'evaluation')}",
        exit_code=BAD_USAGE,
    )


def newest_run(wanted: Path, data: str = "") -> Path:
    """The newest run among ``wanted``, ``wanted-2``, ``-3`` ...; ``wanted`` if there is none.

    Args:
        data: prefer runs that were trained on this folder or table.
    """
    numbered = re.compile(re.escape(wanted.name) + r"(-[2-9]|-[1-9][0-9]+)?")
    with contextlib.suppress(OSError):
        runs = [path for path in wanted.parent.iterdir() if numbered.fullmatch(path.name)]
        began = {path: (path / "config.yaml").stat().st_mtime_ns for path in runs if _holds_run(path)}
        newest = sorted(began, key=lambda path: (began[path], len(path.name), path.name), reverse=True)
        same = (path for path in newest if not data or _began_with(path, data))
        return next(same, newest[0] if newest else wanted)
    return wanted


def _began_with(folder: Path, data: str) -> bool:
    with contextlib.suppress(ExciteError):
        return Run(folder).was_trained_on(data)
    return False


def _numbered(wanted: Path) -> Iterator[Path]:
    yield wanted
    for number in itertools.count(2):
        yield wanted.with_name(f"{wanted.name}-{number}")


def _holds_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file()
