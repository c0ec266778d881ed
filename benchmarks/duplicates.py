"""Copies of a photo that are found and false pairs, compared with imagehash and imagededup.

Run by hand: ``python benchmarks/duplicates.py [mpox] [hymenoptera] [cifar10] [changes] [scans] [brains]``.
Every table names its images. The exercise's file names are the truth (``M<patient>_<photo>_<copy>``); they
are hidden from the search by links with random names. ``changes`` makes changed copies of
the photos of hymenoptera; ``scans`` and ``brains`` make slices of different patients that are largely alike.
imagehash (perceptual hash, at most 10 of 64 bits apart) runs beside it in the same process, and imagededup's
where it is installed. ``benchmarks/audit.py`` measures the cost.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import random
import resource
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import cv2
import imagehash
import numpy as np
import pandas as pd
import scans  # these two are beside this file
from changes import CHANGES
from PIL import Image

from excite.audit.duplicates.find import find_pairs, group_images
from excite.audit.duplicates.pair import KINDS, Pair
from excite.data.decoding import decode
from excite.data.file_validation import check_files
from excite.data.manifest import Manifest

HASH_DISTANCE = 10


def search(files: Sequence[Path], *, near_duplicates: bool) -> tuple[list[Pair], list[Path], str]:
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
        pairs = find_pairs(manifest, near_duplicates=near_duplicates)
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
    pairs, files, cost = search(sorted(folder.rglob("*.jpg")), near_duplicates=True)
    photo = [file.stem.rsplit("_", 1)[0] for file in files]
    patient = [file.stem.split("_")[0] for file in files]
    linked = group_images(len(files), pairs)
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
        groups = group_images(len(files), [Pair(a, b, KINDS[2], "", 1.0) for a, b in some]).groups
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
    print("doubtful pairs:", len(linked.doubtful), "flagged groups:", len(linked.oversized))


def report_hymenoptera(folder: Path) -> None:
    pairs, files, cost = search(sorted(folder.rglob("*.jpg")), near_duplicates=True)
    print(f"\n## hymenoptera: {len(files)} images; {cost}\n\npairs: {len(pairs)}")
    for pair in pairs:
        print(files[pair.a], files[pair.b], pair.kind, pair.evidence, f"{pair.confidence:.3f}")


def report_cifar10(folder: Path) -> None:
    every = sorted(folder.glob("t*/*/*.jpg"))
    pairs, files, cost = search(every, near_duplicates=False)
    print(f"\n## CIFAR-10, passes 1 and 2: {len(files)} images; {cost}")
    test = [file.parents[1].name == "test" for file in files]
    leaked = {pair.a if test[pair.a] else pair.b for pair in pairs if test[pair.a] != test[pair.b]}
    copied = {row for pair in pairs for row in (pair.a, pair.b) if test[row]}
    classes = [file.parent.name for file in files]
    agree = sum(classes[p.a] == classes[p.b] for p in pairs)
    linked = group_images(len(files), pairs)
    largest = max(linked.groups.count(group) for group in {linked.groups[p.a] for p in linked.used})
    print(f"\n{len(pairs)} pairs, {agree} of one class; largest group {largest}; of {sum(test)} test images")
    print(
        f"{len(leaked) / sum(test):.2%} have a copy in train, {len(copied) / sum(test):.2%} in train or test"
    )
    print("(ciFAIR, by eye: 3.25 % in train or test)")


def report_changes(folder: Path, count: int) -> None:
    chosen = random.Random(0).sample(sorted(folder.rglob("*.jpg")), count)
    originals = [decode(file) for file in chosen]
    names = ["excite", "imagehash", *(["imagededup"] if find_spec("imagededup") else [])]
    print(f"\n## {count} photos of hymenoptera, each with one changed copy: found, and false pairs\n")
    print("| change | " + " | ".join(names) + " |\n|---" + "|---" * len(names) + "|", flush=True)
    for title, change in CHANGES.items():
        with tempfile.TemporaryDirectory() as place:
            files = []
            for number, picture in enumerate([*originals, *map(change, originals)]):
                files.append(Path(place) / f"{number:04d}.png")
                picture.save(files[-1])
            pairs, order, _ = search(files, near_duplicates=True)
            numbers = [int(file.stem) for file in order]
            used = group_images(len(files), pairs).used
            found = {"excite": {tuple(sorted((numbers[p.a], numbers[p.b]))) for p in used}}
            found["imagehash"] = hash_pairs(files)[0]
            if "imagededup" in names:
                found["imagededup"] = imagededup_pairs(Path(place))
        true = {(number, number + count) for number in range(count)}
        cells = [f"{len(found[n] & true) / count:.1%}, {len(found[n] - true)}" for n in names]
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


def imagededup_pairs(folder: Path) -> set[tuple[int, int]]:
    """Pairs by imagededup's perceptual hash with the same threshold; files are named by number."""
    from imagededup.methods import PHash

    logging.disable(logging.INFO)
    found = PHash(verbose=False).find_duplicates(
        image_dir=folder,
        max_distance_threshold=HASH_DISTANCE,
        num_enc_workers=0,
        num_dist_workers=0,
    )
    ends = ((int(Path(a).stem), int(Path(b).stem)) for a, others in found.items() for b in others)
    return {(min(pair), max(pair)) for pair in ends}


