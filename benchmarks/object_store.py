"""What faults of an object store cost: all images of shards read through a proxy with and without faults.

Example: python benchmarks/object_store.py $EXCITE_TEST_DATA/hymenoptera --faults 0.05

A moto server on this machine holds the shards. The proxy answers the given fraction of reads with 503, a
delay of 0.3 seconds, a connection cut in the middle, or a changed byte. The two take turns; every image is
compared with the file that it was written from.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

from excite.data import remote
from excite.data.reading import read_manifest
from excite.data.shards import write_shards
from tests.data.object_store import faulty, s3_server, upload


def read_all(behind: str, fraction: float, seed: int, contents: list[bytes]) -> float:
    """Seconds to read all images through a new proxy; ends the program if one differs."""
    with faulty(behind, fraction) as proxy:
        proxy.random.seed(seed)
        os.environ["AWS_ENDPOINT_URL"] = proxy.address
        remote.remote_file.cache_clear()
        remote._file_system.cache_clear()
        files = read_manifest("s3://bucket/shards").files()
        began = time.perf_counter()
        with ThreadPoolExecutor(16) as pool:
            received = list(pool.map(lambda file: file.read(), files))
        seconds = time.perf_counter() - began
        if received != contents:
            raise SystemExit("bytes differ")
        print(f"{fraction:.0%} faults: {seconds:.2f} s, {dict(proxy.seen)}", flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--faults", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, s3_server() as behind:
        os.environ |= {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
        os.environ["EXCITE_CACHE"] = str(Path(name) / "cache")
        manifest = read_manifest(options.folder)
        write_shards(manifest, Path(name) / "shards", shard_bytes=2_000_000)
        upload(behind, Path(name) / "shards", "bucket")
        remote._OFTEN = 10**9  # every image is a request: a kept shard would hide the store
        contents = [Path(path).read_bytes() for path in manifest.table["path"]]
        rounds = [
            [read_all(behind, fraction, number, contents) for fraction in (0.0, options.faults)]
            for number in range(options.rounds)
        ]
    plain, harmed = (median(found) for found in zip(*rounds, strict=True))
    times = f"median {harmed:.2f} s against {plain:.2f} s: {harmed / plain:.2f} x"
    print(f"{len(contents)} images, every byte equal; {times}")


if __name__ == "__main__":
    main()
