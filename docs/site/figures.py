"""The pictures of the tutorial in English and Chinese: ``python docs/site/figures.py FOLDER``.

FOLDER is where ``notebooks.py FOLDER --execute`` has run the notebooks: the pictures of the steps that train
show what was measured there. A font with Chinese characters must be installed, such as Noto Sans CJK.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from PIL import Image

import excite
from excite.reporting.fonts import set_fonts

IMAGES = Path(__file__).parents[1] / "images" / "tutorial"
BLUE, ORANGE, GRAY = "#1f5fa8", "#d9711c", "#8a8f98"
Words = Callable[[str, str], str]  # (English, Chinese) -> the text of the picture


def block(folder: Path, words: Words) -> plt.Figure:
    """A digit through one convolution and an SE block with random weights."""
    from sklearn.datasets import load_digits

    torch.manual_seed(3)
    digit = torch.tensor(load_digits().images[8], dtype=torch.float32)[None, None] / 16
    digit = torch.nn.functional.interpolate(digit, scale_factor=4, mode="bicubic")
    with torch.no_grad():
        maps = torch.relu(torch.nn.Conv2d(1, 24, 5)(digit) * 2)
        maps = maps[:, maps.mean(dim=(0, 2, 3)) > 0.05][:, :6]  # those that this digit excites
        attention = excite.SqueezeExcitation(6, reduction=2)
        torch.nn.init.uniform_(attention.fc1.weight)
        torch.nn.init.normal_(attention.fc2.weight, std=1.5)
        gates = attention.gates(maps).flatten().numpy()
        scaled = attention(maps)
    means = maps.mean(dim=(0, 2, 3)).numpy()
    figure = plt.figure(figsize=(8, 3.2))
    grid = figure.add_gridspec(2, 18, wspace=0.3, hspace=0.5)
    titles = (words("feature maps u", "特征图 u"), words("scaled maps", "重标定后"))
    for column, (tensor, title) in enumerate(zip((maps, scaled), titles, strict=True)):
        for index in range(6):
            place = grid[index // 3, column * 12 + 2 * (index % 3) : column * 12 + 2 * (index % 3) + 2]
            axes = figure.add_subplot(place)
            axes.imshow(tensor[0, index], cmap="gray_r", vmin=0, vmax=maps.max())
            axes.set(xticks=[], yticks=[])
            if index == 1:
                axes.set_title(title, fontsize=10)
            axes.spines[:].set_visible(True)
    for row, (values, title, color) in enumerate(
        ((means, words("means z", "通道均值 z"), GRAY), (gates, words("gates s", "门控值 s"), ORANGE))
    ):
        axes = figure.add_subplot(grid[row, 7:11])
        axes.bar(range(6), values, color=color)
        axes.set(xticks=[], ylim=(0, 1 if row else None))
        axes.tick_params(labelsize=7)
        axes.set_title(title, fontsize=10)
    return figure


def densenet(folder: Path, words: Words) -> plt.Figure:
    """The channels along DenseNet-121, computed from its configuration."""
    figure, axes = plt.subplots(figsize=(8, 2.9))
    channels, depth = 64, 0
    for block, (layers, size) in enumerate(zip((6, 12, 24, 16), (56, 28, 14, 7), strict=True)):
        steps = [channels + 32 * layer for layer in range(layers + 1)]
        axes.plot(range(depth, depth + layers + 1), steps, color=BLUE, marker=".", markersize=4)
        label = words(f"block {block + 1}\n{size} × {size}", f"稠密块 {block + 1}\n{size} × {size}")
        axes.annotate(
            label,
            (depth + layers / 2, 1130),
            ha="center",
            va="bottom",
            fontsize=8,
            color=GRAY,
            annotation_clip=False,
        )
        depth += layers
        if block < 3:
            axes.plot([depth, depth + 1], [steps[-1], steps[-1] // 2], color=GRAY, linestyle=":")
            channels, depth = steps[-1] // 2, depth + 1
    axes.plot(depth, 1024, "s", color=ORANGE, markersize=9)
    axes.annotate("SE", (depth + 1, 1000), color=ORANGE)
    axes.set(xlabel=words("layer", "层"), ylabel=words("channels", "通道数"), ylim=(0, 1100))
    return figure


def honest(folder: Path, words: Words) -> plt.Figure:
    """The two accuracies of step 3 with their intervals."""
    figure, axes = plt.subplots(figsize=(6, 2.2))
    names = (("by-patient", words("by patient", "按患者划分")), ("random", words("random split", "随机划分")))
    for row, (name, label) in enumerate(names):
        value = excite.Run.open(folder / "3-an-honest-test" / "runs" / name).metrics["test"]["accuracy"]
        color = ORANGE if name == "random" else BLUE
        axes.plot([100 * value["low"], 100 * value["high"]], [row, row], color=color, linewidth=2)
        axes.plot(100 * value["value"], row, "o", color=color)
        axes.annotate(f"{value['value']:.0%}", (100 * value["value"], row + 0.15), ha="center", color=color)
        names_shown = [label for _, label in names]
    axes.axvline(50, color=GRAY, linestyle=":")
    axes.annotate(words("a coin", "抛硬币"), (50.7, -0.45), color=GRAY, fontsize=8)
    axes.set(yticks=[0, 1], yticklabels=names_shown, xlim=(0, 101), ylim=(-0.6, 1.6))
    axes.set_xlabel(words("accuracy, %", "准确率，%"))
    return figure


def study(folder: Path, words: Words) -> plt.Figure:
    """The differences of step 4, seed by seed, and the interval of their mean."""
    place = folder / "4-does-it-help" / "studies" / "digits"
    cells = (
        pd.read_csv(place / "cells.csv").pivot(index="seed", columns="arm", values="balanced_accuracy") * 100
    )
    differences = (cells["se"] - cells["plain"]).to_numpy()
    row = pd.read_csv(place / "comparisons.csv").iloc[0]
    figure, axes = plt.subplots(figsize=(6, 2.4))
    axes.plot(differences, range(len(differences)), "o", color=GRAY)
    low, high = 100 * row["low"], 100 * row["high"]
    axes.plot([low, high], [-1, -1], color=BLUE, linewidth=2)
    axes.plot(differences.mean(), -1, "D", color=BLUE)
    axes.axvline(0, color=GRAY, linestyle=":")
    seeds = [words(f"seed {seed}", f"种子 {seed}") for seed in cells.index]
    axes.set(
        yticks=range(-1, len(differences)),
        yticklabels=[words("mean, 95 % interval", "平均，95 % 置信区间"), *seeds],
    )
    axes.set_xlabel(
        words("SE minus plain, points of balanced accuracy", "SE 减去普通网络，平衡准确率的百分点")
    )
    return figure


def elsewhere(folder: Path, words: Words) -> plt.Figure:
    """How many crops keep their class in step 5."""
    from sklearn.datasets import load_sample_images

    trained = excite.create_model("tf_efficientnet_lite0", pretrained=True).eval()
    random = np.random.default_rng(0)
    crops = []
    for picture in load_sample_images().images:
        for _ in range(16):
            top, left = random.integers(0, 427 - 224), random.integers(0, 640 - 224)
            crops.append(picture[top : top + 224, left : left + 224])
    images = torch.tensor(np.stack(crops)).permute(0, 3, 1, 2) / 127.5 - 1
    fractions = []
    with torch.no_grad():
        before = trained(images).argmax(1)
        for identity, seeds in ((True, 1), (False, 3)):
            for seed in range(seeds):
                torch.manual_seed(seed)
                gated = excite.insert(trained, "se", identity=identity).eval()
                fractions.append(100 * (gated(images).argmax(1) == before).float().mean().item())
    figure, axes = plt.subplots(figsize=(6, 2.2))
    labels = [
        words("identity start", "恒等初始化"),
        *(words(f"random start {seed}", f"随机初始化 {seed}") for seed in range(3)),
    ]
    axes.barh(labels[::-1], fractions[::-1], color=[ORANGE] * 3 + [BLUE])
    for row, fraction in enumerate(fractions[::-1]):
        axes.annotate(f"{fraction:.0f} %", (fraction + 1, row), va="center", fontsize=9)
    axes.set(xlim=(0, 112), xticks=range(0, 101, 20))
    axes.set_xlabel(words("crops that keep their class, %", "类别不变的裁剪图，%"))
    return figure


def gates(folder: Path, words: Words) -> plt.Figure:
    """The mean gates of each digit in step 6, in the first and the last site."""
    run = excite.Run.open(folder / "6-gates" / "runs" / "gates")
    classifier = excite.Classifier.load(run)
    how, test = classifier.preprocessing, run.predictions
    pixels = np.stack([how.pixels(Image.open(path).convert("RGB")) for path in test["path"]]) / 255
    images = torch.tensor((pixels - how.mean) / how.std, dtype=torch.float32).permute(0, 3, 1, 2)
    labels = test["label"].astype(str).to_numpy()
    found: dict[str, torch.Tensor] = {}
    modules = {n: m for n, m in classifier.model.named_modules() if isinstance(m, excite.SqueezeExcitation)}
    for name, module in modules.items():
        module.register_forward_pre_hook(
            lambda m, inputs, name=name: found.update({name: m.gates(inputs[0]).flatten(1)})
        )
    with torch.no_grad():
        classifier.model(images)
    figure, both = plt.subplots(1, 2, figsize=(8, 2.6), width_ratios=(1, 2.2), layout="constrained")
    for axes, name, title in zip(
        both,
        (next(iter(found)), list(found)[-1]),
        (words("first site", "第一个位置"), words("last site", "最后一个位置")),
        strict=True,
    ):
        means = np.stack([found[name].numpy()[labels == each].mean(axis=0) for each in classifier.classes])
        shown = axes.imshow(means, aspect="auto", cmap="viridis")
        axes.set(yticks=range(10), yticklabels=classifier.classes, xlabel=words("channel", "通道"))
        axes.tick_params(labelsize=7)
        axes.set_title(title, fontsize=10)
        figure.colorbar(shown, ax=axes).ax.tick_params(labelsize=7)
    both[0].set_ylabel(words("digit", "数字"))
    return figure


def ship(folder: Path, words: Words) -> plt.Figure:
    """The accuracies of step 7."""
    from excite.bundle.predictor import Predictor

    place = folder / "7-ship-it"
    predictor = Predictor.load(place / "digits.onnx")
    test = pd.read_csv(place / "runs" / "digits" / "predictions.csv")
    right = np.stack([predictor.pixels(path) for path in test["path"]])
    ways = {
        words("its own", "自带的预处理"): right,
        words("divided by 255", "除以 255"): (right / 255).astype(np.uint8),
        words("inverted", "黑白反相"): 255 - right,
    }
    classes, labels = np.array(predictor.classes), test["label"].astype(str).to_numpy()
    values = [
        100 * (classes[predictor.probabilities(each).argmax(1)] == labels).mean() for each in ways.values()
    ]
    figure, axes = plt.subplots(figsize=(6, 2))
    axes.barh(list(ways)[::-1], values[::-1], color=[ORANGE, ORANGE, BLUE])
    for row, value in enumerate(values[::-1]):
        axes.annotate(f"{value:.1f} %", (value + 1, row), va="center", fontsize=9)
    axes.set(xlim=(0, 114), xticks=range(0, 101, 20))
    axes.set_xlabel(words("accuracy, %", "准确率，%"))
    return figure


FIGURES = {
    "1-block": block,
    "2-densenet": densenet,
    "3-honest": honest,
    "4-study": study,
    "5-elsewhere": elsewhere,
    "6-gates": gates,
    "7-ship": ship,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the notebooks were executed")
    parser.add_argument("--only", default="", help="the picture whose name begins with this")
    options = parser.parse_args()
    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "path"})
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        if name.startswith(options.only):
            for language, suffix in enumerate(("", ".zh")):
                figure = draw(options.folder / "tutorial", lambda *texts, language=language: texts[language])
                set_fonts(figure)
                figure.savefig(
                    IMAGES / f"{name}{suffix}.png",
                    dpi=110,
                    bbox_inches="tight",
                    facecolor="white",
                    metadata={"Software": None},
                )
                plt.close(figure)


if __name__ == "__main__":
    main()
