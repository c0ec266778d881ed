"""Shards in an object store: every byte is compared, faults are repeated, and nothing is skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from excite.data import remote
from excite.data.decoded_pixels import OnDemandPixels
from excite.data.file_validation import check_files
from excite.data.pixel_cache import cached_pixels
from excite.data.preprocessing import Preprocessing
from excite.data.reading import read_manifest
from excite.data.shard_verification import verify_shards
from excite.data.shards import write_shards
from excite.errors import ExciteError
from tests.conftest import make_pictures
from tests.data.object_store import FAULTS, faulty, s3_server, upload

pytest.importorskip("s3fs")
pytest.importorskip("moto")
pytestmark = pytest.mark.slow
SMALL = Preprocessing(image_size=16)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    write_shards(read_manifest(make_pictures(folder / "pictures")), folder / "shards", shard_bytes=30_000)
    return folder


@pytest.fixture(scope="module")
def store(place: Path) -> Iterator[str]:
    with s3_server() as endpoint:
        upload(endpoint, place / "shards", "bucket")
        import s3fs

        # The client's threads are those of the process, and stay.
        s3fs.S3FileSystem(key="k", secret="s", endpoint_url=endpoint).ls("bucket/shards")
        yield endpoint


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "_FIRST_WAIT", 0.01)
    for each in (remote.remote_file, remote._file_system):
        each.cache_clear()
    yield
    for each in (remote.remote_file, remote._file_system):
        each.cache_clear()


def connect(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)


def test_images_of_an_object_store_are_those_of_the_folder(
    store: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, store)
    there, here = (check_files(read_manifest(data))[0] for data in ("s3://bucket/shards", place / "pictures"))
    assert there.table["path"][0].startswith("s3://bucket/shards/00000")
    for column in ("label", "sha256", "width", "height"):
        assert there.table[column].tolist() == here.table[column].tolist()
    pixels = OnDemandPixels(there, SMALL)
    np.testing.assert_array_equal(pixels[np.arange(len(there))], cached_pixels(here, SMALL, tmp_path))
    there.save(tmp_path / "manifest.csv")
    assert read_manifest(tmp_path / "manifest.csv").table["path"].tolist() == there.table["path"].tolist()


def test_with_faults_every_byte_is_verified_and_none_is_skipped(
    store: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty(store, 0.2) as proxy:
        connect(monkeypatch, proxy.address)
        manifest, problems = verify_shards("s3://bucket/shards")
        assert problems == []
        assert len(manifest) == 60
        for file, path in zip(manifest.files(), read_manifest(place / "pictures").table["path"], strict=True):
            assert file.read() == Path(path).read_bytes()
        assert all(proxy.seen[kind] > 0 for kind in FAULTS)


@pytest.mark.parametrize(
    ("kind", "reason"), [("503", "503|Service Unavailable|reduce"), ("cut", ""), ("wrong", "SHA-256")]
)
def test_a_fault_that_stays_is_one_line_with_the_address(
    store: str, monkeypatch: pytest.MonkeyPatch, kind: str, reason: str
) -> None:
    connect(monkeypatch, store)
    manifest = read_manifest("s3://bucket/shards")
    for each in (remote.remote_file, remote._file_system):
        each.cache_clear()
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    with faulty(store, 1.0, (kind,)) as proxy:
        connect(monkeypatch, proxy.address)
        with pytest.raises(
            ExciteError, match=rf"s3://bucket/shards/0.*cannot be read in 2 attempts.*({reason})"
        ):
            check_files(manifest)


def test_missing_objects_and_wrong_addresses_are_not_asked_for_again(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, store)
    with pytest.raises(ExciteError, match=r"s3://bucket/nothing/shards\.json: there is no such object"):
        read_manifest("s3://bucket/nothing")
    with pytest.raises(ExciteError, match="addresses begin with s3://, not with gopher://"):
        read_manifest("gopher://bucket/shards")


def test_a_shard_that_is_read_often_is_kept_within_the_limit(
    store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    connect(monkeypatch, store)
    monkeypatch.setattr(remote, "_OFTEN", 3)
    manifest = read_manifest("s3://bucket/shards")
    size = 60_000
    monkeypatch.setenv("EXCITE_SHARD_CACHE_GB", str(2 * size / 1e9))
    kept = tmp_path / "cache" / "shards"
    for _ in range(3):
        for file in manifest.files():
            file.read()
            assert sum(each.stat().st_size for each in kept.glob("*.tar")) <= 2 * size
    held = list(kept.glob("*.tar"))
    assert held
    for copy in held:  # a copy that was damaged is not trusted
        copy.write_bytes(os.urandom(copy.stat().st_size))
    assert verify_shards("s3://bucket/shards")[1] == []
