"""Labeled images from memory: every form gives the same table and the same pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import excite
from excite.data.reading import read_manifest
from excite.errors import ExciteError
from excite.runs.labeled_inputs import labeled_files
from tests.conftest import SMALL

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6, 12, 10, 3), dtype=np.uint8)
LABELS = ["cat", "dog", "cat", "dog", "cat", "dog"]


class Dataset:
    """As those of torchvision: an index gives an image and the number of its class."""

    classes = ("cat", "dog")

    def __len__(self) -> int:
        return len(PIXELS)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(PIXELS[index]), index % 2


FORMS: dict[str, Any] = {
    "arrays": (PIXELS, LABELS),
    "tensors": (torch.from_numpy(PIXELS).movedim(-1, 1), np.array(LABELS)),
    "floats": (torch.from_numpy(PIXELS).movedim(-1, 1).float() / 255, LABELS),
    "pairs": [(Image.fromarray(each), label) for each, label in zip(PIXELS, LABELS, strict=True)],
    "dataset": Dataset(),
    "frame": pd.DataFrame({"image": list(PIXELS), "label": LABELS}),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_files(form: str) -> None:
    table = read_manifest(labeled_files(FORMS[form])).table
    assert table["label"].tolist() == LABELS
    read = np.stack([np.asarray(Image.open(path)) for path in table["path"]])
    np.testing.assert_array_equal(read, PIXELS)


def test_the_same_data_is_written_once(cache: Path) -> None:
    first = labeled_files(FORMS["arrays"])
    before = {file: file.stat().st_mtime_ns for file in cache.rglob("*")}
    assert labeled_files(FORMS["arrays"]) == first
    assert {file: file.stat().st_mtime_ns for file in cache.rglob("*")} == before
    assert labeled_files((PIXELS, LABELS[::-1])) != first


def test_paths_and_further_columns_of_a_frame_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(f"{number}.png")
    groups = ["p1", "p1", "p2", "p2", "p3", "p3"]
    frame = pd.DataFrame({"path": [f"{n}.png" for n in range(6)], "label": LABELS, "group": groups})
    frame["age"] = range(6)
    table = read_manifest(labeled_files(frame)).table
    assert table["path"].tolist() == [str(tmp_path / f"{n}.png") for n in range(6)]
    assert table["group"].tolist() == groups
    assert table["age"].tolist() == list("012345")
    assert "image" not in frame.columns
    assert frame["path"].tolist() == [f"{n}.png" for n in range(6)]


@pytest.mark.parametrize(
    ("dtype", "top"), [(np.uint16, 4000), (np.float32, 0.75)], ids=["12 bits", "floating-point"]
)
def test_deep_images_keep_their_samples(dtype: type, top: float) -> None:
    samples = (RANDOM.random((4, 9, 9)) * top).astype(dtype)
    table = read_manifest(labeled_files((samples, ["a", "b", "a", "b"]))).table
    for path, expected in zip(table["path"], samples, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)).astype(dtype), expected)


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1), min_size=2, max_size=4
    )
)
def test_labels_are_data(labels: list[str]) -> None:
    data = [(Image.fromarray(PIXELS[n]), label) for n, label in enumerate(labels)]
    with pd.option_context("mode.string_storage", "python"):
        table = pd.read_csv(labeled_files(data), keep_default_na=False, dtype=str)
    assert table["label"].tolist() == labels


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((PIXELS, LABELS[:3]), "6 images and 3 labels"),
        ([], "the data set is empty"),
        (17, "cannot be read as labeled images: int"),
        ([(3.5, "a"), (4.5, "b")], "image 0 is a float"),
        ([1, 2], "cannot be read as labeled images: list"),
        (
            pd.DataFrame({"image": [1], "path": ["a"], "label": ["x"]}),
            "both a column path and a column image",
        ),
        ((PIXELS.astype(np.float32), LABELS), "must be between 0 and 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_data_set_is_refused(data: Any, message: str) -> None:
    with pytest.raises(ExciteError, match=message) as caught:
        labeled_files(data)
    assert caught.value.exit_code == 2


@pytest.mark.slow
def test_a_classifier_is_trained_and_evaluated_on_arrays(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 128, (60, 16, 16), dtype=np.uint8)
    labels = np.arange(60) % 2
    images[labels == 1, :8] += 120
    run = excite.train((images, labels), out=str(tmp_path / "run"), epochs=1, quiet=True, **SMALL)
    found = excite.evaluate(run, (images[:20], labels[:20]))
    assert (run.metrics["test"]["n"], found.metrics["n"]) == (12, 20)
    assert len(excite.audit((images, labels), near_duplicates=False)) == 60
