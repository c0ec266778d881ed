"""The pictures of the gallery: ``python docs/site/gallery.py FOLDER --cifar10 DATA --hymenoptera DATA``.

FOLDER is where ``notebooks.py FOLDER --execute`` has run the notebooks of the tutorial, whose runs, study,
and explanations are shown. Pages are photographed by Chromium (playwright). No picture shows a person.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

import excite

IMAGES = Path(__file__).parents[1] / "images" / "gallery"
BLUE, ORANGE = "#1f5fa8", "#d9711c"


def audited(folder: Path) -> dict:
    """What ``excite audit FOLDER --json`` prints."""
    with tempfile.TemporaryDirectory() as out:
        command = ["excite", "audit", str(folder), "--json", "--no-thumbnails", "--out", f"{out}/audit"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def copies(cifar10: Path) -> plt.Figure:
    """Eight pairs of cars of CIFAR-10 with one image in train and one in test, the least certain last."""
    with tempfile.TemporaryDirectory() as place:
        for part in ("train", "test"):
            shutil.copytree(cifar10 / part / "automobile", Path(place) / part / "automobile")
            other = Path(place) / part / "ship"  # a data set has two classes or more
            other.mkdir()
            for picture in sorted((cifar10 / part / "ship").iterdir())[:20]:
                shutil.copy(picture, other)
        found = audited(Path(place))
        print("images", found["images"], "pairs", len(found["pairs"]), "leaks", found["leaks"]["images"])
        across = [each for each in found["pairs"] if len({Path(each[k]).parts[-3] for k in "ab"}) == 2]
        across.sort(key=lambda each: each["confidence"])
        shown = [across[round(index)] for index in np.linspace(0, len(across) - 1, 8)][::-1]
        figure, axes = plt.subplots(2, 8, figsize=(8, 2.3))
        for column, pair in enumerate(shown):
            for row, path in enumerate(sorted((pair["a"], pair["b"]), key=lambda p: Path(p).parts[-3])[::-1]):
                axes[row, column].imshow(Image.open(path), interpolation="nearest")
                axes[row, column].set(xticks=[], yticks=[])
            axes[0, column].set_title(f"{pair['confidence']:.2f}", fontsize=9)
        axes[0, 0].set_ylabel("train")
        axes[1, 0].set_ylabel("test")
    return figure


def same_logits() -> plt.Figure:
    """Logits of a trained network with SE against those without, for both starts."""
    from sklearn.datasets import load_sample_images

    trained = excite.create_model("tf_efficientnet_lite0", pretrained=True).eval()
    pictures = np.stack([picture[100:324, 200:424] for picture in load_sample_images().images])
    images = torch.tensor(pictures).permute(0, 3, 1, 2) / 127.5 - 1
    figure, both = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained", sharey=True)
    with torch.no_grad():
        before = trained(images).flatten()
        for axes, identity in zip(both, (True, False), strict=True):
            torch.manual_seed(0)
            after = excite.insert(trained, "se", identity=identity).eval()(images).flatten()
            axes.plot(before, after, ".", color=BLUE if identity else ORANGE, markersize=3)
            title = "identity start" if identity else "random start"
            differ = int((after != before).sum())
            print(f"{title}: {differ} logits differ, by up to {(after - before).abs().max():.2f}")
            axes.set_title(f"{title}: {differ:,} of {len(before):,} logits differ", fontsize=10)
            axes.set_xlabel("logit of the trained network")
    both[0].set_ylabel("logit with SE")
    return figure


def refused(folder: Path) -> plt.Figure:
    """Probabilities of step 3's run by patient: exported, in int8, and with one layer's weights negated."""
    import onnx
    import pandas as pd
    from onnx import numpy_helper

    from excite.bundle.predictor import Predictor

    run = folder / "tutorial" / "3-an-honest-test" / "runs" / "by-patient"
    test = pd.read_csv(run / "predictions.csv")
    name = next(column for column in test if column.startswith("p:"))
    figure, axes = plt.subplots(1, 3, figsize=(8, 2.9), layout="constrained", sharey=True)
    with tempfile.TemporaryDirectory() as place:
        files = {"float32": Path(place) / "exact.onnx", "int8": Path(place) / "int8.onnx"}
        for kind, file in files.items():
            more = ["--int8", "--int8-accuracy", "1", "--int8-log-loss", "100"] if kind == "int8" else []
            command = ["excite", "export", str(run), "--format", "onnx", "--out", str(file), "--quiet", *more]
            subprocess.run(command, capture_output=True, check=True)
        model = onnx.load(files["float32"])
        weights = next(each for each in model.graph.initializer if len(each.dims) == 4)
        weights.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weights), weights.name))
        files["one layer altered"] = Path(place) / "altered.onnx"
        onnx.save(model, files["one layer altered"])
        for each, (kind, file) in zip(axes, files.items(), strict=True):
            predictor = Predictor.load(file)
            pixels = np.stack([predictor.pixels(path) for path in test["path"]])
            there = predictor.probabilities(pixels)[:, predictor.classes.index(name.removeprefix("p:"))]
            largest = abs(there - test[name]).max()
            print(kind, f"largest difference {largest:.1e}, test vectors {predictor.check_vectors()}")
            each.plot(test[name], there, ".", color=BLUE if kind == "float32" else ORANGE, markersize=4)
            each.set_title(f"{kind}\nlargest difference {largest:.1e}", fontsize=9)
            each.set_xlabel("probability of the run")
    axes[0].set_ylabel("of the file")
    return figure


def photographs(folder: Path) -> None:
    """The tops of a report, a study, and an explanation."""
    from playwright.sync_api import sync_playwright

    pages = {
        "report": "7-ship-it/runs/digits/report.html",
        "study": "4-does-it-help/studies/digits/study.html",
        "explanation": "6-gates/explained/explain.html",
    }
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 1000}, color_scheme="light")
        for name, path in pages.items():
            page.goto((folder / "tutorial" / path).resolve().as_uri())
            page.screenshot(path=IMAGES / f"{name}.png")
            picture = Image.open(IMAGES / f"{name}.png").convert("RGB").quantize(64)
            picture.save(IMAGES / f"{name}.png", optimize=True)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the notebooks were executed")
    parser.add_argument("--cifar10", type=Path, help="CIFAR-10 as train/CLASS/*.jpg and test/CLASS/*.jpg")
    parser.add_argument("--hymenoptera", type=Path, help="the photos of ants and bees")
    options = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Callable[[], plt.Figure]] = {
        "same_logits": same_logits,
        "refused": lambda: refused(options.folder),
    }
    if options.cifar10:
        figures["copies"] = lambda: copies(options.cifar10)
    for name, draw in figures.items():
        figure = draw()
        figure.savefig(IMAGES / f"{name}.png", dpi=100, bbox_inches="tight", facecolor="white")
        plt.close(figure)
    if options.hymenoptera:
        found = audited(options.hymenoptera)
        print("hymenoptera:", found["images"], "images,", len(found["pairs"]), "pairs")
    photographs(options.folder)


if __name__ == "__main__":
    main()
