"""A study: a plan resolved on its images, its store, and its folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
import torch
import yaml
from filelock import FileLock

from excite.config.task import MULTILABEL
from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.data.split import repeated_folds, split_manifest
from excite.errors import BAD_USAGE, ExciteError, require_utf8
from excite.models.catalog import create_model
from excite.models.summary import summarize
from excite.models.weights import load_weights
from excite.pipeline.input_check import check_input
from excite.pipeline.prepare_data import prepare_data
from excite.pipeline.resolve import resolve
from excite.pipeline.resolve_model import check_names
from excite.runs.derive import architecture_of
from excite.runs.used_plugins import used_plugins
from excite.study.plan import OF_THE_MACHINE, Arm, Plan, arm_config, changes, check_arms
from excite.study.store.store import Store, changed
from excite.system.files import write_text
from excite.system.notebook import facts_html, table_html
from excite.system.progress import Display
from excite.system.text import command_line

FILE = "study.yaml"
MANIFEST = "manifest.csv"
LOCK = ".begin.lock"
DATABASE = "study.db"


@dataclass(frozen=True)
class Study:
    """A study.

    Args:
        folder: folder with its runs, logs, manifest and reports.
        store: the database with its cells.
        name: hash of its plan, the key in the store.
    """

    folder: Path
    store: Store
    name: str

    @classmethod
    def open(cls, folder: str | Path, store: str | None = None) -> Study:
        """Open the study in a folder.

        Args:
            folder: the folder.
            store: URL of the database, if study.yaml lacks the password or is out of date.

        Raises:
            ExciteError: if the folder contains no study.
        """
        folder = Path(folder)
        try:
            noted = yaml.safe_load((folder / FILE).read_text(encoding="utf-8"))
            name, url = noted["study"], noted["store"]
        except FileNotFoundError as error:
            what = "contains no study" if folder.exists() else "folder does not exist"
            hint = "use the folder printed by excite study run"
            raise ExciteError(what, where=folder, hint=hint, exit_code=BAD_USAGE) from error
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            raise ExciteError("cannot be read", where=folder / FILE) from error
        return cls(folder, Store(store or url or _sqlite(folder)), name)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The part of the plan that must not change: shared options, folds, classes, split, images."""
        return self.store.document(self.name)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each pair of arms with their difference: ``comparisons.csv``, as of the last report."""
        return self._read("comparisons.csv")

    @property
    def cells_table(self) -> pd.DataFrame:
        """One row for each training with its metrics: ``cells.csv``, as of the last report."""
        return self._read("cells.csv")

    def _read(self, name: str) -> pd.DataFrame:
        try:
            return pd.read_csv(self.folder / name)
        except (OSError, ValueError) as error:
            hint = command_line("excite", "study", "report", self.folder) + " writes it"
            raise ExciteError(f"has no readable {name}", where=self.folder, hint=hint) from error

    def _repr_html_(self) -> str:
        """The differences, for a notebook, or how many cells are finished."""
        states = self.store.counts(self.name)
        facts = [
            ("arms", ", ".join(self.arms)),
            ("cells", f"{states['done']} of {sum(states.values())} done"),
        ]
        table = ""
        with contextlib.suppress(ExciteError):
            names = ["arm", "baseline", "metric", "difference", "low", "high", "p"]
            rows = [
                [str(value) for value in row] for row in self.table[names].round(4).itertuples(index=False)
            ]
            table = table_html(names, rows, right=names[3:])
        return facts_html(f"Study {self.folder}", facts, table)

    @property
    def folds(self) -> int | None:
        """Number of folds, or None."""
        folds: int | None = self.document["folds"]
        return folds

    @property
    def arms(self) -> dict[str, dict[str, Any]]:
        """Name -> ``options``, ``against``, ``parameters`` and ``multiply_adds``, in order."""
        return self.store.arms(self.name)

    def config(self, arm: str) -> TrainConfig:
        """The resolved options of an arm."""
        return TrainConfig().replace(**self.arms[arm]["options"])

    @cached_property
    def images(self) -> Manifest:
        """The manifest of all images with their groups."""
        from excite.data.reading import read_manifest

        return read_manifest(self.folder / MANIFEST, complete=False)

    def parts(self, seed: int, fold: int) -> Manifest:
        """The split of a cell, the same for all arms: train, test and, without folds, val."""
        shared = TrainConfig().replace(**self.document["options"])
        first = shared.seed + seed
        if self.folds is None:
            rest = 1 - shared.val_fraction - shared.test_fraction
            fractions = (rest, shared.val_fraction, shared.test_fraction)
            return split_manifest(
                self.images,
                method=self.document["split"],
                fractions=fractions,
                seed=first,
                test_from=shared.test_from,
            )
        numbers = repeated_folds(self.images, self.folds, 1, seed=first, method=self.document["split"])
        return self.images.with_columns(split=np.where(numbers[:, 0] == fold, "test", "train"))


def cell_folder(folder: Path, arm: str, seed: int, fold: int) -> Path:
    """The run folder of a cell."""
    return folder / "cells" / arm / f"seed-{seed}-fold-{fold}"


def begin(plan: Plan, folder: Path, store: str | None, display: Display) -> tuple[Study, int]:
    """Begin a study, or open it and add new arms and seeds; the study and its number of new cells.

    All arms are checked before anything is written.

    Raises:
        ExciteError: for data that cannot be trained on, an arm that cannot be built, a folder with another
            study, and a store that cannot be used.
    """
    base = plan.base
    if plan.folds is not None:
        base = base.replace(folds=plan.folds, test_fraction=1 / plan.folds)
    for arm in plan.arms:
        try:
            check_names(arm_config(base, arm))
        except ExciteError as error:
            raise _in_arm(error, arm) from error
    images = _without_split(prepare_data(base, folder, display).grouped(), plan.folds)
    if images.task == MULTILABEL:
        what = "a study compares classifiers of one class per image; these images have several labels"
        hint = "train each configuration, then excite compare RUN RUN"
        raise ExciteError(what, where=base.data, hint=hint, exit_code=BAD_USAGE)
    shared, _ = resolve(base, images)
    base = base.replace(folds=None, split="auto")
    document = {
        "options": {name: value for name, value in changes(base).items() if name not in OF_THE_MACHINE},
        "folds": plan.folds,
        "split": shared.split,
        "metric": plan.metric,
        "preset": plan.preset,
        "classes": list(images.classes),
        "images": _hash_of(images),
    }
    arms = resolve_arms(plan.arms, base, images, display)
    _try_split(images, shared.split, plan, base)
    name = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    url = store or _sqlite(folder)
    with _locked(folder):
        if (folder / FILE).exists():
            before = Study.open(folder, store)
            if before.name != name:
                raise _changed_plan(before.document, document)
        opened = Store(url)
        images.save(folder / MANIFEST)
        opened.begin(name, document, _pictures(images))
        noted = {"study": name, "store": opened.display_url if store else "", "data": base.data}
        write_text(folder / FILE, yaml.safe_dump(noted, sort_keys=False, allow_unicode=True))
        study = Study(folder, opened, name)
        return study, opened.extend(name, arms, plan.seeds, plan.folds or 1)


def copy_study(folder: Path, copy: Path) -> None:
    """Copy a study with a store of its own, without its runs; nothing if there is none in the folder."""
    if not (folder / FILE).is_file() or not (folder / DATABASE).is_file():
        return
    copy.mkdir()
    for name in (FILE, MANIFEST):
        shutil.copyfile(folder / name, copy / name)
    source = sqlite3.connect(f"{(folder / DATABASE).absolute().as_uri()}?mode=ro", uri=True)
    with contextlib.closing(source), contextlib.closing(sqlite3.connect(copy / DATABASE)) as target:
        source.backup(target)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder for this process; the lock of a killed process is released.

    Raises: ExciteError if the folder cannot be created, or contains anything but a study.
    """
    hint = "choose another folder with --out"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire()
    except OSError as error:
        raise ExciteError(f"cannot be created: {error.strerror}", where=folder, hint=hint) from error
    try:
        names = {path.name for path in folder.iterdir()} - {LOCK}
        first = {name for name in names if name == MANIFEST or name.startswith((DATABASE, f".{MANIFEST}"))}
        if FILE not in names and names - first:
            raise ExciteError(
                "contains files that do not belong to a study", where=folder, hint=hint, exit_code=BAD_USAGE
            )
        yield
    finally:
        lock.release()


