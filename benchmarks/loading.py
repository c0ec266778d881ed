"""How fast photos become batches: excite's shards, WebDataset, LitData, and torch's ImageFolder.

Example: python benchmarks/loading.py $EXCITE_TEST_DATA/hymenoptera --rounds 5

Each loader reads the same JPEGs, resizes them to 224 pixels, and yields batches of 32 as uint8 tensors, with
two workers: threads in excite, processes in the others. The loaders take turns, a pass over all images each;
medians over the rounds are printed, in milliseconds per image, and their ratios to excite. Processor time is
that of the process and its workers. Loaders that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import datasets
from torchvision.transforms import v2

from excite.data.decoded_pixels import OnDemandPixels
from excite.data.file_validation import check_files
from excite.data.preprocessing import Preprocessing
from excite.data.reading import read_manifest
from excite.data.shards import write_shards
from excite.data.sources import PixelSubset

SIZE, BATCH, WORKERS = 224, 32, 2
Passes = Callable[[], Iterator[torch.Tensor]]
TRANSFORM = v2.Compose([v2.Resize(SIZE), v2.CenterCrop(SIZE), v2.PILToTensor()])


def excite_passes(shards: Path) -> Passes:
    manifest, _ = check_files(read_manifest(shards))
    source = PixelSubset(OnDemandPixels(manifest, Preprocessing(image_size=SIZE), threads=WORKERS))
    random = np.random.default_rng(0)

    def one() -> Iterator[torch.Tensor]:
        order = random.permutation(len(source))
        for start in range(0, len(order), BATCH):
            source.announce(order[start : start + 3 * BATCH])
            yield source.take(order[start : start + BATCH], torch.device("cpu"))

    return one


def folder_passes(folder: Path) -> Passes:
    images = datasets.ImageFolder(str(folder), TRANSFORM)
    loader = torch.utils.data.DataLoader(
        images,
        BATCH,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    return lambda: (batch for batch, _ in loader)


def webdataset_passes(shards: Path) -> Passes:
    import webdataset

    addresses = [str(path) for path in sorted(shards.glob("*.tar"))]
    images = (
        webdataset.WebDataset(addresses, shardshuffle=100, nodesplitter=None)
        .shuffle(200)
        .decode("pil")
        .to_tuple("jpg", "cls")
        .map_tuple(TRANSFORM, int)
    )
    loader = torch.utils.data.DataLoader(
        images, BATCH, num_workers=WORKERS, persistent_workers=True, multiprocessing_context="fork"
    )
    return lambda: (batch for batch, _ in loader)


def _sample(path: str) -> dict[str, bytes]:
    return {"jpg": Path(path).read_bytes()}


class _Decoded:
    """LitData's samples as tensors."""

    def __call__(self, sample: dict[str, bytes]) -> torch.Tensor:
        with Image.open(io.BytesIO(sample["jpg"])) as image:
            return TRANSFORM(image.convert("RGB"))


def litdata_passes(folder: Path, place: Path) -> Passes:
    import litdata

    files = [str(path) for path in sorted(folder.rglob("*.jpg"))]
    litdata.optimize(_sample, files, output_dir=str(place), num_workers=1, chunk_bytes="5MB")
    images = litdata.StreamingDataset(str(place), shuffle=True, transform=_Decoded())
    loader = litdata.StreamingDataLoader(
        images, batch_size=BATCH, num_workers=WORKERS, persistent_workers=True, multiprocessing_context="fork"
    )
    return lambda: iter(loader)


def processor_seconds() -> float:
    """Of this process and the workers that it has."""
    import psutil

    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def measure(passes: dict[str, Passes], images: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Milliseconds per image, elapsed and of processors: medians of rounds, after one that is not counted."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in passes}
    for number in range(rounds + 1):
        for name, one in passes.items():
            elapsed, processor, seen = time.perf_counter(), processor_seconds(), 0
            for batch in one():
                assert batch.dtype == torch.uint8
                seen += len(batch)
            figures = time.perf_counter() - elapsed, processor_seconds() - processor
            if seen != images:
                raise SystemExit(f"{name} yielded {seen} of {images} images")
            if number:
                found[name].append((1000 * figures[0] / images, 1000 * figures[1] / images))
    return {name: (median(a for a, _ in each), median(b for _, b in each)) for name, each in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="class folders of JPEGs, or train/val with class folders")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        os.environ["EXCITE_CACHE"] = str(work / "cache")
        classes = work / "classes"  # for ImageFolder, every folder with images is a class
        files = sorted(options.folder.rglob("*.jpg"))
        for file in files:
            target = classes / "-".join(file.parent.relative_to(options.folder).parts) / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
        write_shards(read_manifest(classes), work / "shards", shard_bytes=4_000_000)
        passes: dict[str, Passes] = {"excite, shards": excite_passes(work / "shards")}
        passes["ImageFolder"] = folder_passes(classes)
        if importlib.util.find_spec("webdataset"):
            passes["webdataset"] = webdataset_passes(work / "shards")
        if importlib.util.find_spec("litdata"):
            passes["litdata"] = litdata_passes(classes, work / "litdata")
        found = measure(passes, len(files), options.rounds)
    own: Any = found["excite, shards"]
    print(f"{len(files)} images, medians of {options.rounds} passes, milliseconds per image")
    print(f"{'':>16} {'elapsed':>9} {'ratio':>7} {'processor':>10} {'ratio':>7}")
    for name, (elapsed, processor) in found.items():
        print(
            f"{name:>16} {elapsed:9.2f} {elapsed / own[0]:7.2f} {processor:10.2f} {processor / own[1]:7.2f}"
        )


if __name__ == "__main__":
    main()
