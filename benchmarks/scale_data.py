"""What a large data set takes before the first training step: time, processor time, and memory of each stage.

Example: python benchmarks/scale_data.py --images 50000 --folder /tmp/scale

Small random images are written as shards, once. Then the stages of a training up to its first step run in a
new process: ``first`` with an empty cache, ``again`` when nothing has changed. With --processes, several
share the work.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np

STAGES = ("read", "check", "audit", "split", "decode", "first step")
CLASSES, SIDE, PER_SHARD = 10, 16, 20_000


def make_shards(folder: Path, images: int) -> None:
    """Shards as ``excite shard`` writes them, of images that were never a million small files."""
    import hashlib

    from PIL import Image

    from excite.data.shard_index import FACTS, INDEX, INDEX_COLUMNS, Shard, ShardFacts

    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    shards = []
    with (folder / INDEX).open("w", newline="") as index:
        index.write(",".join(INDEX_COLUMNS) + "\r\n")
        for number, start in enumerate(range(0, images, PER_SHARD)):
            count = min(PER_SHARD, images - start)
            name = f"{number:06d}.tar"
            with tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT) as archive:
                for row in range(start, start + count):
                    label = row % CLASSES
                    pixels = random.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
                    pixels[:, :, label % 3] += np.uint8(10 * label)
                    file = io.BytesIO()
                    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
                    member = tarfile.TarInfo(f"{row:09d}.png")
                    member.size = len(file.getvalue())
                    offset = archive.offset + 512
                    file.seek(0)
                    archive.addfile(member, file)
                    sha256 = hashlib.sha256(file.getvalue()).hexdigest()
                    place = f"{name},{offset},{member.size},{sha256}"
                    index.write(f"{place},c{label},p{row // 4},,,c{label}/{row:09d}.png\r\n")
            content = (folder / name).read_bytes()
            shards.append(Shard(name, len(content), hashlib.sha256(content).hexdigest(), count))
    digest = hashlib.sha256((folder / INDEX).read_bytes()).hexdigest()
    (folder / FACTS).write_text(ShardFacts(images, digest, tuple(shards), "benchmark").to_json())


def run_stages(folder: str, near_duplicates: bool | None) -> None:
    """The stages of a training up to its first step, as ``run_experiment`` runs them."""
    from excite.audit.audit import audit
    from excite.config.train_config import TrainConfig
    from excite.data.decoded_pixels import decoded_pixels
    from excite.data.file_validation import read_checked
    from excite.data.reading import read_manifest
    from excite.data.split import split_manifest
    from excite.models.catalog import create_model
    from excite.pipeline.resolve import resolve
    from excite.runs.derive import architecture_of, augmentation_of, preprocessing_of
    from excite.system.cache import cache_directory
    from excite.system.progress import Display

    began = [time.perf_counter(), sum(os.times()[:4])]

    def ended(stage: str) -> None:
        now = [time.perf_counter(), sum(os.times()[:4])]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        figures = {
            "stage": stage,
            "seconds": now[0] - began[0],
            "processor": now[1] - began[1],
            "GiB": memory,
        }
        print(json.dumps(figures), flush=True)
        began[:] = now

    config = TrainConfig(
        data=folder, model="cifar_resnet20", image_size=32, batch_size=128, device="cpu", pretrained=False
    )
    manifest = read_manifest(folder)
    ended("read")
    checked, _ = read_checked(
        manifest,
        max_unreadable=0.01,
        max_pixels=config.max_pixels,
        cache=cache_directory(),
        display=Display(),
    )
    ended("check")
    audited = audit(checked, near_duplicates=near_duplicates, cache=cache_directory())
    images = audited.grouped()
    ended("audit")
    config, _ = resolve(config, images)
    manifest = split_manifest(images, method="grouped", fractions=(0.7, 0.1, 0.2), seed=0)
    ended("split")
    pixels = decoded_pixels(manifest, preprocessing_of(config), cache_directory(), keep=config.pixel_cache)
    ended("decode")
    _step(config, manifest, pixels, augmentation_of(config), create_model(**architecture_of(config, CLASSES)))
    ended("first step")


def _step(config, manifest, pixels, augmentation, model) -> None:  # type: ignore[no-untyped-def]
    import torch

    from excite.data.batches import TrainingBatches
    from excite.data.sources import PixelSubset
    from excite.runs.derive import preprocessing_of

    rows = np.flatnonzero(manifest.table["split"] == "train")
    batches = TrainingBatches(
        PixelSubset(pixels, rows),
        manifest.part("train").targets(),
        classes=CLASSES,
        preprocessing=preprocessing_of(config),
        batch_size=config.batch_size,
        augmentation=augmentation,
        seed=0,
    )
    images, targets = batches.load(0, 0, 0)
    if targets.ndim == 1:
        targets = torch.nn.functional.one_hot(targets, CLASSES).float()
    torch.autograd.backward(torch.nn.functional.cross_entropy(model(images), targets))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, required=True, help="for the shards and a cache of its own")
    parser.add_argument("--processes", type=int, default=1, help="that share the work, as with torchrun")
    parser.add_argument("--near-duplicates", action="store_true", help="run pass 3 of the audit, too")
    parser.add_argument("--stages", metavar="SHARDS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stages:
        run_stages(options.stages, True if options.near_duplicates else None)
        return
    shards, cache = options.folder / f"shards-{options.images}", options.folder / f"cache-{options.images}"
    if not (shards / "shards.json").exists():
        shutil.rmtree(shards, ignore_errors=True)
        began = time.perf_counter()
        make_shards(shards, options.images)
        print(f"made {options.images:,} images in {time.perf_counter() - began:.0f} s", flush=True)
    shutil.rmtree(cache, ignore_errors=True)
    for name in ("first", "again"):
        print(f"{name:>10}    seconds   processor   peak GiB", flush=True)
        call = [sys.executable, __file__, "--stages", str(shards), "--folder", str(options.folder)]
        call += ["--near-duplicates"] if options.near_duplicates else []
        environment = {**os.environ, "EXCITE_CACHE": str(cache)}
        others = [
            subprocess.Popen(call, stdout=subprocess.DEVNULL, env=environment)
            for _ in range(options.processes - 1)
        ]
        with subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            total = [0.0, 0.0]
            for line in process.stdout:
                figures = json.loads(line)
                total = [total[0] + figures["seconds"], total[1] + figures["processor"]]
                print(
                    f"{figures['stage']:>10} {figures['seconds']:10.1f} {figures['processor']:11.1f} "
                    f"{figures['GiB']:10.2f}",
                    flush=True,
                )
            print(f"{'total':>10} {total[0]:10.1f} {total[1]:11.1f}", flush=True)
        for other in others:
            other.wait()


if __name__ == "__main__":
    main()
