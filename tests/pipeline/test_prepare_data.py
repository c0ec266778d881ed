"""Training uses the groups and the leaks of the audit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import excite
from excite.errors import ExciteError
from excite.runs.evaluate import evaluate_run
from excite.runs.run import Run

QUICK = {"epochs": 1, "batch_size": 8, "quiet": True, "device": "cpu", "model": "cifar_resnet20"}


def scene(seed: int, size: int = 96) -> np.ndarray:
    """A picture with shapes in it, unlike every other."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    pixels = np.full((size, size, 3), random.integers(0, 255, 3), float)
    for _ in range(25):
        inside = (x - random.integers(size)) ** 2 + (y - random.integers(size)) ** 2 < random.integers(
            4, 20
        ) ** 2
        pixels[inside] = random.integers(0, 255, 3)
    return pixels.astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of eight photos, each with a mirrored copy under an unrelated name."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    names = iter(np.random.default_rng(0).permutation(1000))
    for number in range(16):
        place = folder / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = scene(number)
        for copy in (pixels, pixels[:, ::-1]):
            Image.fromarray(copy).save(place / f"{next(names)}.png")
    return folder


@pytest.fixture(scope="module")
def leaky(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same photos in train, val and test, one of them on both sides."""
    random = excite.train(photos, split="grouped", out=str(tmp_path_factory.mktemp("runs") / "r"), **QUICK)
    folder = tmp_path_factory.mktemp("leaky") / "data"
    table = random.manifest.table
    for row in table.itertuples():
        place = folder / str(row.split) / str(row.label)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(row.path), place)
    test = table[table["split"] == "test"].iloc[0]
    shutil.copy(test["path"], folder / "train" / test["label"] / "copy.png")
    return folder


@pytest.mark.slow
def test_copies_stay_together_by_default(photos: Path, tmp_path: Path) -> None:
    run = excite.train(photos, out=str(tmp_path / "run"), **QUICK)
    assert run.config.split == "grouped"
    table = run.manifest.table
    assert table.groupby("group").size().tolist() == [2] * 16
    assert table.groupby("group")["split"].nunique().max() == 1
    test = run.metrics["test"]
    assert (test["groups"], test["duplicates_in_train"]) == (test["n"] / 2, 0)


@pytest.mark.slow
def test_a_random_split_is_possible_and_marked(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = {**QUICK, "quiet": False}
    run = excite.train(photos, split="random", out=str(tmp_path / "run"), **options)
    table = run.manifest.table
    train = set(table[table["split"] == "train"]["group"])
    wanted = sum(row.split == "test" and row.group in train for row in table.itertuples())
    assert run.metrics["test"]["duplicates_in_train"] == wanted > 0
    n = len(table[table["split"] == "test"])
    assert f"{wanted} of {n} test images have a near-duplicate in the training set" in capfd.readouterr().err
    assert evaluate_run(run).metrics["duplicates_in_train"] == wanted


@pytest.mark.slow
def test_a_given_split_with_leaks_is_refused(leaky: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ExciteError, match=r"2 of \d+ test images have a near-duplicate in another part.*--allow-leaks"
    ):
        excite.train(leaky, out=str(tmp_path / "run"), **QUICK)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_allowed_leaks_are_marked(leaky: Path, tmp_path: Path) -> None:
    run = excite.train(leaky, allow_leaks=True, out=str(tmp_path / "run"), **QUICK)
    assert run.metrics["test"]["duplicates_in_train"] == 2
    assert json.loads((run.path / "metrics.json").read_text())["val"]["duplicates_in_train"] == 0
    assert Run.open(run.path).config.allow_leaks is True


@pytest.mark.slow
def test_a_given_split_can_be_replaced(leaky: Path, tmp_path: Path) -> None:
    run = excite.train(leaky, split="grouped", out=str(tmp_path / "run"), **QUICK)
    assert run.metrics["test"]["duplicates_in_train"] == 0


@pytest.mark.slow
def test_decisions_of_a_reviewer_are_applied(photos: Path, tmp_path: Path) -> None:
    found = excite.audit(photos)
    pair = found.pairs[0]
    paths = found.manifest.table["path"]
    (tmp_path / "decisions.csv").write_text(
        f"a,b,decision\n{paths[pair.a]},{paths[pair.b]},reject\n", encoding="utf-8"
    )
    run = excite.train(photos, decisions=str(tmp_path / "decisions.csv"), out=str(tmp_path / "run"), **QUICK)
    groups = run.manifest.table.set_index("path")["group"]
    assert groups[paths[pair.a]] == groups[paths[pair.b]] == ""


@pytest.mark.slow
def test_without_near_duplicates_there_is_no_third_pass(photos: Path, tmp_path: Path) -> None:
    assert excite.audit(photos, near_duplicates=False).near_duplicates is False
    run = excite.train(photos, near_duplicates=False, out=str(tmp_path / "run"), **QUICK)
    assert run.config.near_duplicates is False
