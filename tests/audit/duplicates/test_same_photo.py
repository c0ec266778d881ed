"""Synthetic truth: whatever is done to a photo, it is found again, and other photos are left alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from scipy import ndimage

from excite.audit.duplicates.content_mask import content_mask
from excite.audit.duplicates.find import find_pairs, group_images
from excite.audit.duplicates.grouping import UnionFind
from excite.audit.duplicates.local_features import Features, extract, mirrored, noise_level
from excite.audit.duplicates.photo_matching import Overlay, overlay
from excite.audit.duplicates.same_photo import _second_candidates, evidence_bits, photo_pairs
from excite.data.file_validation import check_files
from excite.data.reading import read_manifest
from excite.errors import ExciteError

COUNT = 8


def scene(seed: int, size: tuple[int, int] = (224, 200)) -> Image.Image:
    """A picture with edges, blobs and texture of all sizes, unlike that of any other seed."""
    random = np.random.default_rng(seed)
    width, height = size
    pixels = np.zeros((height, width, 3))
    for sigma in (2, 4, 8, 16, 32):
        # As in natural pictures, channels go together for the most part.
        grain = random.standard_normal((height, width, 1)) + 0.3 * random.standard_normal((height, width, 3))
        layer = ndimage.gaussian_filter(grain, (sigma, sigma, 0))
        pixels += layer / layer.std() * sigma**0.3 * 14
    picture = Image.fromarray(np.clip(pixels + 120, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(25):
        x, y, r = random.integers(0, width), random.integers(0, height), random.integers(4, 25)
        color = tuple((random.integers(30, 190) + random.integers(0, 40, 3)).tolist())
        draw.ellipse([x - r, y - r * 0.7, x + r, y + r * 0.7], fill=color)
    return picture


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


def cropped(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop(
        (width // 4, height // 5, width // 4 + int(0.64 * width), height // 5 + int(0.64 * height))
    )


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


def test_one_caption_on_two_photos_joins_nothing(originals: list[Features]) -> None:
    pictures = [extract(captioned(scene(seed))) for seed in range(6)]
    assert photo_pairs(pictures) == []


@pytest.mark.slow
def test_slices_of_strangers_who_share_most_of_their_anatomy_stay_apart() -> None:
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
def test_the_more_strangers_agree_the_better_copies_have_to(noisy: bool) -> None:
    seen = [Overlay(60, 100, value, 1.0, 1.0, mirror=False, noisy=noisy) for value in (0.45, 0.7, 0.95)]
    assert [evidence_bits(one) > 0 for one in seen] == [noisy, True, True]
    assert [evidence_bits(one, background=0.7) > 0 for one in seen] == [False, False, True]
    for background in (0.2, 0.5, 0.8):  # whatever reaches the threshold agrees better than strangers do
        values = np.linspace(0, 0.99, 200)
        found = [
            evidence_bits(Overlay(60, 100, v, 1.0, 1.0, mirror=False, noisy=noisy), background)
            for v in values
        ]
        assert values[np.array(found) > 0].min() > background
        assert found == sorted(found)


def test_a_lonely_picture_is_held_against_every_copy_in_a_small_group() -> None:
    random = np.random.default_rng(0)
    straight = random.standard_normal((40, 16)).astype(np.float32)
    straight[1:11] = straight[0] + random.normal(0, 0.5, (10, 16))  # the lonely one is 0, its group 1 to 10
    straight /= np.linalg.norm(straight, axis=1, keepdims=True)
    groups = UnionFind(40)
    for row in range(2, 11):
        groups.join(1, row)
    wanted = {(a, b) for _, a, b, _ in _second_candidates(straight, -straight, groups)}
    assert {(0, row) for row in range(1, 11)} <= wanted


def test_mirrored_descriptors_are_those_of_the_mirrored_picture() -> None:
    picture = scene(3)
    straight, mirror = extract(picture), extract(ImageOps.mirror(picture))
    width = straight.structure.shape[1]
    there = straight.points.copy()
    there[:, 0] = width - 1 - there[:, 0]  # where each point lies in the mirror, to half a pixel
    likeness = []
    for place, descriptor in zip(there, mirrored(straight.descriptors).astype(float), strict=True):
        near = np.linalg.norm(mirror.points - place, axis=1) < 1.5
        if near.any():
            likeness.append((mirror.descriptors[near].astype(float) @ descriptor).max() / 255**2)
    assert len(likeness) > 0.8 * len(straight)
    assert np.median(likeness) > 0.95
    seen = overlay(straight, mirror, mirror=True)
    assert seen.mirror
    assert evidence_bits(seen) > 9
    assert not overlay(straight, straight, mirror=False).mirror


def test_noise_is_measured() -> None:
    flat = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 300, (200, 200)), 10) + 120
    for sigma in (5.0, 15.0, 25.0):
        gray = np.clip(flat + np.random.default_rng(1).normal(0, sigma, flat.shape), 0, 255).astype(np.uint8)
        assert noise_level(gray) == pytest.approx(sigma, rel=0.15)


def test_black_corners_are_outside_and_a_dark_photo_is_not() -> None:
    turned = np.asarray(scene(1).rotate(30).convert("L"))
    truth = np.asarray(Image.new("L", (224, 200), 255).rotate(30)) > 0
    assert (content_mask(turned) == truth).mean() > 0.9
    assert content_mask(turned)[~truth].max() == 0
    assert content_mask(np.full((50, 50), 90, np.uint8)).all()


def test_few_or_empty_pictures_are_no_trouble() -> None:
    empty = extract(Image.new("RGB", (224, 224)))
    tiny = extract(Image.new("RGB", (1, 1)))
    line = extract(Image.new("RGB", (3000, 2)))
    for features in ([], [empty], [empty, empty], [empty, tiny, line, extract(scene(0))]):
        assert photo_pairs(features) == []


def test_threads_of_opencv_are_left_as_they_were(originals: list[Features]) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        photo_pairs(originals[:3])
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def saved(root: Path, pictures: int = 4) -> Path:
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    for seed in range(pictures):
        scene(seed).save(root / "a" / f"{seed}.png")
        cropped(scene(seed)).save(root / "b" / f"{seed}.jpg")
    return root


@pytest.mark.slow
def test_a_folder_is_searched_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, _ = check_files(read_manifest(saved(tmp_path / "data")))
    stages: dict[str, list[tuple[int, int]]] = {}

    def progress(stage: str) -> Callable[[int, int], None]:
        seen = stages.setdefault(stage, [])
        return lambda done, total: seen.append((done, total))

    found = find_pairs(manifest, cache=tmp_path / "cache", progress=progress)
    assert {(pair.a, pair.b) for pair in found} == {(seed, 4 + seed) for seed in range(4)}
    assert {pair.kind for pair in found} == {"same photo"}
    assert list(stages) == ["looking at images", "comparing photos"]
    assert all(seen[-1][0] == seen[-1][1] for seen in stages.values())
    assert find_pairs(manifest, near_duplicates=False) == []

    (memory,) = (tmp_path / "cache" / "duplicates").iterdir()
    monkeypatch.setattr("excite.audit.duplicates.fingerprints.decode_and_hash", None)
    assert find_pairs(manifest, cache=tmp_path / "cache") == found
    memory.write_text(memory.read_text()[:-20])
    with pytest.raises(TypeError):  # it is looked at anew
        find_pairs(manifest, cache=tmp_path / "cache")


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_a_file_that_changes_after_the_check_is_named(tmp_path: Path, harm: str) -> None:
    root = saved(tmp_path / "data")
    manifest, _ = check_files(read_manifest(root))
    victim = root / "b" / "2.jpg"
    victim.unlink()
    if harm == "changed":
        scene(99).save(victim)
    with pytest.raises(ExciteError, match=r"2\.jpg: (has changed|there is no such file)"):
        find_pairs(manifest)


def test_unchecked_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match="call check_files first"):
        find_pairs(read_manifest(saved(tmp_path / "data")))