def add(study: Study, arms: Sequence[Arm], seeds: int, display: Display) -> int:
    """Add arms or seeds to a study; the number of new cells.

    Raises: ExciteError for an arm that cannot be built, or that exists with other options.
    """
    known = list(study.arms)
    check_arms([arm for arm in arms if arm.name not in known], known)
    base = TrainConfig().replace(**study.document["options"])
    return study.store.extend(
        study.name, resolve_arms(arms, base, study.images, display), seeds, study.folds or 1
    )


def resolve_arms(
    arms: Sequence[Arm], base: TrainConfig, images: Manifest, display: Display
) -> dict[str, dict[str, Any]]:
    """The resolved options and the costs of every arm; each network is built once to check that it can be."""
    found: dict[str, dict[str, Any]] = {}
    noted_reasons: set[str] = set()
    for arm in arms:
        try:
            chosen = arm_config(base, arm)
            # What is compared is the training, of all weights unless the plan names pretrained ones.
            config, reasons = resolve(chosen.replace(pretrained=bool(chosen.pretrained)), images)
            with torch.random.fork_rng(devices=()):
                model = create_model(
                    **architecture_of(config, len(images.classes)), pretrained=bool(config.pretrained)
                )
            if config.weights:
                load_weights(model, Path(config.weights))
            check_input(model, config, len(images.classes))
            assert config.image_size is not None
            counted = summarize(model, config.image_size)
        except ExciteError as error:
            raise _in_arm(error, arm) from error
        for reason in reasons:
            if reason not in noted_reasons:
                noted_reasons.add(reason)
                display.note(reason)
        options = {name: value for name, value in changes(config).items() if name not in OF_THE_MACHINE}
        found[arm.name] = {
            "options": options,
            "baseline": arm.baseline,
            "parameters": counted.parameters,
            "multiply_adds": counted.multiply_adds,
            "plugins": used_plugins(config),
        }
    _note_what_is_not_paired(found, display)
    return found


