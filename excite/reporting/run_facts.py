"""The contents of a run folder, read once for the report and the model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from excite.config.train_config import TrainConfig
from excite.data.manifest import DUPLICATES, SPLITS, Manifest
from excite.evaluation.measure import measure
from excite.evaluation.predictions import Predictions
from excite.evaluation.reliability import reliability
from excite.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunFacts:
    """The files of a run; optional ones are None or empty if missing.

    Raises:
        ExciteError: from ``of``, if the configuration, the manifest, or the metrics are missing or damaged,
            and from ``predictions``, likewise.
    """

    run: Run
    config: TrainConfig
    metrics: Mapping[str, Any]
    manifest: Manifest
    audit: Mapping[str, Any]
    classifier: Mapping[str, Any]
    environment: Mapping[str, Any]
    robustness: Mapping[str, Any]
    history: pd.DataFrame | None

    @classmethod
    def of(cls, run: Run) -> Self:
        """Read the files of a run."""

        def optional(name: str) -> dict[str, Any]:
            return run.read_json(name) if (run.path / name).is_file() else {}

        return cls(
            run,
            run.config,
            run.metrics,
            run.manifest,
            optional("audit.json"),
            optional("classifier.json"),
            optional("environment.json"),
            optional("robustness.json"),
            run.history if run.has_epochs else None,
        )

    @cached_property
    def predictions(self) -> Predictions:
        """Predictions for the test images."""
        return self.run.predicted()

    @property
    def name(self) -> str:
        """Name of the run: its folder."""
        return self.run.path.resolve().name

    @property
    def finished(self) -> str:
        """When the metrics were written, in UTC."""
        seconds = (self.run.path / "metrics.json").stat().st_mtime
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")

    @property
    def folds(self) -> Sequence[Mapping[str, Any]]:
        """The folds of a cross-validation; empty for a single training."""
        folds: Sequence[Mapping[str, Any]] = self.metrics.get("folds", ())
        return folds

    @property
    def test(self) -> Mapping[str, Any]:
        """Metrics of the test images."""
        test: Mapping[str, Any] = self.metrics["test"]
        return test

    @property
    def val(self) -> Mapping[str, Any] | None:
        """Metrics of the validation images; None for a cross-validation."""
        return self.metrics.get("val")

    @property
    def duplicates_in_train(self) -> int:
        """Test images with a near-duplicate, an image of their group, in the training set."""
        return int(self.test.get("duplicates_in_train") or 0)

    @property
    def leaks_allowed(self) -> bool:
        """Whether the run was trained with leaks on request."""
        return bool(self.test.get("leaks_allowed") or self.metrics.get("leaks_allowed"))

    @cached_property
    def by_class(self) -> Mapping[str, Any]:
        """The metrics of each class and the confusion matrix.

        A cross-validation with repeats has none in ``metrics.json``; they are computed on the predictions,
        those of the first repeat.
        """
        if "classes" in self.test and "confusion" in self.test:
            return self.test
        return measure(self.predictions)

    @cached_property
    def positive_class(self) -> str | None:
        """The positive class: as configured, or, of two classes, the clearly rarer in training; else None."""
        classes = self.predictions.classes
        chosen = self.test.get("operating_point", {}).get("chosen", {}).get("label")
        wanted = chosen or getattr(self.config, "positive", None)
        if wanted in classes:
            return str(wanted)
        part = self.manifest.part("train") if "train" in self.manifest.splits else self.manifest
        return part.rare_class()

    @property
    def positive(self) -> int | None:
        """The index of the positive class of two, whose curves suffice; None for more classes."""
        classes = self.predictions.classes
        return classes.index(self.positive_class) if len(classes) == 2 and self.positive_class else None

    @property
    def calibration(self) -> Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]]:
        """(name, title, bins) of each reliability diagram."""
        both = self.test.get("calibration")
        if both:
            return (
                ("reliability-before", "Reliability before calibration", both["before"]["reliability"]),
                ("reliability-after", "Reliability after calibration", both["after"]["reliability"]),
            )
        bins = [asdict(one) for one in reliability(self.predictions)]
        title = "Reliability of out-of-fold predictions" if self.folds else "Reliability after calibration"
        return (("reliability", title, bins),)

    @cached_property
    def resolved(self) -> TrainConfig:
        """The options after ``auto`` was resolved; a cross-validation resolves them in its folds."""
        return self._first_fold.config if self._first_fold else self.config

    @property
    def fell_back_to_probe(self) -> bool:
        """Whether fine-tuning did not help, so that the final model is the linear probe."""
        return bool(self.robustness.get("probe"))

    @cached_property
    def kept_fractions(self) -> Sequence[float]:
        """How much of the fine-tuning each final network keeps, in [0, 1]: of each fold, or of the run."""
        if self.folds:
            return [fold["fraction"] for fold in self.folds if "fraction" in fold]
        return [self.robustness["fraction"]] if "fraction" in self.robustness else []

    @cached_property
    def identity_gates(self) -> Sequence[bool]:
        """Whether the attention of each final network has no effect: of each fold, or of the run."""
        runs = [Run(self.run.path / fold["run"]) for fold in self.folds] if self.folds else [self.run]
        files = [run.read_json("classifier.json") for run in runs if (run.path / "classifier.json").is_file()]
        return [facts["identity_gates"] for facts in files if facts.get("identity_gates") is not None]

    @cached_property
    def classifier_metadata(self) -> Mapping[str, Any]:
        """``classifier.json``, of a cross-validation that of the first fold; empty if missing."""
        if self._first_fold and (self._first_fold.path / "classifier.json").is_file():
            return self._first_fold.read_json("classifier.json")
        return self.classifier

    @cached_property
    def _first_fold(self) -> Run | None:
        run = Run(self.run.path / self.folds[0]["run"]) if self.folds else None
        return run if run and (run.path / "config.yaml").is_file() else None

    @cached_property
    def groups_in_several_splits(self) -> int:
        """Number of groups with images in more than one split or fold."""
        table, part = self.manifest.table, "fold_0" if self.folds else "split"
        if part not in table:
            return 0
        named = table[(table["group"] != "") & (table[part] != "")]
        return int((named.groupby("group")[part].nunique() > 1).sum())

    @cached_property
    def group_kinds(self) -> tuple[bool, bool]:
        """Whether the user defined groups, and whether the audit found some."""
        names = {name for name in self.manifest.table["group"] if name}
        found = {name for name in names if name.startswith(DUPLICATES)}
        return bool(names - found), bool(found)

    @cached_property
    def counts(self) -> tuple[list[str], list[tuple[str, list[str]]]]:
        """The names of the splits, and for each class "images (groups)" in each split."""
        splits = [name for name in SPLITS if name in self.manifest.splits]
        table = self.manifest.table.assign(code=self.manifest.group_codes())
        if not splits:
            table = table.assign(split="all")
        found = {}
        for columns in (["split", "label"], ["split"]):
            for key, codes in table.groupby(columns)["code"]:
                found[key] = (len(codes), codes.nunique())
        parts = splits or ["all"]
        rows = []
        for label in self.predictions.classes:
            rows.append((label, [_sized(*found.get((part, label), (0, 0))) for part in parts]))
        rows.append(("all", [_sized(*found[(part,)]) for part in parts]))
        return parts, rows


def _sized(images: int, groups: int) -> str:
    return f"{images:,}" + (f" ({groups:,} groups)" if groups != images else "")
