"""Metadata that predicts the class is found; noise is not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.tree import DecisionTreeClassifier

from excite.audit import metadata_shortcut
from excite.audit.file_metadata import FileMetadata
from excite.audit.metadata_shortcut import find_shortcuts


def facts(n: int, seed: int = 0, **given: list) -> list[FileMetadata]:
    random = np.random.default_rng(seed)
    drawn = {
        "bytes": random.integers(20_000, 60_000, n).tolist(),
        "format": ["JPEG"] * n,
        "mode": ["RGB"] * n,
        "quantization": [500] * n,
        "gray": [False] * n,
        "std": [50.0] * n,
        **given,
    }
    return [FileMetadata(*row) for row in zip(*drawn.values(), strict=True)]


def sides(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(200, 400, (n, 2))


ALONE = np.arange(240)
TARGETS = np.arange(240) % 2


def features(found: list) -> set[str]:
    return {shortcut.feature for shortcut in found}


@pytest.mark.slow
def test_a_class_of_larger_pictures_is_found() -> None:
    shape = sides(240)
    shape[TARGETS == 1] += 150
    found = find_shortcuts(facts(240), shape, TARGETS, ALONE)
    assert "size" in features(found)
    assert found[0].score > 0.8
    assert found[0].chance == pytest.approx(0.5, abs=0.05)
    assert found[0].highest < found[0].score
    assert (found[0].images, found[0].groups) == (240, 240)
    assert "from file metadata alone" in str(found[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "feature"),
    [
        ({"format": ["PNG" if target else "JPEG" for target in TARGETS]}, "format"),
        ({"quantization": [300 if target else 900 for target in TARGETS]}, "format"),
        ({"mode": ["L" if target else "RGB" for target in TARGETS]}, "color mode"),
        ({"gray": [bool(target) for target in TARGETS]}, "color mode"),
        ({"bytes": [9_000 + i if target else 50_000 + i for i, target in enumerate(TARGETS)]}, "file bytes"),
    ],
)
def test_each_property_alone_is_named(given: dict, feature: str) -> None:
    found = find_shortcuts(facts(240, **given), sides(240), TARGETS, ALONE)
    assert found[0].feature == feature
    assert found[0].score == 1
    assert features(found) == {feature}


@pytest.mark.slow
def test_one_of_three_classes_with_other_metadata_is_found() -> None:
    targets = np.arange(300) % 3
    modes = ["L" if target == 2 else "RGB" for target in targets]
    found = find_shortcuts(facts(300, mode=modes), sides(300), targets, np.arange(300))
    (mode,) = [shortcut for shortcut in found if shortcut.feature == "color mode"]
    assert 0.6 < mode.score < 0.75  # one class known, the two others guessed: 2/3


@pytest.mark.slow
def test_noise_is_no_shortcut() -> None:
    """With p = 0.01, twenty sets of noise give more than one false positive once in 60 times."""
    alarms = 0
    for seed in range(20):
        targets = np.random.default_rng(seed).permutation(TARGETS)
        alarms += bool(find_shortcuts(facts(240, seed), sides(240, seed), targets, ALONE))
    assert alarms <= 1


@pytest.mark.slow
def test_copies_of_a_few_photos_are_no_evidence() -> None:
    """The 20 copies of a photo have one size, which predicts their class, but not that of other photos."""
    groups = np.repeat(np.arange(24), 20)
    targets = groups % 2
    shape = sides(24, seed=3)[groups]
    found = find_shortcuts(facts(480), shape, targets, groups)
    assert not any(shortcut.feature == "size" for shortcut in found)
    by_image = find_shortcuts(facts(480), shape, targets, np.arange(480))
    assert "size" in features(by_image)


@pytest.mark.parametrize(
    ("targets", "groups"),
    [
        (np.zeros(240, int), ALONE),
        (TARGETS[:0], ALONE[:0]),
        (TARGETS[:1], ALONE[:1]),
        (TARGETS[:2], ALONE[:2]),
        (TARGETS[:12], ALONE[:12]),
        ((ALONE < 5).astype(int), ALONE),
        (TARGETS, ALONE % 4),
    ],
)
def test_too_few_images_give_no_shortcut(targets: np.ndarray, groups: np.ndarray) -> None:
    n = len(targets)
    shape = sides(n) + 500 * targets[:, None]
    assert find_shortcuts(facts(n), shape, targets, groups) == []


def test_files_with_equal_metadata_give_no_shortcut() -> None:
    same = facts(240, bytes=[1000] * 240)
    assert find_shortcuts(same, np.full((240, 2), 32), TARGETS, ALONE) == []


def test_the_score_is_that_of_scikit_learn_on_unseen_groups() -> None:
    random = np.random.default_rng(5)
    table = random.normal(size=(200, 3)) + TARGETS[:200, None]
    folds = random.integers(0, 5, 200)
    predicted = np.empty(200, int)
    for fold in range(5):
        held = folds == fold
        tree = DecisionTreeClassifier(
            max_depth=3, min_samples_leaf=0.01, class_weight="balanced", random_state=0
        )
        predicted[held] = tree.fit(table[~held], TARGETS[:200][~held]).predict(table[held])
    expected = balanced_accuracy_score(TARGETS[:200], predicted)
    assert metadata_shortcut._score(table, TARGETS[:200], folds) == pytest.approx(expected)


def test_large_sets_are_sampled_by_whole_groups() -> None:
    groups = np.random.default_rng(0).integers(0, 4000, 30_000)
    rows = metadata_shortcut._sample(groups, np.random.default_rng(0))
    assert 4_900 < len(rows) <= metadata_shortcut.MOST_IMAGES
    assert set(groups[rows]).isdisjoint(groups[np.setdiff1d(np.arange(30_000), rows)])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_figures() -> None:
    shape = sides(240)
    shape[TARGETS == 1] += 60
    once, again = (find_shortcuts(facts(240, bytes=[9] * 240), shape, TARGETS, ALONE) for _ in range(2))
    assert once
    assert once == again
