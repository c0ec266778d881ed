"""Images with more than 8 bits: one range for a data set, measured once, and applied to every image."""

from __future__ import annotations

import io
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import excite
from excite.data.decoding import decode
from excite.data.file_validation import check_files
from excite.data.intensity import (
    SampleExtremes,
    combine_extremes,
    format_range,
    parse_range,
    range_warning,
    to_eight_bits,
)
from excite.data.manifest import Manifest
from excite.data.upright import upright
from excite.errors import ExciteError
from excite.runs.run import Run
from tests.conftest import SMALL

DRAW = np.random.default_rng(0)


def saved(folder: Path, samples: list[np.ndarray], suffix: str = ".png") -> Manifest:
    paths = []
    for number, one in enumerate(samples):
        paths.append(str(folder / f"{number}{suffix}"))
        Image.fromarray(one).save(paths[-1])
    return Manifest(pd.DataFrame({"path": paths, "label": "x"}), ("x",))


def gray(path: str, manifest: Manifest) -> np.ndarray:
    return np.asarray(decode(path, intensity_range=manifest.intensity_range))[..., 0]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_the_bits_that_a_data_set_uses_are_measured_over_all_its_files(
    tmp_path: Path, bits: int, suffix: str
) -> None:
    dim = DRAW.integers(0, 200, (6, 7), dtype=np.uint16)
    bright = np.full((6, 7), 2**bits - 1, dtype=np.uint16)
    checked, bad = check_files(saved(tmp_path, [dim, bright], suffix), complete=False)
    assert not bad
    assert checked.intensity_range == (0, 2**bits - 1)
    first, second = checked.table["path"]
    np.testing.assert_array_equal(gray(first, checked), dim >> (bits - 8))  # not by its own brightest pixel
    assert (gray(second, checked) == 255).all()


def test_files_of_eight_bits_are_as_they_are_beside_deeper_ones(tmp_path: Path) -> None:
    plain = DRAW.integers(0, 256, (5, 5), dtype=np.uint8)
    checked, _ = check_files(saved(tmp_path, [plain, np.full((5, 5), 4000, np.uint16)]), complete=False)
    np.testing.assert_array_equal(gray(checked.table["path"].iloc[0], checked), plain)
    assert checked.extremes is not None
    assert checked.extremes.images == 1


def test_a_data_set_of_eight_bits_has_no_range(tmp_path: Path) -> None:
    checked, _ = check_files(saved(tmp_path, [np.zeros((4, 4), np.uint8)]), complete=False)
    assert checked.extremes is None
    assert checked.intensity_range is None


def test_the_range_is_remembered_with_the_check(tmp_path: Path) -> None:
    manifest = saved(tmp_path, [np.full((4, 4), 900, np.uint16), np.zeros((4, 4), np.uint8)])
    first, _ = check_files(manifest, cache=tmp_path / "cache", complete=False)
    again, _ = check_files(manifest, cache=tmp_path / "cache", complete=False)
    assert first.extremes == again.extremes == SampleExtremes("integer", 900, 900, 1)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 0.9, (0, 1)), (0, 254.5, (0, 255)), (0, 3000, (0, 3000)), (-1000, 2000, (-1000, 2000))],
)
def test_floating_point_images_have_the_range_of_their_data_set(
    tmp_path: Path, low: float, high: float, expected: tuple[float, float]
) -> None:
    ramp = np.linspace(low, high, 30, dtype=np.float32).reshape(5, 6)
    checked, _ = check_files(saved(tmp_path, [ramp, ramp / 2], ".tif"), complete=False)
    assert checked.intensity_range == expected
    shown = gray(checked.table["path"].iloc[0], checked)
    np.testing.assert_allclose(shown, (ramp - expected[0]) / (expected[1] - expected[0]) * 255, atol=0.51)


def test_integers_and_floats_in_one_data_set_are_refused(tmp_path: Path) -> None:
    first = saved(tmp_path, [np.full((4, 4), 900, np.uint16)]).table
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tif")
    second = pd.DataFrame({"path": [str(tmp_path / "float.tif")], "label": "x"})
    table = pd.concat([first[["path", "label"]], second])
    with pytest.raises(ExciteError, match="no common scale"):
        check_files(Manifest(table, ("x",)), complete=False)


def test_nan_and_infinity_are_not_measured_and_become_the_bounds(tmp_path: Path) -> None:
    samples = np.array([[np.nan, np.inf], [-np.inf, 0.5]], np.float32)
    checked, _ = check_files(saved(tmp_path, [samples], ".tif"), complete=False)
    assert checked.intensity_range == (0, 1)
    assert gray(checked.table["path"].iloc[0], checked).tolist() == [[0, 255], [0, 128]]


@given(arrays(np.uint16, (3, 4)), st.sampled_from([8, 10, 12, 14, 16]))
def test_integers_are_shifted_by_whole_bits(samples: np.ndarray, bits: int) -> None:
    expected = np.minimum(samples, 2**bits - 1) >> (bits - 8)
    np.testing.assert_array_equal(to_eight_bits(samples, (0, 2**bits - 1)), expected)