def report_scans(patients: int = 150, slices: int = 2) -> None:
    print(f"\n## Simulated scans, {patients} patients x {slices} neighboring slices\n")
    print("| shared anatomy | pairs of one patient | false pairs | largest group |")
    print("|---|---|---|---|")
    for share in (0.3, 0.5, 0.7, 0.8):
        found = joined(list(scans.simulated(patients, slices, share)), [])
        patient = np.arange(patients * slices) // slices
        true = sum(patient[a] == patient[b] for a, b in found.used)
        print(f"| {share:.0%} | {true} | {len(found.used) - true} | {found.largest} |", flush=True)


def report_brains(patients: int = 150, slices: int = 2, copies: int = 60) -> None:
    """Changed copies of the first slices of some patients have to be found, other patients left alone."""
    print(f"\n## One real brain bent into {patients} patients x {slices} slices, {copies} changed copies\n")
    print("| bent by | individual texture | copies found | neighbors joined | false pairs |")
    print("|---|---|---|---|---|")
    titles = [title for title in CHANGES if title != "brighter by 1.8, clipped"]  # leaves a white patch
    copied = random.Random(1).sample(range(patients), copies)
    for warp, texture in ((5.0, 0.06), (2.0, 0.03), (1.0, 0.02)):
        pictures = list(scans.brains(patients, slices, warp, texture))
        made = [
            CHANGES[titles[number % len(titles)]](pictures[slices * patient])
            for number, patient in enumerate(copied)
        ]
        found = joined(pictures, made)
        patient = [*(np.arange(patients * slices) // slices), *copied]
        false_pairs = sum(patient[a] != patient[b] for a, b in found.used)
        group = found.groups
        near = sum(group[slices * one] == group[slices * one + 1] for one in range(patients))
        seen = sum(group[slices * one] == group[patients * slices + n] for n, one in enumerate(copied))
        cells = f"{warp:g} mm | {texture:.0%} | {seen} of {copies} | {near} of {patients} | {false_pairs}"
        print(f"| {cells} |", flush=True)


class Joined(NamedTuple):
    """What was joined, by the numbers of the pictures."""

    used: list[tuple[int, int]]
    groups: dict[int, int]
    largest: int


def joined(pictures: Sequence[Image.Image], copies: Sequence[Image.Image]) -> Joined:
    with tempfile.TemporaryDirectory() as place:
        files = []
        for number, picture in enumerate([*pictures, *copies]):
            files.append(Path(place) / f"{number:04d}.png")
            picture.save(files[-1])
        pairs, order, _ = search(files, near_duplicates=True)
    linked = group_images(len(files), pairs)
    numbers = [int(file.stem) for file in order]
    used = [(numbers[pair.a], numbers[pair.b]) for pair in linked.used]
    groups = dict(zip(numbers, linked.groups, strict=True))
    return Joined(used, groups, max(Counter(linked.groups).values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["changes", "hymenoptera", "mpox"])
    parser.add_argument("--data", type=Path, default=os.environ.get("EXCITE_TEST_DATA", "."))
    parser.add_argument("--cifar10", type=Path, help="the unpacked folder with train and test")
    parser.add_argument("--count", type=int, default=120, help="photos that are changed")
    options = parser.parse_args()
    reports: dict[str, Callable[[], None]] = {
        "mpox": lambda: report_mpox(options.data / "mpox"),
        "hymenoptera": lambda: report_hymenoptera(options.data / "hymenoptera"),
        "cifar10": lambda: report_cifar10(options.cifar10),
        "changes": lambda: report_changes(options.data / "hymenoptera", options.count),
        "scans": report_scans,
        "brains": report_brains,
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
