"""Evaluated images that were seen in training, as exact or near-duplicates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from excite.audit.audit import NEAR_DUPLICATES_UP_TO
from excite.audit.duplicates.cross_pairs import find_cross_pairs
from excite.audit.duplicates.grouping import BITS_FOR_ONE, bits
from excite.audit.duplicates.pair import KINDS, Pair
from excite.audit.leaks import count_near_duplicates
from excite.data.manifest import SPLITS, Manifest
from excite.runs.derive import intensity_range_of
from excite.runs.run import Run
from excite.system.cache import cache_directory
from excite.system.progress import Display

FITTED, SELECTED = "fitted", "selected"


@dataclass(frozen=True)
class SeenImage:
    """An evaluated image with its counterpart in the training data.

    Args:
        row: of the evaluated manifest.
        path: of the image.
        counterpart: path of the training or validation image of the same photo.
        kind, evidence, confidence: of the pair, as in ``audit.json``.
        use: what the counterpart was used for: ``fitted``, if the network was fitted to it, or ``selected``,
            if it only selected the epoch, the calibration, and the thresholds.
    """

    row: int
    path: str
    counterpart: str
    kind: str
    evidence: str
    confidence: float
    use: str = FITTED

    def to_dict(self) -> dict[str, str | float]:
        """The entry of ``seen_images`` in ``metrics.json``, and the row of ``seen_in_training.csv``."""
        return {
            "path": self.path,
            "counterpart": self.counterpart,
            "kind": self.kind,
            "evidence": self.evidence,
            "confidence": round(self.confidence, 4),
            "use": self.use,
        }


def seen_in_training(run: Run, images: Manifest, display: Display) -> list[SeenImage]:
    """The images with a duplicate or near-duplicate in the run's training or validation data, by row.

    A training image whose file is missing or has changed is compared by its hash alone, unless the cache
    still has its fingerprint.

    Args:
        run: a finished run.
        images: checked images.
        display: the progress display.
    """
    manifest = run.manifest
    used = manifest  # most members of a cross-validation were trained on any one image
    if run.config.folds is None:
        table = manifest.table
        used = replace(manifest, table=table[table["split"].isin(["train", "val"])])
    near_duplicates = run.config.near_duplicates
    range_ = intensity_range_of(run.config)
    found = find_cross_pairs(
        replace(used, intensity_range=range_),
        replace(images, intensity_range=range_, extremes=None),
        near_duplicates=len(used) + len(images) <= NEAR_DUPLICATES_UP_TO
        if near_duplicates is None
        else near_duplicates,
        max_pixels=run.config.max_pixels,
        cache=cache_directory(),
        progress=display.stage,
    )
    if found.missing:
        text = f"{found.missing} of {len(used)} training images are missing or have changed"
        display.note(f"{text}: only exact duplicates of them can be found")
    fitted = used.table["split"].isin(fitted_splits(run)).tolist()
    counterparts = _counterparts(found.pairs, used.photo_codes().tolist(), fitted)
    paths, known = images.table["path"].tolist(), used.table["path"].tolist()
    return [
        SeenImage(
            row,
            paths[row],
            known[pair.a],
            pair.kind,
            pair.evidence,
            pair.confidence,
            FITTED if fitted[pair.a] else SELECTED,
        )
        for row, pair in sorted(counterparts.items())
    ]


def fitted_splits(run: Run) -> tuple[str, ...]:
    """The splits that a run's network was fitted to, rather than selected on.

    A linear probe is fitted to the validation images, too. Most members of a cross-validation were fitted to
    any of its images.
    """
    if run.config.folds is not None:
        return ("", *SPLITS)
    fell_back = (run.path / "robustness.json").is_file() and run.read_json("robustness.json")["probe"]
    return ("train", "val") if run.config.recipe == "probe" or fell_back else ("train",)


def _counterparts(pairs: Sequence[Pair], photos: Sequence[int], fitted: Sequence[bool]) -> dict[int, Pair]:
    """The best pair of each image of a known photo: an exact duplicate, or enough evidence over all pairs.

    Args:
        photos: the photo number of each known image.
        fitted: whether the network was fitted to each known image; such a counterpart comes first.
    """
    by_photo: dict[int, dict[int, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        by_photo[pair.b][photos[pair.a]].append(pair)
    best = {}
    for row, candidates in by_photo.items():
        enough = [pair for rows in candidates.values() if _is_enough(rows) for pair in rows]
        if enough:
            best[row] = min(enough, key=lambda pair: _order(pair, fitted))
    return best


def _order(pair: Pair, fitted: Sequence[bool]) -> tuple[bool, int, float, int]:
    return not fitted[pair.a], KINDS.index(pair.kind), -pair.confidence, pair.a


def _is_enough(pairs: Sequence[Pair]) -> bool:
    identical = any(pair.kind == KINDS[0] for pair in pairs)
    return identical or sum(bits(pair.confidence) for pair in pairs) >= BITS_FOR_ONE


def duplicates_in_train(manifest: Manifest, split: str) -> int:
    """The number of images of a split that have an image of the same group in the training set."""
    if split == "train" or "train" not in manifest.splits:
        return 0
    codes = [int(code) for code in manifest.group_codes()]
    return count_near_duplicates(manifest.table["split"].tolist(), codes, of=split)