def _in_arm(error: ExciteError, arm: Arm) -> ExciteError:
    """The error with the name of the arm."""
    where = f"arm {arm.name!r}" + (f": {error.where}" if error.where else "")
    return ExciteError(error.what, where=where, hint=error.hint, exit_code=BAD_USAGE)


def _note_what_is_not_paired(arms: Mapping[str, Mapping[str, Any]], display: Display) -> None:
    for option in ("recipe", "batch_size", "balance", "augment", "augment_options", "image_size"):
        if len({json.dumps(arm["options"].get(option), sort_keys=True) for arm in arms.values()}) > 1:
            display.note(f"the arms differ in {option}, so their trainings are not paired batch by batch")


def _without_split(images: Manifest, folds: int | None) -> Manifest:
    return images if folds is None else images.with_columns(split="")


def _try_split(images: Manifest, split: str, plan: Plan, base: TrainConfig) -> None:
    """Split once, so that errors of the split are raised at the start. Raises: ExciteError."""
    if plan.folds is not None:
        repeated_folds(images, plan.folds, 1, seed=base.seed, method=split)
        return
    rest = 1 - base.val_fraction - base.test_fraction
    fractions = (rest, base.val_fraction, base.test_fraction)
    split_manifest(images, method=split, fractions=fractions, seed=base.seed, test_from=base.test_from)


def _changed_plan(old: Mapping[str, Any], new: Mapping[str, Any]) -> ExciteError:
    if old["images"] != new["images"]:
        hint = "choose another folder with --out"
        what = "the images differ from those at the start of the study"
        return ExciteError(what, where="data", hint=hint, exit_code=BAD_USAGE)
    if old["folds"] != new["folds"]:
        return changed("plan", {"folds": old["folds"]}, {"folds": new["folds"]})
    if old["options"] != new["options"]:
        plain = TrainConfig().to_dict()
        return changed("plan", {**plain, **old["options"]}, {**plain, **new["options"]})
    return changed("plan", old, new)


def _hash_of(images: Manifest) -> str:
    """Hash of contents, labels, groups and given splits of the images, in order, without their paths."""
    digest = hashlib.sha256()
    table = images.table
    codes = map(str, images.group_codes().tolist())
    for row in zip(table["sha256"], table["label"], codes, table["split"], strict=True):
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def _pictures(images: Manifest) -> list[dict[str, Any]]:
    paths = images.table["path"].tolist()
    start = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120 (text, not files)
    return [
        {"number": number, "path": os.path.relpath(path, start), "label": label, "group": group}
        for number, (path, label, group) in enumerate(
            zip(paths, images.table["label"], images.table["group"], strict=True)
        )
    ]


def _sqlite(folder: Path) -> str:
    """URL of the database in a folder. Raises: ExciteError for a path that is not UTF-8."""
    require_utf8(folder)
    url = sa.URL.create("sqlite", database=str((folder / DATABASE).absolute()))
    return url.render_as_string(hide_password=False)
