"""How many copies of a photo are found, how many strangers are joined, and what it costs.

Run by hand: ``python benchmarks/duplicates.py [mpox] [hymenoptera] [cifar10] [changes]``. Every table names
its images. The exercise's file names are the truth (``M<patient>_<photo>_<copy>``); they are hidden from the
search by links with random names. imagehash (perceptual hash, distance at most 10 of 64, no flips) runs
beside it in the same process.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import imagehash
import numpy as np
import pandas as pd
from PIL import Image

from excite.data.checking import check_files
from excite.data.decoding import decode
from excite.data.duplicates import find_pairs, link
from excite.data.manifest import Manifest
from excite.data.pairs import KINDS, Pair

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.data.test_same_photo import CHANGES, scene

HASH_DISTANCE = 10


def search(files: Sequence[Path], *, photos: bool) -> tuple[list[Pair], list[Path], str]:
    """(pairs, the files in the order of rows, what it cost) with names hidden."""
    with tempfile.TemporaryDirectory() as place:
        order = random.Random(0).sample(list(files), len(files))
        table = []
        for number, file in enumerate(order):
            hidden = Path(place) / f"{number:06d}{file.suffix}"
            hidden.symlink_to(file.resolve())
            table.append({"path": str(hidden), "label": "x"})
        manifest, _ = check_files(Manifest(pd.DataFrame(table), ("x",)), complete=False)
        wall, work = time.perf_counter(), time.process_time()
        pairs = find_pairs(manifest, photos=photos)
        wall, work = time.perf_counter() - wall, time.process_time() - work
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    n = len(files)
    cost = f"{wall:.0f} s, of processors {work:.0f} s: {1000 * work / n:.1f} ms an image; "
    return (
        pairs,
        order,
        cost + f"peak memory of the process {memory:,.0f} MiB, {1024 * memory / n:.0f} KiB an image",
    )


def hash_pairs(files: Sequence[Path]) -> tuple[set[tuple[int, int]], float]:
    """Pairs by imagehash's perceptual hash, all against all, and the seconds it took."""
    start = time.process_time()
    bits = np.stack([imagehash.phash(decode(file)).hash.ravel() for file in files]).astype(np.float32)
    pairs: set[tuple[int, int]] = set()
    for row in range(len(bits)):
        distance = np.abs(bits[row + 1 :] - bits[row]).sum(axis=1)
        pairs |= {(row, row + 1 + int(other)) for other in np.nonzero(distance <= HASH_DISTANCE)[0]}
    return pairs, time.process_time() - start


def report_mpox(folder: Path) -> None:
    pairs, files, cost = search(sorted(folder.rglob("*.jpg")), photos=True)
    photo = [file.stem.rsplit("_", 1)[0] for file in files]
    patient = [file.stem.split("_")[0] for file in files]
    linked = link(len(files), pairs)
    members = defaultdict(set)
    for name, group in zip(photo, linked.groups, strict=True):
        members[name].add(group)
    patients = defaultdict(set)
    for name, group in zip(patient, linked.groups, strict=True):
        patients[group].add(name)
    hashed, seconds = hash_pairs(files)
    print(f"\n## mpox: {len(files)} images, {len(members)} photos; {cost}\n")
    print("| | pairs | of one photo | of one patient | of two patients | photos whole |")
    print("|---|---|---|---|---|---|")
    for name, some in (
        ("excite", {(p.a, p.b) for p in linked.used}),
        (f"imagehash, {seconds:.0f} s", hashed),
    ):
        groups = link(len(files), [Pair(a, b, KINDS[2], "", 1.0) for a, b in some]).groups
        whole = defaultdict(set)
        for title, group in zip(photo, groups, strict=True):
            whole[title].add(group)
        one = sum(photo[a] == photo[b] for a, b in some)
        same = sum(photo[a] != photo[b] and patient[a] == patient[b] for a, b in some)
        other = len(some) - one - same
        count = sum(len(found) == 1 for found in whole.values())
        print(f"| {name} | {len(some)} | {one} | {same} | {other} | {count} of {len(whole)} |")
    print("\nGroups with two patients:", [sorted(p) for p in patients.values() if len(p) > 1])
    print("Largest group:", max(linked.groups.count(group) for group in set(linked.groups)), "images;")
    print("doubtful pairs:", len(linked.doubtful), "flagged groups:", len(linked.giant))


def report_hymenoptera(folder: Path) -> None:
    pairs, files, cost = search(sorted(folder.rglob("*.jpg")), photos=True)
    print(f"\n## hymenoptera: {len(files)} images; {cost}\n\npairs: {len(pairs)}")
    for pair in pairs:
        print(files[pair.a], files[pair.b], pair.kind, pair.evidence, f"{pair.confidence:.3f}")


def report_cifar10(folder: Path) -> None:
    every = sorted(folder.glob("t*/*/*.jpg"))
    print("\n## CIFAR-10, passes 1 and 2\n\n| images | cost |\n|---|---|")
    for count in (2000, 10_000, len(every)):
        pairs, files, cost = search(random.Random(1).sample(every, count), photos=False)
        print(f"| {count} | {cost} |")
    test = [file.parents[1].name == "test" for file in files]
    leaked = {pair.a if test[pair.a] else pair.b for pair in pairs if test[pair.a] != test[pair.b]}
    classes = [file.parent.name for file in files]
    agree = sum(classes[p.a] == classes[p.b] for p in pairs)
    print(
        f"\n{len(pairs)} pairs, {agree} of one class; {len(leaked)} of {sum(test)} test images have a",
        end=" ",
    )
    print(f"near duplicate in train: {len(leaked) / sum(test):.2%} (ciFAIR, by eye: 3.25 %)")


def report_changes(count: int = 40) -> None:
    originals = [scene(seed) for seed in range(count)]
    print(
        f"\n## Synthetic changes, {count} pictures each\n\n| change | excite | imagehash | joined falsely |"
    )
    print("|---|---|---|---|")
    for name, change in CHANGES.items():
        with tempfile.TemporaryDirectory() as place:
            files = []
            for number, picture in enumerate([*originals, *map(change, originals)]):
                files.append(Path(place) / f"{number:03d}.png")
                picture.save(files[-1])
            pairs, order, _ = search(files, photos=True)
        numbers = [int(file.stem) for file in order]
        joined = {tuple(sorted((numbers[p.a], numbers[p.b]))) for p in link(len(files), pairs).used}
        true = {(number, number + count) for number in range(count)}
        hashes = [imagehash.phash(p) for p in originals], [imagehash.phash(change(p)) for p in originals]
        hashed = sum(a - b <= HASH_DISTANCE for a, b in zip(*hashes, strict=True))
        print(f"| {name} | {len(joined & true) / count:.1%} | {hashed / count:.1%} | {len(joined - true)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["changes", "hymenoptera", "mpox"])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--cifar10", type=Path, help="the unpacked folder with train and test")
    options = parser.parse_args()
    reports: dict[str, Callable[[], None]] = {
        "mpox": lambda: report_mpox(options.data / "mpox"),
        "hymenoptera": lambda: report_hymenoptera(options.data / "hymenoptera"),
        "cifar10": lambda: report_cifar10(options.cifar10),
        "changes": report_changes,
    }
    cores = len(os.sched_getaffinity(0))
    print(
        f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, OpenCV {cv2.__version__}",
        end="",
    )
    print(f", Pillow {Image.__version__}, NumPy {np.__version__}, imagehash {imagehash.__version__}")
    for name in options.what:
        reports[name]()


if __name__ == "__main__":
    main()
