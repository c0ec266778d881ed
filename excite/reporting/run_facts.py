"""What is known of a run, read once, for its report and its model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from excite.config.train_config import TrainConfig
from excite.data.manifest import SPLITS, Manifest
from excite.data.reading import read_manifest
from excite.evaluation.calibration import reliability
from excite.evaluation.measure import measure
from excite.evaluation.predictions import Predictions, read_predictions
from excite.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

FOUND = "photo-"  # groups that the audit named begin so; all others are the user's


@dataclass(frozen=True)
class RunFacts:
    """A run's files, those that may be missing as None or empty.

    Raises:
        ExciteError: from ``of``, when the configuration, the manifest, the figures or the predictions are
            missing or damaged.
    """

    run: Run
    config: TrainConfig
    metrics: Mapping[str, Any]
    manifest: Manifest
    predictions: Predictions
    audit: Mapping[str, Any]
    classifier: Mapping[str, Any]
    environment: Mapping[str, Any]
    shifts: Mapping[str, Any]
    history: pd.DataFrame | None

    @classmethod
    def of(cls, run: Run) -> RunFacts:
        def optional(name: str) -> dict[str, Any]:
            return run.read_json(name) if (run.path / name).is_file() else {}

        return cls(
            run,
            run.config,
            run.metrics,
            read_manifest(run.path / "manifest.csv", complete=False),
            read_predictions(run.path / "predictions.csv"),
            optional("audit.json"),
            optional("classifier.json"),
            optional("environment.json"),
            optional("robustness.json"),
            run.history if run.has_epochs else None,
        )

    @property
    def name(self) -> str:
        return self.run.path.resolve().name

    @property
    def finished(self) -> str:
        """When the figures were written, in UTC."""
        seconds = (self.run.path / "metrics.json").stat().st_mtime
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")

    @property
    def folds(self) -> Sequence[Mapping[str, Any]]:
        """A cross-validation's folds; empty for a single training."""
        return self.metrics.get("folds", ())

    @property
    def test(self) -> Mapping[str, Any]:
        return self.metrics["test"]

    @property
    def val(self) -> Mapping[str, Any] | None:
        return self.metrics.get("val")

    @property
    def duplicates_in_train(self) -> int:
        """Test images with a near-duplicate, an image of their group, in the training set."""
        return int(self.test.get("duplicates_in_train") or 0)

    @property
    def leaks_allowed(self) -> bool:
        return bool(self.test.get("leaks_allowed") or self.metrics.get("leaks_allowed"))

    @cached_property
    def by_class(self) -> Mapping[str, Any]:
        """Figures of each class and the confusion matrix. Where repeats are averaged these are not in
        ``metrics.json``: they are those of the predictions, the first repeat's."""
        if "classes" in self.test and "confusion" in self.test:
            return self.test
        return measure(self.predictions)

    @cached_property
    def acted_on(self) -> str | None:
        """The class that is looked for: as configured, else of two classes the rarer one in training. None:
        there are more."""
        classes = self.predictions.classes
        chosen = self.test.get("operating_point", {}).get("chosen", {}).get("label")
        wanted = chosen or getattr(self.config, "positive", None)
        if wanted in classes:
            return str(wanted)
        if len(classes) != 2:
            return None
        part = self.manifest.part("train") if "train" in self.manifest.splits else self.manifest
        counts = part.counts()
        return min(classes, key=lambda name: counts.get(name, 0))

    @property
    def positive(self) -> int | None:
        """Of two classes the one whose curves are drawn; the other's say the same. None: there are more."""
        classes = self.predictions.classes
        return classes.index(self.acted_on) if len(classes) == 2 and self.acted_on else None

    @property
    def calibration(self) -> Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]]:
        """(name, title, bins) of each reliability diagram."""
        both = self.test.get("calibration")
        if both:
            return (
                ("reliability-before", "Before the temperature", both["before"]["reliability"]),
                ("reliability-after", "After the temperature", both["after"]["reliability"]),
            )
        bins = [asdict(one) for one in reliability(self.predictions)]
        title = "Out-of-fold predictions" if self.folds else "With the temperature"
        return (("reliability", title, bins),)

    @cached_property
    def settled(self) -> TrainConfig:
        """The options as one training used them: a cross-validation's are settled in its folds."""
        return self._first_fold.config if self._first_fold else self.config

    @property
    def came_back(self) -> bool:
        """Whether fine-tuning came back to its probe, which is then the answer."""
        return bool(self.shifts.get("probe"))

    @cached_property
    def made(self) -> Mapping[str, Any]:
        """``classifier.json``, in a cross-validation the first fold's; empty where there is none."""
        if self._first_fold and (self._first_fold.path / "classifier.json").is_file():
            return self._first_fold.read_json("classifier.json")
        return self.classifier

    @cached_property
    def _first_fold(self) -> Run | None:
        run = Run(self.run.path / self.folds[0]["run"]) if self.folds else None
        return run if run and (run.path / "config.yaml").is_file() else None

    @cached_property
    def straddling(self) -> int:
        """Groups with images in more than one part, or fold."""
        table, part = self.manifest.table, "fold_0" if self.folds else "split"
        if part not in table:
            return 0
        named = table[(table["group"] != "") & (table[part] != "")]
        return int((named.groupby("group")[part].nunique() > 1).sum())

    @cached_property
    def group_kinds(self) -> tuple[bool, bool]:
        """Whether the user has named groups, and whether the audit has found some."""
        names = {name for name in self.manifest.table["group"] if name}
        found = {name for name in names if name.startswith(FOUND)}
        return bool(names - found), bool(found)

    @cached_property
    def counts(self) -> tuple[list[str], list[tuple[str, list[str]]]]:
        """A table of classes: the parts' names, and for each class "images (groups)" in each part."""
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
