"""The run folder: everything that one training produced, and enough to repeat it."""

from __future__ import annotations

import itertools
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import excite
from excite.errors import ExciteError, require_utf8
from excite.files import write_text
from excite.text import command_line, csv_text
from excite.training.config import TrainConfig

if TYPE_CHECKING:
    import pandas as pd

    from excite.data.manifest import Manifest
    from excite.evaluation.predictions import Predictions
    from excite.runs.classifier import Classifier

LIBRARIES = ("torch", "torchvision", "timm", "safetensors", "Pillow", "numpy", "pandas", "scikit-learn")


class Run:
    """A run folder; see docs/runs.md for its files.

    Raises: ExciteError from any reader whose file is not there or is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run. Raises: ExciteError if the folder is none."""
        run = cls(path)
        if not (run.path / "config.yaml").is_file():
            what = (
                "is not a run folder: it has no config.yaml" if run.path.exists() else "there is no such run"
            )
            raise ExciteError(what, where=path, hint="name the folder that excite train printed")
        return run

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def finished(self) -> bool:
        """Whether the training ended and was evaluated."""
        return (self.path / "metrics.json").is_file()

    @cached_property
    def config(self) -> TrainConfig:
        """Every option as it was settled."""
        return TrainConfig.from_yaml(self.path / "config.yaml")

    @property
    def manifest(self) -> Manifest:
        """The images with their groups and splits."""
        from excite.data.reading import read_manifest

        return read_manifest(self.path / "manifest.csv")

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures of ``metrics.json``: split -> name -> ``{"value", "low", "high"}``."""
        return self.read_json("metrics.json")

    @property
    def has_epochs(self) -> bool:
        """Whether it was trained epoch by epoch: a cross-validation and a probe were not."""
        return (self.path / "metrics.csv").is_file() and "epoch" in self.history

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch; of a probe, one for each strength that was tried."""
        return self.table("metrics.csv")

    @property
    def predictions(self) -> pd.DataFrame:
        """One row a test image: path, label, group, predicted and a probability for each class."""
        return self.table("predictions.csv")

    def predicted(self, split: str = "test") -> Predictions:
        """What was said of the test or the validation images, as figures are made from it."""
        from excite.evaluation.predictions import read_predictions

        return read_predictions(
            self.path / ("predictions.csv" if split == "test" else f"{split}_predictions.csv")
        )

    def fold(self, repeat: int, fold: int) -> Run:
        """One training of a cross-validation."""
        return Run(self.path / f"repeat-{repeat}" / f"fold-{fold}")

    def classifier(self, device: str = "cpu") -> Classifier:
        """The trained classifier."""
        from excite.runs.classifier import Classifier

        return Classifier.load(self, device=device)

    def read_json(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            resume = command_line("excite", "train", "--resume", "--out", self.path)
            hint = f"the training has not finished; go on with {resume}"
            raise ExciteError(f"has no {name}", where=self.path, hint=hint) from error
        except (OSError, ValueError) as error:
            raise ExciteError(f"cannot be read: {error}", where=self.path / name) from error

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        write_text(self.path / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def write_table(
        self, name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
    ) -> None:
        """A CSV of rows that have the same keys; where there may be none, ``columns`` names these."""
        names = list(columns or rows[0])
        write_text(self.path / name, csv_text([names, *([row[key] for key in names] for row in rows)]))

    def table(self, name: str) -> pd.DataFrame:
        import pandas as pd

        text = {"path": str, "label": str, "group": str, "photo": str, "predicted": str}
        try:
            return pd.read_csv(self.path / name, dtype=text, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise ExciteError(f"cannot be read: {error}", where=self.path / name) from error


def new_run_folder(wanted: Path) -> Path:
    """Make the folder ``wanted`` or, where a run is already, ``wanted-2``, ``-3`` ...

    Raises: ExciteError if it cannot be made, or if there is something else in it.
    """
    require_utf8(wanted)
    folder = next(name for name in _numbered(wanted) if not _holds_run(name))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        strange = next(folder.iterdir(), None)
    except OSError as error:
        raise ExciteError(
            f"cannot be made: {error.strerror}", where=folder, hint="name another with --out"
        ) from error
    if strange is not None:
        raise ExciteError(
            f"holds files that are no run's, such as {strange.name}",
            where=folder,
            hint="name another with --out",
        )
    return folder


def newest_run(wanted: Path) -> Path:
    """The last that exists of ``wanted``, ``wanted-2``, ``-3`` ...; ``wanted`` if none does."""
    return [wanted, *itertools.takewhile(_holds_run, _numbered(wanted))][-1]


def _numbered(wanted: Path) -> Iterator[Path]:
    yield wanted
    for number in itertools.count(2):
        yield wanted.with_name(f"{wanted.name}-{number}")


def _holds_run(folder: Path) -> bool:
    return (folder / "config.yaml").exists()


def environment(device: str, threads: int, processes: int, seed: int) -> dict[str, Any]:
    """What a run was made with, for ``environment.json``."""
    return {
        "excite": excite.__version__,
        "git": _git_state(),
        "command": sys.argv,
        "python": platform.python_version(),
        "system": platform.platform(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "device": device,
        "threads": threads,
        "processes": processes,
        "seed": seed,
    }


def _git_state() -> dict[str, Any] | None:
    """Commit of the code and whether it was changed since; None for an installed package."""
    home, git = Path(excite.__file__).parent, shutil.which("git")
    if git is None or not (home.parent / ".git").exists():
        return None
    call = [git, "-C", str(home)]
    commit = subprocess.run([*call, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    status = subprocess.run([*call, "status", "--porcelain"], capture_output=True, text=True, check=False)
    if commit.returncode != 0:
        return None
    return {"commit": commit.stdout.strip(), "changed": bool(status.stdout.strip())}