@given(
    arrays(np.int32, (2, 5), elements=st.integers(-5000, 5000)),
    st.integers(-4000, 0),
    st.integers(1, 6000),
)
def test_any_range_is_mapped_monotonically_from_0_to_255(samples: np.ndarray, low: int, width: int) -> None:
    flat = np.sort(samples, axis=None)
    levels = to_eight_bits(flat[None], (low, low + width))[0].astype(int)
    assert (np.diff(levels) >= 0).all()
    assert (levels[flat <= low] == 0).all()
    assert (levels[flat >= low + width] == 255).all()


def white_is_zero(samples: np.ndarray) -> bytes:
    """A TIFF of 16-bit gray whose zero is white, written by hand: Pillow does not write them."""
    height, width = samples.shape
    tags = [(256, 4, width), (257, 4, height), (258, 3, 16), (259, 3, 1), (262, 3, 0), (273, 4, 8),
            (277, 3, 1), (278, 4, height), (279, 4, samples.nbytes)]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<HHI", tag, kind, 1)
        + (struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value))
        for tag, kind, value in tags
    )
    data = samples.astype("<u2").tobytes()
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + struct.pack("<I", 0)


def test_a_tiff_whose_zero_is_white_is_inverted() -> None:
    samples = np.array([[0, 4095], [1000, 2000]], np.uint16)
    shown = np.asarray(decode(white_is_zero(samples), intensity_range=(0, 4095)))[..., 0]
    np.testing.assert_array_equal(shown, 255 - (samples >> 4))


def test_a_tiff_written_as_65535_minus_the_sample_is_measured_from_its_white(tmp_path: Path) -> None:
    samples = DRAW.integers(0, 4096, (6, 7)).astype(np.uint16)
    samples[0, :2] = 0, 4095
    (tmp_path / "a.tif").write_bytes(white_is_zero(65535 - samples))
    table = pd.DataFrame({"path": [str(tmp_path / "a.tif")], "label": "x"})
    checked, _ = check_files(Manifest(table, ("x",)), complete=False)
    np.testing.assert_array_equal(gray(str(tmp_path / "a.tif"), checked), samples >> 4)


@pytest.mark.parametrize(
    ("kind", "low", "high", "expected"),
    [
        ("integer", 31_768, 34_768, (31_768, 34_768)),  # signed numbers with an offset
        ("integer", 3000, 4000, (3000, 4000)),
        ("integer", 900, 900, (0, 1023)),
        ("integer", -5, 3, (-5, 3)),
        ("integer", 0, 2**31, (0, 2**31)),
        ("float", -0.02, 1.02, (0, 1)),
        ("float", 0, 1.5, (0, 255)),
    ],
)
def test_samples_without_a_convention_are_read_by_their_extremes(
    kind: str, low: float, high: float, expected: tuple[float, float]
) -> None:
    assert SampleExtremes(kind, low, high).range == expected


def test_unsigned_samples_of_32_bits_do_not_wrap(tmp_path: Path) -> None:
    samples = np.linspace(0, 2**32 - 1, 30).astype(np.uint32).reshape(5, 6)
    tags = [(256, 4, 6), (257, 4, 5), (258, 3, 32), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
            (278, 4, 5), (279, 4, samples.nbytes), (339, 3, 1)]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<HHI" + ("HH" if kind == 3 else "I"), tag, kind, 1, value, *([0] if kind == 3 else []))
        for tag, kind, value in tags
    )
    header = b"II*\0" + struct.pack("<I", 8 + samples.nbytes)
    path = tmp_path / "a.tif"
    path.write_bytes(header + samples.astype("<u4").tobytes() + directory + struct.pack("<I", 0))
    table = pd.DataFrame({"path": [str(path)], "label": "x"})
    checked, _ = check_files(Manifest(table, ("x",)), complete=False)
    shown = gray(str(path), checked).ravel().astype(int)
    assert shown[0] == 0
    assert shown[-1] == 255
    assert (np.diff(shown) >= 0).all()


