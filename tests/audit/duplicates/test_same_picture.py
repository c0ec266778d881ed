"""Pass 2 finds identical files and pixels, re-saved, resized, flipped and turned pictures, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from scipy.fft import dctn

from excite.audit.duplicates import nearest_neighbors
from excite.audit.duplicates.find import find_pairs, group_images
from excite.audit.duplicates.nearest_neighbors import nearest
from excite.audit.duplicates.pair import KINDS, Pair
from excite.audit.duplicates.same_picture import best_orientation, near_pairs, oriented
from excite.audit.duplicates.thumbnails import FREQUENCIES, spectra, thumbnail, unoriented
from excite.data.file_validation import check_files
from excite.data.manifest import Manifest
from tests.audit.duplicates.test_same_photo import jpeg, scene

COUNT = 8
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG quality 20": lambda p: jpeg(p, 20),
    "half size": lambda p: p.resize((p.width // 2, p.height // 2), Image.Resampling.BICUBIC),
    "1.5 times": lambda p: p.resize((p.width * 3 // 2, p.height * 3 // 2), Image.Resampling.LANCZOS),
    "darker": lambda p: p.point(lambda v: int(v * 0.7)),
    "flipped": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda p: p.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned by 90": lambda p: p.transpose(Image.Transpose.ROTATE_90),
    "turned by 180": lambda p: p.transpose(Image.Transpose.ROTATE_180),
    "turned by 270": lambda p: p.transpose(Image.Transpose.ROTATE_270),
    "transposed": lambda p: p.transpose(Image.Transpose.TRANSPOSE),
}


@pytest.mark.slow
@pytest.mark.parametrize("size", [(224, 200), (40, 36)])
@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_finds_its_picture_and_no_other(change: str, size: tuple[int, int]) -> None:
    pictures = [scene(seed, size) for seed in range(COUNT)]
    copies = [CHANGES[change](picture) for picture in pictures]
    pairs = near_pairs([thumbnail(p) for p in pictures + copies], range(2 * COUNT))
    found = {(pair.a, pair.b) for pair in pairs}
    assert found == {(seed, COUNT + seed) for seed in range(COUNT)}
    # The usual hash, at its usual threshold, finds no more of them.
    imagehash = pytest.importorskip("imagehash", reason="imagehash is not installed")
    hashes = [imagehash.phash(p) for p in pictures + copies]
    assert sum(hashes[seed] - hashes[COUNT + seed] <= 10 for seed in range(COUNT)) <= len(found)


def test_spectra_are_the_weighted_dct_of_scipy() -> None:
    lumas = np.random.default_rng(0).integers(0, 256, (3, 32, 32))
    number = np.arange(FREQUENCIES)
    for luma, wave in zip(lumas, spectra(lumas), strict=True):
        # DCT-II without SciPy's factor of 2 in each direction
        reference = dctn(luma.astype(float), type=2)[:FREQUENCIES, :FREQUENCIES] / 4
        reference *= np.hypot(number[:, None], number)
        np.testing.assert_allclose(wave, reference / np.linalg.norm(reference), atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(0, 8), st.integers(0, 7))
def test_unoriented_spectra_do_not_change_and_lose_no_neighbor(seed: int, sigma: float, number: int) -> None:
    grain = np.random.default_rng(seed).standard_normal((2, 32, 32))
    smooth = ndimage.gaussian_filter(grain, (0, sigma, sigma))
    lumas = np.clip(smooth / smooth.std() * 40 + 120, 0, 255).astype(np.uint8)
    waves = spectra(lumas)
    turned = spectra(oriented(lumas, number))
    np.testing.assert_allclose(unoriented(turned), unoriented(waves), atol=1e-4)
    one, two = unoriented(waves)
    best = max(float((spectra(oriented(lumas[:1], turn))[0] * waves[1]).sum()) for turn in range(8))
    assert float(one @ two) >= best - 1e-4
    found, _ = best_orientation(waves, np.array([0]), np.array([1]))
    assert found[0] == pytest.approx(best, abs=1e-4)


def test_nearest_neighbors_by_cells_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    base = random.standard_normal((700, 32))
    vectors = np.concatenate([base, base + 0.3 * random.standard_normal(base.shape)]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    exact = nearest(vectors, vectors, 2)
    product = vectors @ vectors.T
    assert (exact[0] == np.argsort(-product, axis=1)[:, :2]).all()
    monkeypatch.setattr(nearest_neighbors, "EXACT", 100)
    rows, likeness = nearest(vectors, vectors, 2)
    assert (rows[:, 1] == exact[0][:, 1]).mean() > 0.99
    np.testing.assert_allclose(likeness[:, 0], 1, atol=1e-5)


def folder(root: Path, pictures: dict[str, Image.Image]) -> Path:
    for name, picture in pictures.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return root


def found_in(root: Path, **options: bool) -> list[Pair]:
    return find_pairs(checked(root), **options)


def checked(root: Path) -> Manifest:
    """Any number of pictures; what is too few to train on can still be audited."""
    paths = sorted(map(str, root.rglob("*.*")))
    table = pd.DataFrame({"path": paths, "label": "x"}, columns=["path", "label"])
    made, bad = check_files(Manifest(table, ("x",)), complete=False)
    assert not bad
    return made


def test_identical_files_and_pixels_are_told_apart(tmp_path: Path) -> None:
    one, other = scene(0, (80, 70)), scene(1, (80, 70))
    files = {"a/0.png": one, "a/1.png": one, "b/2.bmp": one, "b/3.png": other, "b/4.png": one}
    pairs = found_in(folder(tmp_path / "d", files))
    assert [(pair.a, pair.b, pair.kind) for pair in pairs] == [
        (0, 1, "identical file"),
        (0, 4, "identical file"),
        (0, 2, "identical pixels"),
    ]
    assert all(pair.confidence == 1 and pair.kind in KINDS for pair in pairs)


def test_many_identical_files_make_few_pairs(tmp_path: Path) -> None:
    root = folder(tmp_path / "d", {f"{'ab'[i % 2]}/{i}.png": scene(0, (60, 50)) for i in range(40)})
    pairs = found_in(root)
    assert len(pairs) == 39
    assert len(set(group_images(40, pairs).groups)) == 1


def test_blank_pictures_are_reported_but_glue_nothing(tmp_path: Path) -> None:
    blank = {f"a/{i}.png": Image.new("RGB", (60, 60), (i // 2 * 9,) * 3) for i in range(8)}
    root = folder(tmp_path / "d", {**blank, "b/0.png": scene(0), "b/1.png": scene(1)})
    pairs = found_in(root)
    assert {(pair.a, pair.b) for pair in pairs} == {(0, 1), (2, 3), (4, 5), (6, 7)}
    assert all("blank" in pair.evidence for pair in pairs)
    assert len(set(group_images(10, pairs).groups)) == 10


def test_no_images() -> None:
    assert find_pairs(Manifest(pd.DataFrame({"path": [], "label": []}), ("x",))) == []


@pytest.mark.parametrize("count", [1, 2])
def test_hardly_any_images(tmp_path: Path, count: int) -> None:
    root = folder(tmp_path / "d", {f"{'ab'[i]}/{i}.png": scene(i) for i in range(count)})
    assert found_in(root) == []


def test_small_pictures_are_found_without_features(tmp_path: Path) -> None:
    tiny = {f"a/{i}.png": scene(i).resize((32, 32), Image.Resampling.BOX) for i in range(8)}
    copies = {f"b/{i}.jpg": tiny[f"a/{i}.png"].transpose(Image.Transpose.ROTATE_90) for i in range(8)}
    pairs = found_in(folder(tmp_path / "d", {**tiny, **copies}))
    assert {(pair.a, pair.b, pair.kind) for pair in pairs} == {(i, 8 + i, "same picture") for i in range(8)}
    assert all("turned by" in pair.evidence for pair in pairs)
