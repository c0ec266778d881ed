"""Augmentation does to pixels what NumPy, Pillow and torchvision do, and depends on its draws alone."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import map_coordinates
from torchvision.transforms import functional as tv

from excite.data.augmentation import (
    DRAWS,
    LIMITS,
    PRESETS,
    Augmentation,
    Mixing,
    augment,
    draw_mixing,
    mix,
    normalize,
    to_float,
)
from excite.errors import BAD_USAGE, ExciteError

HALF = 0.5  # a draw in the middle: no stretch, the center, no change of color
ALMOST = 1 - 2**-24  # the largest number that torch.rand gives


def noise(count: int = 4, height: int = 12, width: int = 16, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def draws_with(count: int = 1, **columns: float) -> torch.Tensor:
    """Draws that change nothing, but for the named ones."""
    neutral = {"area": 0.0, "aspect": HALF, "x": HALF, "y": HALF, "horizontal": ALMOST, "vertical": ALMOST}
    neutral |= {"brightness": HALF, "contrast": HALF, "saturation": HALF, "erase": ALMOST, "place": HALF}
    return torch.tensor([list((neutral | columns).values())] * count)


def in_numpy(pixels: torch.Tensor) -> np.ndarray:
    """(N, 3, H, W) in [0, 1], float64."""
    return pixels.numpy().transpose(0, 3, 1, 2) / 255.0


def rand(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, DRAWS, generator=torch.Generator().manual_seed(seed))


def crop_with_pillow(picture: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """(3, H, W) float, its box (left, top, right, bottom) resized to (3, H, W)."""
    size = picture.shape[2], picture.shape[1]
    planes = [Image.fromarray(plane.astype(np.float32), mode="F") for plane in picture]
    return np.stack([np.asarray(p.resize(size, Image.Resampling.BILINEAR, box=box)) for p in planes])


def test_floats_and_normalization_agree_with_numpy_and_stay_channels_last() -> None:
    pixels = noise()
    images = to_float(pixels)
    assert images.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(images.numpy(), in_numpy(pixels), atol=1e-7)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
    expected = (in_numpy(pixels) - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    result = normalize(images, torch.tensor(mean), torch.tensor(std))
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_no_augmentation_changes_no_pixel() -> None:
    pixels = noise(32)
    assert torch.equal(augment(pixels, rand(32), Augmentation()), to_float(pixels))


@pytest.mark.parametrize("how", PRESETS.values(), ids=PRESETS)
def test_values_stay_between_0_and_1_and_the_source_is_left_alone(how: Augmentation) -> None:
    pixels = noise(64)
    before = pixels.clone()
    images = augment(pixels, rand(64), how)
    assert images.shape == (64, 3, 12, 16)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("how", [*PRESETS.values(), Augmentation(0.5, 2, 0.5, 0.5, 45, 1, 1, 1, 0.5)])
def test_a_picture_depends_on_its_own_row_of_draws_and_on_nothing_else(how: Augmentation) -> None:
    pixels, draws = noise(16), rand(16)
    together = augment(pixels, draws, how)
    torch.rand(7)  # global random state plays no part
    for row in range(16):
        assert torch.equal(augment(pixels[row : row + 1], draws[row : row + 1], how)[0], together[row])


@pytest.mark.parametrize(
    "moves", [{}, {"area": 0.999999}], ids=["flips of bytes", "flips while pictures are resampled"]
)
@pytest.mark.parametrize(("horizontal", "vertical"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_flips_are_numpys(horizontal: int, vertical: int, moves: dict[str, float]) -> None:
    pixels = noise()
    how = Augmentation(horizontal_flip=0.5, vertical_flip=0.5, **moves)
    draws = draws_with(4, horizontal=0.49 if horizontal else 0.5, vertical=0.49 if vertical else 0.5)
    expected = in_numpy(pixels)
    expected = expected[:, :, :, ::-1] if horizontal else expected
    expected = expected[:, :, ::-1] if vertical else expected
    np.testing.assert_allclose(augment(pixels, draws, how).numpy(), expected, atol=1e-4 if moves else 1e-7)


def test_flips_have_the_requested_frequency() -> None:
    pixels = torch.zeros(20_000, 2, 2, 3, dtype=torch.uint8)
    pixels[:, 0, 0] = 255
    images = augment(pixels, rand(20_000), Augmentation(horizontal_flip=0.3, vertical_flip=0.6))
    # Where the white corner went: (top, left), (top, right), (bottom, left), (bottom, right).
    shares = images[:, 0].mean(dim=0).flatten().tolist()
    assert shares == pytest.approx([0.28, 0.12, 0.42, 0.18], abs=0.015)


@settings(max_examples=60, deadline=None)
@given(
    area=st.floats(0, 0.9),
    aspect=st.floats(0, 1),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    height=st.integers(2, 20),
    width=st.integers(2, 20),
    flipped=st.booleans(),
)
def test_a_crop_is_pillows(
    area: float, aspect: float, x: float, y: float, height: int, width: int, flipped: bool
) -> None:
    """The area, the stretch of the sides by up to 2, and the place within the picture."""
    pixels = noise(1, height, width)
    how = Augmentation(area=0.01, aspect=2, horizontal_flip=0.5)
    draws = draws_with(area=area / 0.99, aspect=aspect, x=x, y=y, horizontal=0.0 if flipped else HALF)
    keep, ratio = 1 - area, 2 ** (2 * aspect - 1)
    wide, high = min(1, math.sqrt(keep * ratio)) * width, min(1, math.sqrt(keep / ratio)) * height
    left, top = x * (width - wide), y * (height - high)
    expected = crop_with_pillow(in_numpy(pixels)[0], (left, top, left + wide, top + high))
    if flipped:
        expected = expected[:, :, ::-1]
    np.testing.assert_allclose(augment(pixels, draws, how)[0].numpy(), expected, atol=2e-4)


@settings(max_examples=30, deadline=None)
@given(area=st.floats(0.05, 1), aspect=st.floats(1, 3), seed=st.integers(0, 2**32))
def test_a_crop_has_the_requested_area_and_stays_inside_the_picture(
    area: float, aspect: float, seed: int
) -> None:
    """The picture's red is each pixel's column and its green the row, so a crop tells where it was cut."""
    ramp = torch.arange(32).expand(32, 32) * 8
    pixels = torch.stack([ramp, ramp.T, ramp], dim=-1).to(torch.uint8).expand(64, -1, -1, -1)
    images = augment(pixels, rand(64, seed), Augmentation(area=area, aspect=aspect)) * 255 / 8
    columns, rows = images[:, 0, 15, 15:17], images[:, 1, 15:17, 15]  # on both sides of the middle
    kept = 1.0
    for pair in (columns, rows):
        middle, step = pair.mean(dim=1), pair[:, 1] - pair[:, 0]
        assert (middle - 16 * step).min() >= -0.5 - 1e-2
        assert (middle + 16 * step).max() <= 31.5 + 1e-2
        kept = kept * step
    assert kept.min() >= min(area, 1 / aspect) - 1e-2  # type: ignore[attr-defined]
    assert kept.max() <= 1 + 1e-2  # type: ignore[attr-defined]


def turned(degrees: float, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture of a vertical bar through the middle, and where the bar is after the turn."""
    pixels = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    pixels[:, :, width // 2 - 2 : width // 2 + 2] = 255
    low_digits = (degrees / 90 + 1) / 2  # the angle's draw, here with rotation=90
    draws = draws_with(aspect=(2048 + low_digits) / 4096)
    image = augment(pixels, draws, Augmentation(rotation=90))[0, 0].numpy()
    rows, columns = np.nonzero(image > 0.5)
    return rows - (height - 1) / 2, columns - (width - 1) / 2


@pytest.mark.parametrize(("height", "width"), [(65, 64), (33, 96), (96, 34), (48, 48)])
@pytest.mark.parametrize("degrees", [-40, -20, 0, 10, 30, 40])
def test_rotation_keeps_angles_on_pictures_of_any_shape(degrees: float, height: int, width: int) -> None:
    rows, columns = turned(degrees, height, width)
    near = np.hypot(rows, columns) < min(height, width) / 2  # farther out, reflections of the bar appear
    axis = np.linalg.svd(np.stack([rows[near], columns[near]], axis=1))[2][0]
    angle = math.degrees(math.atan2(axis[1], axis[0]))  # of the bar against the vertical
    angle = (angle + 90) % 180 - 90
    assert angle == pytest.approx(degrees, abs=1.5)
    # And its width stays four pixels.
    across = rows[near] * axis[1] - columns[near] * axis[0]
    assert np.ptp(across) == pytest.approx(3, abs=1.2)


def test_angles_are_uniform_and_independent_of_the_stretch() -> None:
    """A gray ramp through a quarter turn: its slope along x is the angle's cosine, along y its sine."""
    ramp = (torch.arange(32) * 4 + 64).expand(32, 32)
    pixels = ramp.unsqueeze(-1).expand(-1, -1, 3).to(torch.uint8).expand(2000, -1, -1, -1)
    draws = rand(2000)
    images = augment(pixels, draws, Augmentation(rotation=60))[:, 0]
    angles = torch.atan2(images[:, 14, 16] - images[:, 18, 16], images[:, 16, 18] - images[:, 16, 14])
    angles = torch.rad2deg(angles).numpy()
    assert np.abs(angles).max() <= 60.5
    assert np.std(angles) == pytest.approx(120 / math.sqrt(12), rel=0.05)
    assert abs(np.corrcoef(angles, draws[:, 1].numpy())[0, 1]) < 0.08


@settings(max_examples=40, deadline=None)
@given(
    brightness=st.floats(0.7, 1.3),
    contrast=st.floats(0.7, 1.3),
    saturation=st.floats(0.7, 1.3),
    seed=st.integers(0, 1000),
)
def test_color_changes_equal_those_of_torchvision(
    brightness: float, contrast: float, saturation: float, seed: int
) -> None:
    """Of pictures in which no step clips, since torchvision clips after each and this clips once."""
    pixels = noise(2, 6, 7, seed) // 3 + 60
    how = Augmentation(brightness=0.3, contrast=0.3, saturation=0.3)
    values = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    draws = draws_with(2, **{name: (value - 1) / 0.6 + 0.5 for name, value in values.items()})
    expected = to_float(pixels)
    expected = tv.adjust_saturation(expected, saturation)
    expected = tv.adjust_contrast(expected, contrast)
    expected = tv.adjust_brightness(expected, brightness)
    torch.testing.assert_close(augment(pixels, draws, how), expected, atol=5e-4, rtol=0)


def test_each_color_draw_moves_its_own_property() -> None:
    pixels = noise(1) // 3 + 60
    how = Augmentation(brightness=0.5, contrast=0.5, saturation=0.5)
    plain = to_float(pixels)
    gray = tv.rgb_to_grayscale(plain)
    darker = augment(pixels, draws_with(brightness=0.0), how)
    torch.testing.assert_close(darker, plain * 0.5, atol=1e-5, rtol=0)
    flatter = augment(pixels, draws_with(contrast=0.0), how)
    assert flatter.std() == pytest.approx(float(plain.std()) / 2, rel=1e-2)
    grayer = augment(pixels, draws_with(saturation=0.0), how)
    torch.testing.assert_close(tv.rgb_to_grayscale(grayer), gray, atol=1e-3, rtol=0)
    assert grayer.std(dim=1).mean() == pytest.approx(float(plain.std(dim=1).mean()) / 2, rel=1e-2)


def test_erasing_blanks_one_square_inside_the_picture_with_the_requested_frequency() -> None:
    pixels = noise(3000, 40, 40) // 4  # never gray
    images = augment(pixels, rand(3000), Augmentation(erase=0.25))
    blank = (images == 0.5).all(dim=1)
    erased = blank.flatten(1).any(dim=1)
    assert erased.float().mean() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(images[~erased], to_float(pixels)[~erased])
    sides = []
    for image in blank[erased]:
        rows, columns = image.any(dim=1).sum(), image.any(dim=0).sum()
        assert rows * columns == image.sum()  # one filled rectangle
        sides += [int(rows) / 40, int(columns) / 40]
    assert min(sides) >= 0.1
    assert max(sides) <= 0.525
    assert np.mean(sides) == pytest.approx(0.325, abs=0.02)


def erased_one_by_one(images: torch.Tensor, draws: torch.Tensor, erase: float) -> torch.Tensor:
    """The definition of erasing, in whole numbers that Python cuts down."""
    height, width = images.shape[-2:]
    for image, (coin, place) in zip(images, draws[:, 9:11], strict=True):
        if coin < erase:
            side = 0.15 + 0.35 * (coin / erase)
            top, left = place * (1 - side), (place * 4096).frac() * (1 - side)
            y0, y1 = int(float(top) * height), int(float(top + side) * height)
            x0, x1 = int(float(left) * width), int(float(left + side) * width)
            image[:, y0:y1, x0:x1] = 0.5
    return images


@settings(max_examples=40, deadline=None)
@given(
    erase=st.floats(0.01, 1), height=st.integers(1, 50), width=st.integers(1, 50), seed=st.integers(0, 2**32)
)
def test_erasing_a_batch_is_erasing_its_pictures_one_by_one(
    erase: float, height: int, width: int, seed: int
) -> None:
    pixels, draws = noise(32, height, width), rand(32, seed)
    expected = erased_one_by_one(to_float(pixels), draws, erase)
    assert torch.equal(augment(pixels, draws, Augmentation(erase=erase)), expected)


ALL = Augmentation(0.4, 4 / 3, 0.5, 0.5, 30, 0.2, 0.2, 0.2, tint=0.1, erase=0.3)


def one_picture(pixels: np.ndarray, draws: list[float], how: Augmentation) -> torch.Tensor:
    """(H, W, 3) uint8 -> (3, H, W): each step by itself, by SciPy, torchvision and Python's slices."""
    area, aspect, x, y, horizontal, vertical, *colors = draws
    height, width, _ = pixels.shape
    kept, ratio = 1 - area * (1 - how.area), how.aspect ** (2 * aspect - 1)
    wide, high = min(1, math.sqrt(kept * ratio)) * width, min(1, math.sqrt(kept / ratio)) * height
    left, top = x * (width - wide), y * (height - high)
    angle = math.radians(how.rotation) * (2 * (aspect * 4096 % 1) - 1)
    rows, columns = np.mgrid[0:height, 0:width]
    across, down = (columns + 0.5) / width - 0.5, (rows + 0.5) / height - 0.5  # from the middle
    across = across * wide * (-1 if horizontal < how.horizontal_flip else 1)
    down = down * high * (-1 if vertical < how.vertical_flip else 1)
    column = left + wide / 2 + math.cos(angle) * across - math.sin(angle) * down - 0.5
    row = top + high / 2 + math.sin(angle) * across + math.cos(angle) * down - 0.5
    planes = [map_coordinates(pixels[..., k] / 255, [row, column], order=1, mode="reflect") for k in range(3)]
    image = torch.from_numpy(np.stack(planes))
    image = tv.adjust_saturation(image, 1 + how.saturation * (2 * colors[2] - 1))
    image = tv.adjust_contrast(image, 1 + how.contrast * (2 * colors[1] - 1))
    image = tv.adjust_brightness(image, 1 + how.brightness * (2 * colors[0] - 1))
    return image * (1 + how.tint * (2 * torch.tensor(colors[5:8]) - 1))[:, None, None]


@pytest.mark.parametrize("size", [(33, 48), (40, 40)])
def test_an_augmented_batch_equals_scipy_and_torchvision(size: tuple[int, int]) -> None:
    """Of pictures in which no step clips, since torchvision clips after each and this clips once."""
    pixels, draws = noise(32, *size) // 3 + 60, rand(32)
    pictures = [one_picture(each.numpy(), row.tolist(), ALL) for each, row in zip(pixels, draws, strict=True)]
    expected = erased_one_by_one(torch.stack(pictures).float(), draws, ALL.erase)
    torch.testing.assert_close(augment(pixels, draws, ALL), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("how", [*PRESETS.values(), ALL, Augmentation(vertical_flip=0.5)])
def test_augmentation_never_waits_for_the_device(how: Augmentation) -> None:
    """The meta device has no values, so that reading one, which would wait for a GPU, fails."""
    images = augment(noise(8).to("meta"), rand(8).to("meta"), how)
    assert images.shape == (8, 3, 12, 16)
    assert images.device.type == "meta"


def test_the_help_of_the_option_names_every_preset() -> None:
    from excite.config.train_config import TrainConfig

    text = TrainConfig.__dataclass_fields__["augment"].metadata["help"]
    assert all(re.search(rf"\b{name}\b", text) for name in PRESETS)


def test_a_tint_scales_each_channel_by_its_own_draw() -> None:
    pixels = noise(2) // 2
    draws = rand(2)
    changed = augment(pixels, draws, Augmentation(tint=0.2))
    factors = 1 + 0.2 * (2 * draws[:, 11:14] - 1)
    torch.testing.assert_close(changed, to_float(pixels) * factors[:, :, None, None], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", ["below", "above", "text", None, math.nan, math.inf, [1]])
def test_a_wrong_amount_is_refused_by_name(name: str, value: object) -> None:
    low, high = LIMITS[name]
    wrong = (
        {"below": low - 0.001, "above": high + 0.001}.get(value, value) if isinstance(value, str) else value
    )
    with pytest.raises(ExciteError, match=f"^{name}: must be a number from") as raised:
        Augmentation(**{name: wrong})
    assert raised.value.exit_code == BAD_USAGE


def test_every_amount_has_limits_and_may_be_text_from_yaml() -> None:
    assert set(LIMITS) == set(Augmentation.__dataclass_fields__) - {"transform"}  # a plug-in's, not an amount
    assert Augmentation(rotation="1e1") == Augmentation(rotation=10.0)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_the_mixing_fraction_follows_the_beta_distribution(alpha: float, kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    how = Augmentation(**{kind: alpha})
    shares = np.array([draw_mixing(2, how, generator).share for _ in range(4000)])
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)  # of Beta(alpha, alpha)


def test_mixup_and_cutmix_are_each_used_for_half_of_the_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [draw_mixing(8, PRESETS["best"], generator) for _ in range(2000)]
    assert sum(draw.box is None for draw in draws) / 2000 == pytest.approx(0.5, abs=0.04)
    assert all(sorted(draw.partners.tolist()) == list(range(8)) for draw in draws)


def test_the_same_generator_draws_the_same_mixing_whatever_the_global_state() -> None:
    one = draw_mixing(8, PRESETS["best"], torch.Generator().manual_seed(5))
    torch.manual_seed(99)
    other = draw_mixing(8, PRESETS["best"], torch.Generator().manual_seed(5))
    assert torch.equal(one.partners, other.partners)
    assert (one.share, one.box) == (other.share, other.box)


def test_mixup_is_the_papers_equation() -> None:
    images, others = to_float(noise(seed=1)), to_float(noise(seed=2))
    targets, other_targets = torch.eye(4), torch.eye(4).flip(0)
    mixed, shares = mix(images, others, targets, other_targets, Mixing(torch.arange(4), 0.3, None))
    np.testing.assert_allclose(mixed.numpy(), 0.3 * images.numpy() + 0.7 * others.numpy(), atol=1e-6)
    np.testing.assert_allclose(shares.numpy(), 0.3 * targets.numpy() + 0.7 * other_targets.numpy(), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), height=st.integers(1, 20), width=st.integers(1, 20))
def test_cutmix_labels_each_image_by_the_pixels_that_it_shows(seed: int, height: int, width: int) -> None:
    drawn = draw_mixing(2, Augmentation(cutmix=1.0), torch.Generator().manual_seed(seed))
    images, others = torch.zeros(2, 3, height, width), torch.ones(2, 3, height, width)
    targets, other_targets = torch.eye(2), torch.eye(2).flip(0)
    mixed, shares = mix(images, others, targets, other_targets, drawn)
    assert set(mixed.unique().tolist()) <= {0.0, 1.0}
    shown = mixed.mean(dim=(1, 2, 3))  # share of the other image's pixels
    torch.testing.assert_close(shares[:, 1], torch.tensor([float(shown[0]), 1 - float(shown[1])]))
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2))
    pasted = mixed[0, 0] == 1
    assert pasted.any(dim=1).sum() * pasted.any(dim=0).sum() == pasted.sum()  # one filled rectangle
