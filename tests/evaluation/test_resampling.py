"""Weights of groups equal repeated images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excite.evaluation.measure import measure
from excite.evaluation.metrics import PER_CLASS
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums, bootstrap, jackknife_weights, resample_weights
from tests.evaluation.simulated import messy, simulate

BINNED_ANEW = "ece_equal_mass"  # its bins are those of the images, not those of each resample


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    images=st.integers(1, 40),
    groups=st.integers(1, 40),
    levels=st.sampled_from([1, 2, 5, 1000]),
    seed=st.integers(0, 10_000),
)
def test_figures_under_weights_are_those_of_the_copied_images(
    images: int, groups: int, levels: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    probabilities, targets = messy(random, images, 3, levels=levels)
    names = random.integers(0, groups, images).astype(str)
    predictions = Predictions(targets, probabilities, ("a", "b", "c"), names)
    weights = resample_weights(predictions.group_count, 4, random)
    values = GroupSums(predictions).values(weights)
    for column in range(4):
        rows = np.repeat(np.arange(images), weights[predictions.group_codes, column].astype(int))
        if len(rows) == 0:
            continue
        plain = measure(predictions.take(rows), intervals=False)
        for name, row in values.overall.items():
            if name != BINNED_ANEW:
                expected = plain[name]["value"]
                got = None if np.isnan(row[column]) else row[column]
                assert got == pytest.approx(expected, abs=1e-9), name
        for name in PER_CLASS:
            for index, label in enumerate("abc"):
                number = values.classes[name][index, column]
                got = None if np.isnan(number) else number
                assert got == pytest.approx(plain["classes"][label][name]["value"], abs=1e-9), (name, label)


def test_every_group_is_drawn_as_often_as_another() -> None:
    weights = resample_weights(50, 4000, np.random.default_rng(0))
    assert (weights.sum(axis=0) == 50).all()
    assert weights.mean(axis=1) == pytest.approx(np.ones(50), abs=5 / np.sqrt(4000))
    assert weights.var() == pytest.approx(1 - 1 / 50, rel=0.02)  # multinomial


def test_the_jackknife_leaves_out_each_group_once() -> None:
    for groups in (1, 7, 400, 1234):
        weights = jackknife_weights(groups, np.random.default_rng(0))
        assert ((1 - weights).sum(axis=1) == 1).all()
        assert weights.shape[1] == min(groups, 400)


def test_the_same_seed_gives_the_same_figures_and_another_seed_others() -> None:
    predictions = simulate(np.random.default_rng(0), 80)
    one, again, other = (measure(predictions, method="bca", resamples=200, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one["auroc"] != other["auroc"]
    assert measure(predictions, seed=1)["auroc"] == measure(predictions)["auroc"]  # nothing is drawn


def test_the_size_of_blocks_does_not_change_the_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    table = GroupSums(simulate(np.random.default_rng(0), 60, size=3))
    whole = bootstrap([table], 100, seed=3)[0]
    monkeypatch.setattr("excite.evaluation.resampling.BLOCK", 1)
    parts = bootstrap([table], 100, seed=3)[0]
    for name, values in whole.overall.items():
        assert np.allclose(values, parts.overall[name], rtol=0, atol=1e-12), name
