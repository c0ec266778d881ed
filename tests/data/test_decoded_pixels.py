"""Pixels that are decoded when they are needed are those of the cache, in any order."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from excite.data import decoded_pixels as module
from excite.data.augmentation import Augmentation
from excite.data.batches import BLOCK_SHARDS, TrainingBatches, evaluation_batches
from excite.data.decoded_pixels import OnDemandPixels, decoded_pixels
from excite.data.file_validation import check_files
from excite.data.manifest import Manifest
from excite.data.pixel_cache import cached_pixels
from excite.data.preprocessing import Preprocessing
from excite.data.reading import read_manifest
from excite.data.shards import write_shards
from excite.data.sources import PixelSubset
from excite.errors import ExciteError

SMALL = Preprocessing(image_size=16)


@pytest.fixture
def manifest(pictures: Path) -> Manifest:
    return check_files(read_manifest(pictures))[0]


def test_any_rows_in_any_order_are_those_of_the_cache(manifest: Manifest, tmp_path: Path) -> None:
    cached = cached_pixels(manifest, SMALL, tmp_path)
    source = OnDemandPixels(manifest, SMALL, threads=3)
    assert (source.shape, len(source)) == (cached.shape, len(cached))
    random = np.random.default_rng(0)
    for _ in range(20):
        source.announce(random.integers(0, len(manifest), 10))
        rows = random.integers(0, len(manifest), 7)  # some announced, some twice
        np.testing.assert_array_equal(source[rows], cached[rows])


def test_no_more_images_than_the_limit_wait_for_their_batch(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AHEAD_BYTES", 10 * 16 * 16 * 3)
    source = OnDemandPixels(manifest, SMALL)
    cached = cached_pixels(manifest, SMALL, tmp_path)
    for start in range(0, 60, 6):
        source.announce(np.arange(start, start + 6))
        assert len(source._ahead) <= 10
    rows = np.arange(60)
    np.testing.assert_array_equal(source[rows], cached[rows])
    assert source._ahead == {}


def test_what_is_announced_is_decoded_before_it_is_asked_for(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, decoded = module.decode_row, threading.Semaphore(0)

    def counted(*arguments: object, **options: object) -> np.ndarray:
        pixels = original(*arguments, **options)
        decoded.release()
        return pixels

    monkeypatch.setattr(module, "decode_row", counted)
    source = OnDemandPixels(manifest, SMALL, threads=2)
    source.announce(np.arange(5))
    assert all(decoded.acquire(timeout=30) for _ in range(5))
    source[np.arange(5)]
    assert not decoded.acquire(timeout=0.05)


def test_a_changed_image_is_named_when_its_batch_is_asked_for(manifest: Manifest) -> None:
    path = manifest.table["path"][3]
    Image.new("RGB", (24, 20)).save(path)
    source = OnDemandPixels(manifest, SMALL)
    source.announce(np.arange(6))
    source[np.array([0, 1, 2, 4, 5])]
    with pytest.raises(ExciteError, match="has changed since it was checked") as caught:
        source[np.array([3])]
    assert caught.value.where == path


@pytest.mark.parametrize(
    ("keep", "limit", "is_cached"),
    [("auto", 10**9, True), ("auto", 1000, False), ("on", 1000, True), ("off", 10**9, False)],
)
def test_the_cache_is_used_up_to_a_size(
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keep: str,
    limit: int,
    is_cached: bool,
) -> None:
    monkeypatch.setattr(module, "CACHED_UP_TO", limit)
    pixels = decoded_pixels(manifest, SMALL, tmp_path / "cache", keep=keep)
    assert isinstance(pixels, np.memmap) == is_cached
    assert (tmp_path / "cache").exists() == is_cached


def batches(source: PixelSubset, manifest: Manifest, parts: int = 1, blocks: bool = False) -> TrainingBatches:
    return TrainingBatches(
        source,
        manifest.targets(),
        classes=3,
        preprocessing=SMALL,
        batch_size=8,
        parts=parts,
        augmentation=Augmentation(),
        seed=3,
        shards=manifest.shard_codes() if blocks else None,
    )


@pytest.mark.parametrize("blocks", [False, True])
def test_batches_of_shards_are_bit_equal_to_those_of_the_cache(
    pictures: Path, tmp_path: Path, blocks: bool
) -> None:
    write_shards(read_manifest(pictures), tmp_path / "shards", shard_bytes=15_000)
    images = check_files(read_manifest(tmp_path / "shards"))[0]
    kept = PixelSubset(cached_pixels(images, SMALL, tmp_path))
    direct = PixelSubset(OnDemandPixels(images, SMALL))
    for epoch in range(2):
        for step in range(7):
            whole = batches(kept, images, blocks=blocks).load(epoch, step, 0)
            for one, two in zip(
                whole, batches(direct, images, blocks=blocks).load(epoch, step, 0), strict=True
            ):
                assert torch.equal(one, two)
            halves = [batches(direct, images, 2, blocks).load(epoch, step, part) for part in (0, 1)]
            assert torch.equal(torch.cat([images for images, _ in halves]), whole[0])
    both = [list(evaluation_batches(each, SMALL, 7, torch.device("cpu"))) for each in (kept, direct)]
    assert all(torch.equal(one, two) for one, two in zip(*both, strict=True))


def test_blocks_of_shards_show_each_image_once_and_few_shards_at_a_time(
    pictures: Path, tmp_path: Path
) -> None:
    write_shards(read_manifest(pictures), tmp_path / "shards", shard_bytes=8_000)
    images = read_manifest(tmp_path / "shards")
    codes = images.shard_codes()
    assert codes is not None
    assert codes.max() + 1 > 3 * BLOCK_SHARDS
    source = PixelSubset(np.zeros((60, 16, 16, 3), np.uint8))
    orders = [batches(source, images, blocks=True).order(epoch) for epoch in range(5)]
    for order in orders:
        assert len(set(order.tolist())) == len(order) == 56  # the incomplete last batch is dropped
        seen = codes[order]
        for shard in np.unique(seen):  # a shard is not read again once its block has ended
            place = np.flatnonzero(seen == shard)
            assert len(np.unique(seen[place[0] : place[-1] + 1])) <= BLOCK_SHARDS
    assert len({tuple(order) for order in orders}) == 5
    assert set(np.concatenate(orders).tolist()) == set(range(60))
