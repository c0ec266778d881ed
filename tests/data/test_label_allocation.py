"""Iterative stratification of groups: its proportions, and the published algorithm on images."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from excite.data.extension import extend_split
from excite.data.label_allocation import LabelAllocation
from excite.data.manifest import Manifest
from excite.data.split import folds, split_manifest
from excite.errors import ExciteError


def published(values: np.ndarray, shares: list[float]) -> list[set[int]]:
    """Algorithm 1 of Sechidis et al. 2011 in dictionaries; ties are broken by the index."""
    labels = range(values.shape[1])
    remaining = set(range(len(values)))
    wanted = [share * len(values) for share in shares]
    per_label = [[share * values[:, label].sum() for label in labels] for share in shares]
    subsets: list[set[int]] = [set() for _ in shares]

    def give(example: int, subset: int) -> None:
        remaining.discard(example)
        subsets[subset].add(example)
        wanted[subset] -= 1
        for label in labels:
            per_label[subset][label] -= values[example, label]

    while any(values[example].any() for example in remaining):
        sizes = {label: sum(values[e, label] for e in remaining) for label in labels}
        rarest = min((label for label in labels if sizes[label]), key=lambda label: sizes[label])
        for example in sorted(e for e in remaining if values[e, rarest]):
            best = max(range(len(shares)), key=lambda s: (per_label[s][rarest], wanted[s]))
            give(example, best)
    for example in sorted(remaining):
        give(example, max(range(len(shares)), key=lambda s: wanted[s]))
    return subsets


def manifest_of(values: np.ndarray, groups: np.ndarray) -> Manifest:
    columns = {f"label:{k}": values[:, k] for k in range(values.shape[1])}
    table = {"path": [f"/{row}.png" for row in range(len(values))], "group": [f"g{each}" for each in groups]}
    return Manifest(pd.DataFrame(table | columns), tuple(str(k) for k in range(values.shape[1])))


def simulated(seed: int, images: int = 900, labels: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Correlated labels of 3 to 30 %, in groups of one to a dozen images."""
    random = np.random.default_rng(seed)
    groups = np.sort(random.integers(0, images // 3, images))
    severity = random.normal(size=images // 3)[groups]
    rates = np.linspace(0.03, 0.3, labels)
    values = random.random((images, labels)) < rates * np.exp(severity[:, None] - 0.5)
    return values.astype(int), groups


def deviations(values: np.ndarray, parts: np.ndarray, shares: list[float]) -> np.ndarray:
    """(P, L) difference of each part's fraction of a label from its share."""
    totals = values.sum(axis=0)
    return np.array([values[parts == part].sum(axis=0) / totals - share for part, share in enumerate(shares)])


@pytest.mark.parametrize("seed", range(5))
def test_labels_and_their_pairs_keep_their_shares(seed: int) -> None:
    values, _ = simulated(seed)
    shares = [0.2, 0.1, 0.7]
    keys = [f"{row}" for row in range(len(values))]
    parts = LabelAllocation(np.arange(len(values)), values, keys, seed).parts(np.array(shares))
    twin = np.empty(len(values), dtype=int)
    for part, subset in enumerate(published(values, shares)):
        twin[list(subset)] = part
    off = np.abs(deviations(values, parts, shares)) * values.sum(axis=0)
    assert off.max() <= 2  # images
    assert np.bincount(parts).tolist() == pytest.approx([180, 90, 630], abs=2)
    pairs = (values[:, :, None] * values[:, None, :]).reshape(len(values), -1)
    pairs = pairs[:, pairs.sum(axis=0) >= 10]
    ours, theirs = (np.abs(deviations(pairs, each, shares)).mean() for each in (parts, twin))
    assert ours < theirs / 2  # the published algorithm does not look at pairs


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_labels_keep_their_shares(seed: int) -> None:
    values, groups = simulated(seed)
    manifest = manifest_of(values, groups)
    split = split_manifest(manifest, method="grouped", seed=seed)
    assert split.table.groupby("group")["split"].nunique().max() == 1
    parts = split.table["split"].map({"train": 0, "val": 1, "test": 2}).to_numpy()
    largest = np.array([np.bincount(groups, column).max() for column in values.T])
    off = np.abs(deviations(values, parts, [0.7, 0.1, 0.2])) * values.sum(axis=0)
    assert (off <= largest + 1).all()  # images: as far as the largest group of the label
    again = split_manifest(manifest, method="grouped", seed=seed)
    assert again.table["split"].equals(split.table["split"])
    other = split_manifest(manifest, method="grouped", seed=seed + 100)
    assert not other.table["split"].equals(split.table["split"])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_every_fold_has_images_with_and_without_every_label(seed: int, k: int) -> None:
    values, groups = simulated(seed, images=300, labels=4)
    assume(min(len(np.unique(groups[column == 1])) for column in values.T) >= k)
    manifest = manifest_of(values, groups)
    found = folds(manifest, k, seed=seed, method="grouped")
    for fold in range(k):
        inside = values[found == fold]
        assert inside.any(axis=0).all()
        assert not inside.all(axis=0).any()


def test_the_order_of_the_images_does_not_matter() -> None:
    values, groups = simulated(3)
    split = split_manifest(manifest_of(values, groups), method="grouped", seed=0)
    by_group = dict(zip(split.table["group"], split.table["split"], strict=True))
    order = np.random.default_rng(0).permutation(len(values))
    shuffled = split_manifest(manifest_of(values[order], groups[order]), method="grouped", seed=0)
    assert dict(zip(shuffled.table["group"], shuffled.table["split"], strict=True)) == by_group


def test_extending_keeps_old_images_and_the_shares_of_labels() -> None:
    values, groups = simulated(7)
    everything = manifest_of(values, groups)
    old = groups < 200
    earlier = Manifest(everything.table[old], everything.classes)
    earlier = split_manifest(earlier, method="grouped", seed=1)
    extended = extend_split(everything, earlier, grouped=True, seed=1, fractions=(0.7, 0.1, 0.2))
    assert extended.retained == old.sum()
    assert extended.manifest.table["split"][old].tolist() == earlier.table["split"].tolist()
    parts = extended.manifest.table["split"].map({"train": 0, "val": 1, "test": 2}).to_numpy()
    largest = np.array([np.bincount(groups, column).max() for column in values.T])
    off = np.abs(deviations(values, parts, [0.7, 0.1, 0.2])) * values.sum(axis=0)
    assert (off <= largest + 1).all()


def test_a_label_of_too_few_groups_is_refused() -> None:
    values = np.zeros((20, 2), dtype=int)
    values[:10, 0] = values[:2, 1] = 1
    with pytest.raises(ExciteError, match="2 images with label '1'; 3 parts need at least 3"):
        split_manifest(manifest_of(values, np.arange(20)), method="random", seed=0)
