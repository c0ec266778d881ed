"""Background pairs contain no copies, as long as no photo makes up more than a twentieth of the set."""

from __future__ import annotations

import numpy as np
import pytest

from excite.audit.duplicates.chance_similarity import MIN_IMAGES, QUANTILE, sample_background_pairs


def with_copies(n: int, copies: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """(keys, group) of ``n`` pictures, a fraction of them in groups of ``copies``."""
    random = np.random.default_rng(0)
    group = np.arange(n)
    many = int(share * n) // copies * copies
    group[:many] = np.arange(many) // copies
    keys = random.standard_normal((n, 32))[group] + 0.2 * random.standard_normal((n, 32))
    return (keys / np.linalg.norm(keys, axis=1, keepdims=True)).astype(np.float32), group


@pytest.mark.parametrize(("n", "copies", "share"), [(400, 40, 0.5), (2000, 90, 0.5), (4000, 150, 1.0)])
def test_copies_are_no_background_pairs(n: int, copies: int, share: float) -> None:
    keys, group = with_copies(n, copies, share)
    some, background = sample_background_pairs(keys)
    assert len(some) == 300
    assert (group[some] != group[background]).mean() > QUANTILE


def test_a_small_set_has_no_background_pairs() -> None:
    keys, _ = with_copies(MIN_IMAGES - 1, 2, 0.0)
    assert [len(rows) for rows in sample_background_pairs(keys)] == [0, 0]
