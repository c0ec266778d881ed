"""Similar slices of different patients: simulated ones, and one real brain, randomly deformed."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage


def simulated(patients: int, slices: int, share: float, side: int = 192) -> Iterator[Image.Image]:
    """An oval on black, of which ``share`` (of the variance) is the same in everybody.

    A neighboring slice of one patient keeps 95 % of what the patient shows, and has noise of its own.
    """
    random_ = np.random.default_rng(0)

    def anatomy() -> np.ndarray:
        layers = [
            ndimage.gaussian_filter(random_.standard_normal((side, side)), s) * s for s in (2, 4, 8, 16)
        ]
        total = sum(layers)
        return total / total.std()

    common = anatomy()
    y, x = np.mgrid[:side, :side] / side - 0.5
    for _ in range(patients):
        width, height = 0.4 + 0.02 * random_.standard_normal(2)
        oval = (x / width) ** 2 + (y / (height + 0.05)) ** 2 < 1
        place = random_.normal(0, side / 60, 2)
        own = share**0.5 * ndimage.shift(common, place, order=1) + (1 - share) ** 0.5 * anatomy()
        for _ in range(slices):
            shown = (0.95**0.5 * own + 0.05**0.5 * anatomy()) * 30 + 110
            shown += random_.normal(0, 2, shown.shape)
            yield Image.fromarray(np.where(oval, np.clip(shown, 0, 255), 0).astype(np.uint8)).convert("RGB")


def brains(patients: int, slices: int, warp: float, texture: float) -> Iterator[Image.Image]:
    """Axial T1 slices, 2 mm apart, of the average brain that nilearn brings along.

    Every patient is that brain at another height, turned, scaled and bent by ``warp`` mm (one standard
    deviation), with a contrast, an uneven field and a fine texture of their own, ``texture`` of the range;
    neighboring slices share nine tenths of the texture.
    """
    random_ = np.random.default_rng(0)
    volume = _average_brain()
    rows, columns, height = volume.shape
    y, x = np.mgrid[:rows, :columns].astype(float)

    def bend(size: float, scale: int) -> np.ndarray:
        coarse = random_.standard_normal((rows // scale + 3, columns // scale + 3))
        return size * ndimage.zoom(coarse, scale, order=3)[:rows, :columns]

    def grain() -> np.ndarray:
        field = ndimage.gaussian_filter(random_.standard_normal((rows, columns)), 1.2)
        return field / field.std()

    for _ in range(patients):
        level = random_.uniform(0.35, 0.7) * height
        angle, scale = random_.normal(0, np.deg2rad(4)), np.exp(random_.normal(0, 0.05))
        across = scale * (y - rows / 2), scale * np.exp(random_.normal(0, 0.03)) * (x - columns / 2)
        down = np.cos(angle) * across[0] - np.sin(angle) * across[1] + rows / 2 + random_.normal(0, 4)
        right = np.sin(angle) * across[0] + np.cos(angle) * across[1] + columns / 2 + random_.normal(0, 4)
        down, right = (axis + bend(warp, 24) + bend(0.4 * warp, 10) for axis in (down, right))
        up, gamma, field = bend(0.6 * warp, 20), np.exp(random_.normal(0, 0.15)), 1 + bend(0.1, 60)
        own = grain()
        for number in range(slices):
            shown = ndimage.map_coordinates(volume, [down, right, level + 2 * number + up], order=1)
            fine = texture * (0.9**0.5 * own + 0.1**0.5 * grain()) * (shown > 0.05)
            shown = np.clip(shown, 0, 1) ** gamma * field + fine + random_.normal(0, 0.01, shown.shape)
            pixels = np.rot90(np.clip(235 * shown, 0, 235).astype(np.uint8))
            yield Image.fromarray(pixels).resize((224, 264), Image.Resampling.BICUBIC).convert("RGB")


def _average_brain() -> np.ndarray:
    """ICBM 152, 1 mm, between 0 and 1; a NIfTI file: 352 bytes of header, then bytes in Fortran order."""
    spec = find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("install nilearn, which brings the average brain along")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    name = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    raw = gzip.decompress((folder / name).read_bytes())
    shape = np.frombuffer(raw, "<i2", 3, offset=42)
    volume = np.frombuffer(raw, np.uint8, int(np.prod(shape)), offset=352).reshape(shape, order="F")
    return volume.astype(np.float32) / 255
