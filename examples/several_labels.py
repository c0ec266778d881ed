"""Pictures with several labels: tiles of 2 x 2 cells that hold up to three small images, and a table of them.

    python examples/several_labels.py tiles                       # of scikit-learn's handwritten digits
    python examples/several_labels.py tiles --source cifar10/test # of a folder of class folders

Each group, a page, has its own small images, which recur on its four pictures: pictures of one page are not
independent, and training keeps them together with --group-column page. Some values are left empty, as in
tables of findings that nobody recorded; they are neither trained on nor evaluated.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

PICTURES, IMAGES, CELLS = 4, 6, 4  # pictures and small images of a page, cells of a picture
COUNTS = (0.1, 0.25, 0.35, 0.3)  # probability of 0, 1, 2, and 3 small images in a picture
UNKNOWN = 0.05  # fraction of the values that are left empty
SUFFIXES = (".png", ".jpg", ".jpeg")


def digits() -> tuple[list[np.ndarray], list[str]]:
    """1,797 handwritten digits, (16, 16, 3) uint8, and their names."""
    images, targets = load_digits(return_X_y=True)
    large = np.kron(images.reshape(-1, 8, 8), np.ones((2, 2))) * 255 / 16
    colored = np.repeat(large[..., None], 3, axis=3).astype(np.uint8)
    return list(colored), [str(target) for target in targets]


def folder(source: Path, limit: int) -> tuple[list[np.ndarray], list[str]]:
    """At most ``limit`` images of each class folder, and their classes."""
    images, names = [], []
    for place in sorted(path for path in source.iterdir() if path.is_dir()):
        for file in sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES)[:limit]:
            with Image.open(file) as picture:
                images.append(np.asarray(picture.convert("RGB").resize((32, 32))))
            names.append(place.name)
    return images, names


def picture(images: list[np.ndarray], side: int, random: np.random.Generator) -> np.ndarray:
    """A picture of 2 x 2 cells with these images in random cells; the others are gray noise."""
    cells = random.permutation(CELLS)[: len(images)]
    canvas = random.integers(96, 160, (2 * side, 2 * side, 3)).astype(np.uint8)
    for cell, image in zip(cells.tolist(), images, strict=True):
        top, left = side * (cell // 2), side * (cell % 2)
        canvas[top : top + side, left : left + side] = image
    return canvas


def main() -> None:
    """Write the pictures and ``labels.csv``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--source", type=Path, help="folder of class folders; default: digits")
    parser.add_argument("--limit", type=int, default=600, help="images of each class folder")
    arguments = parser.parse_args()
    images, names = digits() if arguments.source is None else folder(arguments.source, arguments.limit)
    labels, random = sorted(set(names)), np.random.default_rng(0)
    order = random.permutation(len(images))
    arguments.out.mkdir(parents=True)
    with (arguments.out / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "page", "labels", *labels])
        for page in range(len(images) // IMAGES):
            own = order[IMAGES * page : IMAGES * (page + 1)]
            for number in range(PICTURES):
                chosen = random.choice(own, random.choice(len(COUNTS), p=COUNTS), replace=False)
                name = f"{page:04}_{number}.png"
                drawn = picture([images[row] for row in chosen], images[0].shape[0], random)
                Image.fromarray(drawn).save(arguments.out / name)
                present = {names[row] for row in chosen}
                values = [str(int(label in present)) for label in labels]
                values = ["" if random.random() < UNKNOWN else value for value in values]
                writer.writerow([name, f"page {page}", "|".join(sorted(present)) or "No Finding", *values])


if __name__ == "__main__":
    main()
