"""Time and peak memory of an audit by the number of images, compared with imagehash and imagededup.

Run by hand: ``python benchmarks/audit.py [small] [photos] [generated] [folder] [--small FOLDER]``. Every row
is measured in a separate process with an empty cache. ``small``: passes 1 and 2 on 2,000, 10,000 and
60,000 images of ``--small``, a folder such as CIFAR-10's; ``photos``: all passes on 500, 1,000 and 2,142 of
the exercise's skin photos; ``generated``: on 1,000 and 5,000 generated ones; ``folder``: passes 1 and 2 on a
folder of 100,000 tiny files. ``benchmarks/duplicates.py`` measures what is found.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import platform
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

GENERATED = 5000
MANY = 100_000
Work = Callable[[Path], int]


def audit_folder(folder: Path, *, near_duplicates: bool) -> int:
    """Pairs found, all passes or without the third."""
    from excite.audit.audit import audit
    from excite.audit.reading import read_images
    from excite.data.file_validation import check_files

    images, unreadable = check_files(read_images(folder), complete=False)
    return len(audit(images, unreadable=unreadable, near_duplicates=near_duplicates).pairs)


def passes_1_and_2(folder: Path) -> int:
    return audit_folder(folder, near_duplicates=False)


def all_passes(folder: Path) -> int:
    return audit_folder(folder, near_duplicates=True)


def imagehash_pairs(folder: Path) -> int:
    """Pairs by the perceptual hash, at most 10 of 64 bits apart, all against all."""
    import imagehash

    found = [imagehash.phash(Image.open(file)).hash.ravel() for file in sorted(folder.iterdir())]
    bits = np.stack(found).astype(np.float32) * 2 - 1
    return sum(int((bits[row + 1 :] @ bits[row] >= bits.shape[1] - 2 * 10).sum()) for row in range(len(bits)))


def imagededup_pairs(folder: Path) -> int:
    """The same by imagededup, with its own search."""
    from imagededup.methods import PHash

    logging.disable(logging.INFO)
    hasher = PHash(verbose=False)
    found = hasher.find_duplicates(image_dir=folder, max_distance_threshold=10)
    return sum(map(len, found.values())) // 2


def measure(name: str, work: Work, folder: Path, count: int) -> None:
    """One line of the table, from a process of its own: peak memory only ever grows."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_measured, args=(theirs, work, folder))
    child.start()
    theirs.close()
    try:
        pairs, wall, work_s, memory = ours.recv()
    except EOFError:
        print(f"| {name} | {count:,} | failed | | | | |", flush=True)
        return
    finally:
        child.join()
    each = f"{1000 * work_s / count:.2f} | {memory / 1024:,.0f} | {memory / count:.0f}"
    print(f"| {name} | {count:,} | {wall:.0f} | {work_s:.0f} | {each} | {pairs:,} |", flush=True)


def _measured(pipe: multiprocessing.connection.Connection, work: Work, folder: Path) -> None:
    wall = time.perf_counter()
    pairs = work(folder)
    wall = time.perf_counter() - wall
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    work_s = sum(one.ru_utime + one.ru_stime for one in used)
    pipe.send((pairs, wall, work_s, used[0].ru_maxrss))


@contextmanager
def hidden(files: Sequence[Path], count: int) -> Iterator[Path]:
    """A flat folder with links to some of the files, named by number."""
    with tempfile.TemporaryDirectory() as place:
        for number, file in enumerate(random.Random(0).sample(list(files), count)):
            (Path(place) / f"{number:06d}{file.suffix}").symlink_to(file.resolve())
        yield Path(place)


def header(title: str) -> None:
    columns = "images | s | CPU seconds | ms per image | peak MiB | KiB per image | pairs"
    print(f"\n## {title}\n\n| | {columns} |\n" + "|---" * 8 + "|", flush=True)


def report_small(folder: Path | None) -> None:
    if folder is None:
        raise SystemExit("name a folder of many small images with --small")
    files = sorted(folder.rglob("*.jpg")) + sorted(folder.rglob("*.png"))
    header("Small images, passes 1 and 2")
    for count in sorted({min(n, len(files)) for n in (2000, 10_000, 60_000)}):
        with hidden(files, count) as place:
            measure("excite", passes_1_and_2, place, count)
            if count <= 10_000:
                measure("imagehash", imagehash_pairs, place, count)
                measure("imagededup", imagededup_pairs, place, count)


def report_photos(data: Path) -> None:
    files = sorted((data / "mpox").rglob("*.jpg"))
    header("Photos of 224 pixels, all passes")
    for count in (500, 1000, len(files)):
        with hidden(files, count) as place:
            measure("excite", all_passes, place, count)
    with hidden(files, len(files)) as place:
        measure("excite, passes 1 and 2", passes_1_and_2, place, len(files))
        measure("imagehash", imagehash_pairs, place, len(files))
        measure("imagededup", imagededup_pairs, place, len(files))


def report_generated() -> None:
    from tests.audit.duplicates.test_same_photo import scene

    header("Generated photos of 224 pixels, all passes")
    with tempfile.TemporaryDirectory() as place:
        for number in range(GENERATED):
            scene(number, (224, 224)).save(Path(place) / f"{number:06d}.jpg", quality=90)
            if number + 1 in (1000, GENERATED):
                measure("excite", all_passes, Path(place), number + 1)


def report_folder() -> None:
    header(f"A folder of {MANY:,} generated files of 24 pixels, passes 1 and 2")
    random_ = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        for number in range(MANY):
            coarse = Image.fromarray(random_.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            coarse.resize((24, 24), Image.Resampling.BICUBIC).save(Path(place) / f"{number:06d}.png")
        measure("excite", passes_1_and_2, Path(place), MANY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["photos", "generated", "folder"])
    parser.add_argument("--data", type=Path, default=os.environ.get("EXCITE_TEST_DATA", "."))
    parser.add_argument("--small", type=Path, help="a folder of many small images, such as CIFAR-10's")
    options = parser.parse_args()
    reports: dict[str, Callable[[], None]] = {
        "small": lambda: report_small(options.small),
        "photos": lambda: report_photos(options.data),
        "generated": report_generated,
        "folder": report_folder,
    }
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}")
    for name in options.what:
        reports[name]()


if __name__ == "__main__":
    main()