def color_png(samples: np.ndarray) -> bytes:
    """A PNG with 16 bits per channel, (H, W, 3) uint16, which Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    kind = 2 if samples.shape[2] == 3 else 6  # RGB or RGBA
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_color_with_16_bits_per_channel_is_read_by_the_range_too(tmp_path: Path, bits: int) -> None:
    samples = DRAW.integers(0, 2**bits, (6, 5, 3), dtype=np.uint16)
    samples[0, 0] = 2**bits - 1
    (tmp_path / "color.png").write_bytes(color_png(samples))
    table = pd.DataFrame({"path": [str(tmp_path / "color.png")], "label": "x"})
    checked, bad = check_files(Manifest(table, ("x",)), complete=False)
    assert not bad
    assert checked.intensity_range == (0, 2**bits - 1)
    shown = np.asarray(decode(tmp_path / "color.png", intensity_range=checked.intensity_range))
    np.testing.assert_array_equal(shown, samples >> (bits - 8))


def test_an_opaque_image_that_uses_8_of_16_bits_stays_opaque(tmp_path: Path) -> None:
    samples = DRAW.integers(0, 256, (6, 5, 4), dtype=np.uint16)
    samples[0, 0], samples[..., 3] = 255, 255
    (tmp_path / "color.png").write_bytes(color_png(samples))
    table = pd.DataFrame({"path": [str(tmp_path / "color.png")], "label": "x"})
    checked, _ = check_files(Manifest(table, ("x",)), complete=False)
    shown = np.asarray(decode(tmp_path / "color.png", intensity_range=checked.intensity_range))
    np.testing.assert_array_equal(shown, samples[..., :3])


def test_an_image_from_memory_is_read_as_its_file_is() -> None:
    samples = DRAW.integers(0, 4096, (6, 7), dtype=np.uint16)
    image = Image.fromarray(samples)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    expected = np.asarray(decode(buffer.getvalue(), intensity_range=(0, 4095)))
    np.testing.assert_array_equal(np.asarray(upright(image, (0, 4095))), expected)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_a_range_survives_its_text(low: float, width: float) -> None:
    range_ = (low, low + width)
    back = parse_range(format_range(range_))
    np.testing.assert_allclose(back, range_, rtol=1e-9)


@pytest.mark.parametrize("text", ["", "5", "1,2,3", "a,b", "5,5", "9,1", "nan,1", "0,inf"])
def test_a_malformed_range_is_refused(text: str) -> None:
    with pytest.raises(ExciteError, match="must be LOW,HIGH with LOW < HIGH"):
        parse_range(text)


def test_samples_outside_the_training_range_cause_a_warning() -> None:
    deep = SampleExtremes("integer", 0, 60000, 3)
    assert "clips" in range_warning(deep, (0, 4095))
    assert "has none" in range_warning(deep, None)
    assert range_warning(deep, (0, 65535)) == ""
    assert range_warning(None, None) == ""


def test_extremes_of_nothing_are_none() -> None:
    assert combine_extremes([]) is None


@pytest.fixture(scope="module")
def deep_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A classifier of images that use 12 of their 16 bits: bright stripes against dark ones."""
    folder = tmp_path_factory.mktemp("deep")
    for label, scale in (("bright", 4095), ("dark", 1500)):
        (folder / "data" / label).mkdir(parents=True)
        for number in range(14):
            samples = DRAW.random((24, 24)) * scale
            Image.fromarray(samples.astype(np.uint16)).save(folder / "data" / label / f"{number}.png")
    options = SMALL | {"epochs": 2, "augment": "none"}
    return excite.train(folder / "data", out=str(folder / "run"), quiet=True, **options), folder / "data"


def test_a_run_records_the_range_and_predicts_by_it(deep_run: tuple[Run, Path]) -> None:
    run, data = deep_run
    assert run.config.intensity_range == "0,4095"
    classifier = excite.Classifier.load(run)
    assert classifier.preprocessing.intensity_range == (0, 4095)
    dark = data / "dark" / "3.png"  # by its own pixels it would be read as brighter
    from_file, from_memory = classifier.predict([dark, Image.open(dark)])
    assert from_memory.probabilities == pytest.approx(from_file.probabilities, abs=1e-6)
    eight = Image.fromarray((np.asarray(Image.open(dark)) >> 4).astype(np.uint8))
    assert classifier.predict(eight)[0].probabilities == pytest.approx(from_file.probabilities, abs=1e-6)


@pytest.mark.slow
def test_a_resumed_run_keeps_its_range(deep_run: tuple[Run, Path], tmp_path: Path) -> None:
    _, data = deep_run
    options = SMALL | {"epochs": 1, "quiet": True}
    run = excite.train(data, out=str(tmp_path / "run"), intensity_range="0,16383", **options)
    (run.path / "metrics.json").unlink()
    again = excite.train(data, out=str(run.path), resume=True, quiet=True)
    assert excite.Classifier.load(again).preprocessing.intensity_range == (0, 16383)


@pytest.mark.slow
def test_nearly_constant_images_are_reported_by_train(
    tmp_path: Path, excite_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(12):
            samples = DRAW.integers(0, 255, (24, 24)).astype(np.uint16)
            if number == 0:
                samples[0, 0] = 65535  # one hot pixel makes all other images black
            Image.fromarray(samples).save(tmp_path / "data" / label / f"{number}.png")
    done = excite_command(
        "train", tmp_path / "data", "--epochs", 1, "--no-near-duplicates", "--device", "cpu"
    )
    assert "22 of 24 images are nearly constant" in " ".join(done.stderr.split())
    assert "--intensity-range" in done.stderr


@pytest.mark.slow
def test_a_training_does_not_change_the_callers_random_state(tmp_path: Path, pictures: Path) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    excite.train(pictures, out=str(tmp_path / "run"), epochs=1, quiet=True, **SMALL)
    assert torch.equal(torch.random.get_rng_state(), before)
