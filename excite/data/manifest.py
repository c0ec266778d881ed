"""The data set as a table with one row per image, which splitting, loading, and metrics read."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from excite.config.task import MULTICLASS, MULTILABEL, Task
from excite.data.intensity import IntensityRange, SampleExtremes
from excite.data.label_checks import check_labels
from excite.data.labels import LABEL, PRESENT, label_names, label_texts
from excite.data.left_out import LeftOut
from excite.data.stored_image import SHARD_COLUMNS, StoredImages
from excite.errors import ExciteError, unknown_name
from excite.system.files import replacing

RARE = 0.5
"""Largest ratio of images at which the rarer of two classes is taken to be the one that is looked for."""
SPLITS = ("train", "val", "test")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "holdout", "heldout"), "test"),
}
_EVALUATION_WORDS = ("eval", "evaluation", "evaluating")  # the test set, or validation beside a test set
_SET_WORDS = ("set", "data", "dataset", "split", "images")
TEXT_COLUMNS = ("path", "label", "group", "photo", "split", "sha256")
NUMBER_COLUMNS = ("width", "height")
COLUMNS = TEXT_COLUMNS + NUMBER_COLUMNS
DUPLICATES = "photo-"  # prefix of the names of groups of near-duplicates


@dataclass(frozen=True, eq=False)
class Manifest:
    """Images with their labels. The columns below are always complete, ordered, and typed.

    Args:
        table: ``path`` (absolute), ``label``, ``group`` ("" if unknown), ``photo``, which all copies of one
            photo share ("" if there are no copies), ``split`` ("", train, val, or test), ``sha256`` of the
            file ("" before the check), ``width`` and ``height`` of the upright image in pixels (0 before the
            check); if images are in shards, ``shard``, the path of an image's shard ("" for a file of its
            own), and ``offset`` and ``size`` in it, in bytes; then any columns of the user. Labels, groups,
            and photos are in composed Unicode (NFC). Where an image may have several labels, each has a
            column ``label:NAME`` (see ``data.labels``), and ``label`` is the text of those that are present.
        classes: names of the classes, or of the labels, in the order of a model's outputs.
        left_out: files among the images that do not belong to the data set.
        extremes: of the samples of all images with more than 8 bits per channel; None if there are none, or
            before the check.
        intensity_range: the samples that become 0 and 255 in such images; by default from ``extremes``.

    Raises:
        ExciteError: if a label is not among the classes.

    Example:
        >>> table = pd.DataFrame({"path": ["/a.png", "/b.png", "/c.png"], "label": ["cat", "dog", "cat"]})
        >>> manifest = Manifest(table, ("cat", "dog"))
        >>> manifest.counts(), manifest.targets().tolist()
        ({'cat': 2, 'dog': 1}, [0, 1, 0])
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    extremes: SampleExtremes | None = None
    intensity_range: IntensityRange | None = None

    def __post_init__(self) -> None:
        table = self._with_label_texts(self.table.reset_index(drop=True))
        typed: dict[str, Any] = {}
        for name in TEXT_COLUMNS:
            column = table[name] if name in table or name in ("path", "label") else _filled("", len(table))
            text = column.astype("object").where(column.notna(), "").astype(str)
            # Systems encode one name, such as that of a patient, in different ways; a path must stay as it
            # is.
            typed[name] = text.map(normalize_name) if name in ("group", "photo") else text
        for name in NUMBER_COLUMNS:
            column = table[name] if name in table else _filled(0, len(table))
            typed[name] = column.astype(np.int64)
        if "shard" in table:  # rows from a table without shards have no value
            shard, *numbers = (table[name] for name in SHARD_COLUMNS)
            typed["shard"] = shard.astype("object").where(shard.notna(), "")
            for number in numbers:
                typed[str(number.name)] = number.fillna(0).astype(np.int64)
        further = {name: table[name] for name in table.columns if name not in typed}
        labels = () if label_names(further) else typed["label"].tolist()
        composed = {name: normalize_name(name) for name in {*labels, *self.classes}}
        if any(name != other for name, other in composed.items()):
            typed["label"] = typed["label"].map(lambda name: composed.get(name, name))
        object.__setattr__(self, "table", pd.DataFrame({**typed, **further}))
        object.__setattr__(self, "classes", tuple(dict.fromkeys(composed[name] for name in self.classes)))
        if self.intensity_range is None and self.extremes is not None:
            object.__setattr__(self, "intensity_range", self.extremes.range)
        unknown = set(label_names(further) or self.table["label"].tolist()) - set(self.classes)
        if unknown:
            raise unknown_name("class", min(unknown), self.classes)

    def _with_label_texts(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with the text of the labels that are present; unchanged if an image has one class."""
        names = label_names(table.columns)
        if not names:
            return table
        renamed = {LABEL + name: LABEL + normalize_name(name) for name in names}
        table = table.rename(columns=renamed).astype(dict.fromkeys(renamed.values(), np.int64))
        order = [normalize_name(name) for name in self.classes]
        missing = [name for name in order if LABEL + name not in table]
        if missing:
            raise unknown_name("label", missing[0], label_names(table.columns))
        values = table[[LABEL + name for name in order]].to_numpy()
        return table.assign(label=label_texts(values, order))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def task(self) -> Task:
        """Whether an image has exactly one class, or any number of labels."""
        return MULTILABEL if label_names(self.table.columns) else MULTICLASS

    @property
    def sharded(self) -> bool:
        """Whether images are in shards."""
        return "shard" in self.table

    def files(self) -> StoredImages:
        """Where the bytes of each image are."""
        return StoredImages(self.table)

    @property
    def ignored(self) -> int:
        """Number of files among the images that do not belong to the data set."""
        return sum(files.count for files in self.left_out)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have images, in the order train, val, test."""
        present = set(self.table["split"].tolist())
        return tuple(name for name in SPLITS if name in present)

    def part(self, split: str) -> Manifest:
        """The rows of one split, with all classes."""
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        return replace(self, table=self.table[self.table["split"] == split])

    def targets(self) -> np.ndarray:
        """The class of each row as an index into ``classes``, (N,) int64.

        Of several labels, the value of each: (N, L) int64, 1, 0, or -1 if it is unknown.
        """
        if self.task == MULTILABEL:
            values: np.ndarray = self.table[[LABEL + name for name in self.classes]].to_numpy(dtype=np.int64)
            return values
        index = {name: number for number, name in enumerate(self.classes)}
        return np.array([index[label] for label in self.table["label"].tolist()], dtype=np.int64)

    def rare_class(self) -> str | None:
        """Of two classes, the one with at most ``RARE`` times as many images as the other; else None."""
        if len(self.classes) != 2 or self.task == MULTILABEL:
            return None
        (low, rare), (high, _) = sorted((count, name) for name, count in self.counts().items())
        return rare if low <= RARE * high else None

    def counts(self) -> dict[str, int]:
        """Images of each class, or with each label, in the order of the classes."""
        if self.task == MULTILABEL:
            present = (self.targets() == PRESENT).sum(axis=0)
            return dict(zip(self.classes, present.tolist(), strict=True))
        counts = Counter(self.table["label"].tolist())
        return {name: counts[name] for name in self.classes}

    def group_codes(self) -> np.ndarray:
        """The group of each row as a number from 0, (N,) int64; an image without a group has its own."""
        return encode_groups(self.table["group"].to_numpy(dtype=object))

    def photo_codes(self) -> np.ndarray:
        """The photo of each row as a number from 0, (N,) int64; copies of one photo share it."""
        return encode_groups(self.table["photo"].to_numpy(dtype=object))

    @property
    def has_named_groups(self) -> bool:
        """Whether the user defined groups, beside those of near-duplicates."""
        return any(name and not name.startswith(DUPLICATES) for name in set(self.table["group"].tolist()))

    @property
    def has_copies(self) -> bool:
        """Whether there are more than two images per photo on average, as in augmented data."""
        return 2 * len(np.unique(self.photo_codes())) < len(self)

    def shard_codes(self) -> np.ndarray | None:
        """The shard of each image as a number from 0, (N,) int64; None if they are in none."""
        if not self.sharded:
            return None
        return np.asarray(pd.factorize(self.table["shard"])[0], dtype=np.int64)

    def group_count(self) -> int:
        """Number of groups; an image without a group counts as one."""
        return len(np.unique(self.group_codes()))

    def with_columns(self, **columns: Any) -> Manifest:
        """A copy with columns replaced or added; each is one value for all rows, or one value per row."""
        return replace(self, table=self.table.assign(**columns))

    def with_paths(self, paths: Sequence[str]) -> Manifest:
        """A copy whose images, and the shards that they are in, are at other paths.

        Args:
            paths: of all images; only folders above a shard may differ.
        """
        if not self.sharded:
            return self.with_columns(path=paths)
        before = zip(self.table["path"], self.table["shard"], paths, strict=True)
        shards = [shard and new[: len(new) - (len(old) - len(shard))] for old, shard, new in before]
        return self.with_columns(path=paths, shard=shards)

    def save(self, path: str | Path) -> None:
        """Write a CSV that ``read_manifest`` reads back; columns of the user as text."""
        with replacing(Path(path)) as file:
            # With the line ends of RFC 4180, the writer quotes a stray carriage return in a label.
            self.table.to_csv(file, index=False, lineterminator="\r\n", encoding="utf-8", mode="wb")


def normalize_name(name: str) -> str:
    """A name in composed Unicode (NFC), in which names of different systems are equal if they look equal."""
    return unicodedata.normalize("NFC", name)


def split_names(names: Iterable[str]) -> dict[str, str]:
    """The split that each name of a folder or value means: train, val, test, or "" for none."""
    keys = {name: _split_key(name) for name in names}
    splits = {name: SPLIT_WORDS.get(key, "") for name, key in keys.items()}
    evaluation = "val" if "test" in splits.values() else "test"
    return {name: evaluation if keys[name] in _EVALUATION_WORDS else split for name, split in splits.items()}


def _split_key(name: str) -> str:
    """The key of a name: ``training`` for ``Training-Set``, ``holdout`` for ``hold_out``."""
    key = re.sub(r"[\s_.-]+", "", normalize_name(name).casefold())
    for word in _SET_WORDS:
        for key_without in (key.removesuffix(word), key.removeprefix(word)):
            if key_without in SPLIT_WORDS or key_without in _EVALUATION_WORDS:
                return key_without
    return key


def encode_groups(names: np.ndarray) -> np.ndarray:
    """Numbers from 0 for names (N,), (N,) int64; each "" gets its own number."""
    codes = np.asarray(pd.factorize(names)[0], dtype=np.int64)
    ungrouped = names == ""
    codes[ungrouped] = len(codes) + np.arange(ungrouped.sum())
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def check_classes(manifest: Manifest, *, where: object = None) -> None:
    """Refuse data on which no classifier can be trained and evaluated.

    Raises:
        ExciteError: for fewer than two classes, class names that differ only in case, a class with fewer than
            two images, splits for only some images, or a class missing from a split; for several labels as
            ``check_labels``.
    """
    if len(manifest.classes) < 2 and manifest.task == MULTICLASS:
        names = ", ".join(map(repr, manifest.classes)) or "none"
        raise ExciteError(f"at least two classes are needed, found {names}", where=where)
    _check_spelling(manifest, where)
    if manifest.splits:
        _check_every_image_has_split(manifest, where)
    if manifest.task == MULTILABEL:
        splits = {split: manifest.part(split).targets() for split in manifest.splits}
        check_labels(manifest.classes, manifest.targets(), splits, where)
    else:
        _check_counts(manifest, where)


def _check_spelling(manifest: Manifest, where: object) -> None:
    spellings: dict[str, str] = {}
    for name in manifest.classes:
        other = spellings.setdefault(normalize_name(name).strip().casefold(), name)
        if other != name:
            hint = "use one name for both, or two different names"
            raise ExciteError(
                f"classes {other!r} and {name!r} differ only in spelling", where=where, hint=hint
            )


def _check_every_image_has_split(manifest: Manifest, where: object) -> None:
    table = manifest.table
    without = table.loc[table["split"] == "", "path"]
    if len(without):
        what = f"{len(without)} of {len(table)} images have no split, the first is {without.iloc[0]}"
        raise ExciteError(what, where=where, hint="set train, val, or test for every image, or for none")


def _check_counts(manifest: Manifest, where: object) -> None:
    """Every class has two images, and one in every split."""
    few = [(name, count) for name, count in manifest.counts().items() if count < 2]
    if few:
        name, count = few[0]
        what = f"{len(few)} of {len(manifest.classes)} classes have fewer than two images: "
        what += f"{name!r} has {count or 'none'}"
        raise ExciteError(
            what, where=where, hint="check the label column; add images, or leave the class out"
        )
    for split in manifest.splits:
        missing = [name for name, count in manifest.part(split).counts().items() if count == 0]
        if missing:
            what = f"class {missing[0]!r} has no images in {split}"
            more = f", nor have {len(missing) - 1} other classes" if len(missing) > 1 else ""
            hint = "every class must have images in every split; check the spelling of the class names"
            raise ExciteError(what + more, where=where, hint=hint)


def _filled(value: str | int, length: int) -> pd.Series:
    return pd.Series([value] * length, dtype="object")
