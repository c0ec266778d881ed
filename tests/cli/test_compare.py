"""excite compare, as printed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tests.conftest import Command


def table(path: Path, positives: int, seed: int) -> Path:
    """A table of predictions for 60 images, most of them right."""
    targets = np.arange(60) < positives
    yes = (0.4 * targets + np.random.default_rng(seed).uniform(0.1, 0.55, 60)).round(3)
    labels = np.where(targets, "yes", "no")
    columns = {"path": [f"{row}.jpg" for row in range(60)], "label": labels, "p:no": 1 - yes, "p:yes": yes}
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_few_images_of_a_class_cause_a_warning(excite_command: Command, tmp_path: Path) -> None:
    for positives, expected in ((4, True), (30, False)):
        first, second = (table(tmp_path / f"{positives}-{seed}.csv", positives, seed) for seed in (1, 2))
        done = excite_command("compare", first, second, "--metrics", "accuracy,balanced_accuracy")
        assert done.returncode == 0, done.stderr
        assert ("rough: 4 groups of class 'yes'; about 5 are needed" in done.stdout) is expected, done.stdout
