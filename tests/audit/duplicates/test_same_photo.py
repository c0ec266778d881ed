"""Synthetic ground truth: changed copies of a photo are found, and other photos are not joined."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from scipy import ndimage

from excite.audit.duplicates.find import group_images
from excite.audit.duplicates.grouping import UnionFind
from excite.audit.duplicates.local_features import Features, extract
from excite.audit.duplicates.photo_matching import Overlay
from excite.audit.duplicates.same_photo import _second_candidates, evidence_bits, photo_pairs
from tests.audit.duplicates.scenes import cropped, jpeg, scene

COUNT = 8


def hue(picture: Image.Image) -> Image.Image:
    shifted = np.asarray(picture.convert("HSV")).copy()
    shifted[..., 0] += 40
    return Image.fromarray(shifted, "HSV").convert("RGB")


def noisy(picture: Image.Image) -> Image.Image:
    pixels = np.asarray(picture) + np.random.default_rng(0).normal(0, 20, (*picture.size[::-1], 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def captioned(picture: Image.Image) -> Image.Image:
    framed = ImageOps.expand(picture, (12, 12, 12, 40), fill="white")
    ImageDraw.Draw(framed).text((20, framed.height - 30), "Figure 3: a caption below", fill="black")
    return framed


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "crop of 41 %": cropped,
    "turned by 37 degrees": lambda p: p.rotate(37, Image.Resampling.BILINEAR),
    "turned by 170 degrees": lambda p: p.rotate(170, Image.Resampling.BILINEAR, expand=True),
    "half size": lambda p: p.resize((p.width // 2, p.height // 2), Image.Resampling.BICUBIC),
    "double size": lambda p: p.resize((p.width * 2, p.height * 2), Image.Resampling.BICUBIC),
    "JPEG quality 20": lambda p: jpeg(p, 20),
    "hue": hue,
    "brightness": lambda p: ImageEnhance.Brightness(p).enhance(0.6),
    "mirror": ImageOps.mirror,
    "noise": noisy,
    "frame and caption": captioned,
    "crop, mirrored, turned, JPEG": lambda p: jpeg(ImageOps.mirror(cropped(p)).rotate(20), 40),
}


@pytest.fixture(scope="module")
def originals() -> list[Features]:
    return [extract(scene(seed)) for seed in range(COUNT)]


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_finds_its_photo_and_no_other(change: str, originals: list[Features]) -> None:
    copies = [extract(CHANGES[change](scene(seed))) for seed in range(COUNT)]
    pairs = photo_pairs([*originals, *copies])
    joined = {(pair.a, pair.b) for pair in group_images(2 * COUNT, pairs).used}
    true = {(seed, COUNT + seed) for seed in range(COUNT)}
    assert joined <= true
    evidence = [pair.evidence for pair in pairs if pair.b - pair.a == COUNT]
    assert all(("mirror" in change) == ("mirrored" in words) for words in evidence)
    assert len(joined) >= COUNT - 1


@pytest.mark.slow
def test_one_caption_on_two_photos_joins_nothing(originals: list[Features]) -> None:
    pictures = [extract(captioned(scene(seed))) for seed in range(6)]
    assert photo_pairs(pictures) == []


@pytest.mark.slow
def test_similar_slices_of_different_patients_are_not_joined() -> None:
    random = np.random.default_rng(0)

    def anatomy() -> np.ndarray:
        return sum(ndimage.zoom(random.standard_normal((n, n)), 64 / n, order=1) for n in (4, 8, 16, 32))

    common = anatomy()
    slices = [0.8**0.5 * common + 0.2**0.5 * anatomy() for _ in range(100)]
    slices += [slices[seed] + 0.1 * anatomy() for seed in range(4)]  # the next slice of four of them
    shown = [Image.fromarray(np.uint8(np.clip(one * 20 + 120, 0, 255))).convert("RGB") for one in slices]
    pairs = photo_pairs([extract(picture) for picture in shown])
    assert {(pair.a, pair.b) for pair in pairs} == {(seed, 100 + seed) for seed in range(4)}


@pytest.mark.parametrize("noisy", [False, True])
def test_the_more_similar_background_pairs_are_the_more_evidence_copies_need(noisy: bool) -> None:
    seen = [Overlay(60, 100, value, 1.0, 1.0, mirror=False, noisy=noisy) for value in (0.45, 0.7, 0.95)]
    assert [evidence_bits(one) > 0 for one in seen] == [noisy, True, True]
    assert [evidence_bits(one, background=0.7) > 0 for one in seen] == [False, False, True]
    for background in (0.2, 0.5, 0.8):  # whatever reaches the threshold agrees better than background pairs
        values = np.linspace(0, 0.99, 200)
        found = [
            evidence_bits(Overlay(60, 100, v, 1.0, 1.0, mirror=False, noisy=noisy), background)
            for v in values
        ]
        assert values[np.array(found) > 0].min() > background
        assert found == sorted(found)


def test_a_single_picture_is_compared_with_every_copy_in_a_small_group() -> None:
    random = np.random.default_rng(0)
    straight = random.standard_normal((40, 16)).astype(np.float32)
    straight[1:11] = straight[0] + random.normal(0, 0.5, (10, 16))  # the lonely one is 0, its group 1 to 10
    straight /= np.linalg.norm(straight, axis=1, keepdims=True)
    groups = UnionFind(40)
    for row in range(2, 11):
        groups.join(1, row)
    wanted = {(a, b) for _, a, b, _ in _second_candidates(straight, -straight, groups)}
    assert {(0, row) for row in range(1, 11)} <= wanted


def test_few_or_empty_pictures_have_no_pairs() -> None:
    empty = extract(Image.new("RGB", (224, 224)))
    tiny = extract(Image.new("RGB", (1, 1)))
    line = extract(Image.new("RGB", (3000, 2)))
    for features in ([], [empty], [empty, empty], [empty, tiny, line, extract(scene(0))]):
        assert photo_pairs(features) == []


def test_the_number_of_opencv_threads_does_not_change(originals: list[Features]) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        photo_pairs(originals[:3])
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)
