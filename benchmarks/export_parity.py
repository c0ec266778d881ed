"""Parity of exported files with trained runs of eight families and two ensembles, on real images.

    python benchmarks/export_parity.py --data FOLDER --out RUNS [--only NAME,...] [--formats onnx,openvino]

FOLDER holds ``cifar10.tar``, ``hymenoptera/``, and ``weights/`` (see CONTRIBUTING.md). The first call trains
the runs below RUNS, short and on few images: the networks need trained weights, not good ones, since random
networks give saturated probabilities. Each file is compared with its run on 256 test images (or as many as
there are), in batches of 1, 7, and 32. Prints the table of docs/experiments/exported_files.md.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import excite
from excite.errors import ExciteError
from excite.export.export import export_run
from excite.runs.run import Run

TRAIN, VAL, TEST = 60, 20, 26  # images of each class of CIFAR-10


@dataclass(frozen=True)
class Family:
    """One network, how it is trained, and on what."""

    name: str
    data: str
    options: dict[str, Any] = field(default_factory=dict)


SCRATCH = {"recipe": "scratch", "epochs": 2, "image_size": 96, "batch_size": 32}
PROBE = {"recipe": "probe", "pretrained": True}
FAMILIES = (
    Family("DenseNet-121 + SE", "cifar", {"model": "densenet121", "attention": "se", **SCRATCH}),
    Family("SE-ResNet-50", "cifar", {"model": "timm:resnet50", "attention": "se", **SCRATCH}),
    Family(
        "CIFAR ResNet-20 + SE, flip",
        "cifar",
        {"model": "cifar_resnet20", "attention": "se", "tta": "flip", **SCRATCH, "image_size": 32},
    ),
    Family("EfficientNet-Lite0", "hymenoptera", {"model": "tf_efficientnet_lite0", **PROBE}),
    Family("MobileNetV1, truncated", "hymenoptera", {"model": "mobilenetv1_100", **PROBE}),
    Family("MobileNetV3-Small", "cifar", {"model": "timm:mobilenetv3_small_100", **SCRATCH}),
    Family("ShuffleNet v1 + ECA", "cifar", {"model": "shufflenet_v1_x1_0", "attention": "eca", **SCRATCH}),
    Family("BN-Inception + CBAM", "cifar", {"model": "bn_inception", "attention": "cbam", **SCRATCH}),
    Family("ConvNeXt-Atto, crops", "cifar", {"model": "timm:convnext_atto", "tta": "crops", **SCRATCH}),
    Family("SqueezeNet (torchvision)", "cifar", {"model": "torchvision:squeezenet1_1", **SCRATCH}),
    Family(
        "ensemble of 3 ResNet-20 + SE",
        "cifar",
        {"model": "cifar_resnet20", "attention": "se", "folds": 3, **SCRATCH, "image_size": 32},
    ),
    Family(
        "ensemble of 3 Lite0 heads", "hymenoptera", {"model": "tf_efficientnet_lite0", "folds": 3, **PROBE}
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--formats", default="onnx,openvino")
    arguments = parser.parse_args()
    chosen = [each for each in FAMILIES if not arguments.only or each.name in arguments.only.split(";")]
    formats = [name for name in arguments.formats.split(",") if name]
    header = [
        "network",
        "images",
        *(f"{name}: {kind}" for name in formats for kind in ("probability", "logarithm")),
    ]
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for family in chosen:
        try:
            run = trained(family, arguments.data, arguments.out)
            print(f"| {' | '.join(row(family, run, formats))} |", flush=True)
        except ExciteError as error:
            print(f"| {family.name} | {error} |", flush=True)


def row(family: Family, run: Run, formats: list[str]) -> list[str]:
    cells = []
    images = 0
    with tempfile.TemporaryDirectory() as place:
        for name in formats:
            [found] = export_run(run, [name], Path(place) / f"x.{name}")
            images = found.parity.images
            cells += [f"{found.parity.largest:.1e}", f"{found.parity.largest_log:.1e}"]
    return [family.name, str(images), *cells]


def trained(family: Family, data: Path, out: Path) -> Run:
    """The run of a family, trained unless it is there."""
    name = "".join(letter if letter.isalnum() else "-" for letter in family.name.lower())
    folder = out / name
    if (folder / "metrics.json").is_file():
        return Run.open(folder)
    shutil.rmtree(folder, ignore_errors=True)
    table = {"cifar": cifar_table, "hymenoptera": hymenoptera_table}[family.data](data, out)
    options = dict(family.options)
    if family.name.startswith("MobileNetV1"):
        options["weights"] = str(data / "weights" / "mobilenetv1_100_imagenet_trunk.safetensors")
        del options["pretrained"]
    options.setdefault("device", "cpu")
    return excite.train(
        table, out=str(folder), near_duplicates=False, quiet=True, allow_leaks=True, **options
    )


def cifar_table(data: Path, out: Path) -> Path:
    """A CSV of the first images of each class of CIFAR-10, with their split."""
    table = out / "cifar.csv"
    if table.is_file():
        return table
    places = out / "cifar"
    counts: dict[tuple[str, str], int] = {}
    rows = [("path", "label", "split")]
    with tarfile.open(data / "cifar10.tar") as archive:
        for member in archive:
            parts = member.name.split("/")
            if not member.isfile() or len(parts) < 3:
                continue
            source, label = parts[-3], parts[-2]
            number = counts.get((source, label), 0)
            limit = TRAIN + VAL if source == "train" else TEST
            if source not in ("train", "test") or number >= limit:
                continue
            counts[source, label] = number + 1
            split = "test" if source == "test" else "train" if number < TRAIN else "val"
            target = places / split / label / parts[-1]
            target.parent.mkdir(parents=True, exist_ok=True)
            file = archive.extractfile(member)
            assert file is not None
            target.write_bytes(file.read())
            rows.append((str(target.relative_to(out)), label, split))
    write_csv(table, rows)
    return table


def hymenoptera_table(data: Path, out: Path) -> Path:
    """A CSV of all photos: every third one for training, a few for validation, the others for testing."""
    table = out / "hymenoptera.csv"
    if table.is_file():
        return table
    rows = [("path", "label", "split")]
    photos = sorted((data / "hymenoptera").resolve().glob("*/*/*.jpg"))
    for number, photo in enumerate(photos):
        split = ("train", "test", "val", "train", "test", "test", "test", "test")[number % 8]
        rows.append((str(photo), photo.parent.name, split))
    write_csv(table, rows)
    return table


def write_csv(path: Path, rows: list[tuple[str, ...]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue())


if __name__ == "__main__":
    main()
