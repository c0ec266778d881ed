"""DICOM: gray levels by the standard's equations, held against pydicom's; and nothing kept of the header."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excite.data import dicom
from excite.data.decoding import decode, inspect_file
from excite.data.dicom_levels import parse_window
from excite.data.file_validation import check_files
from excite.data.patients import PATIENT_KEY, patient_name
from excite.data.reading import read_manifest
from excite.errors import ExciteError
from tests.conftest import SMALL, Command
from tests.data.dicom_files import SECRETS, packaged, write_dicom, write_patients

pydicom = pytest.importorskip("pydicom")

WINDOWS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
GRAY = [
    "693_J2KI.dcm",
    "examples_jpeg2k.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "liver_1frame.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
]


def gray(path: Path, **options: object) -> np.ndarray:
    pixels = np.asarray(decode(path, **options))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def by_pydicom(path: Path) -> np.ndarray:
    """Rescale and window of pydicom, scaled to 0..255 from the range that it gives the result."""
    from pydicom.pixels import apply_modality_lut, apply_windowing

    data = pydicom.dcmread(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shown = apply_windowing(apply_modality_lut(data.pixel_array, data), data)
    signed = data.PixelRepresentation == 1
    low = -(2 ** (data.BitsStored - 1)) if signed else 0
    high = 2 ** (data.BitsStored - 1) - 1 if signed else 2**data.BitsStored - 1
    slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    low, high = low * slope + intercept, high * slope + intercept
    levels = np.rint(255 * (shown.astype(np.float64) - low) / (high - low))
    return 255 - levels if data.PhotometricInterpretation == "MONOCHROME1" else levels


@pytest.mark.parametrize("name", [name for name in GRAY if "jpeg2k" not in name])
def test_a_packaged_file_looks_as_pydicom_shows_it(name: str) -> None:
    path = packaged(name)
    # A rounding apart, which falls either way at halves.
    assert np.abs(gray(path).astype(int) - by_pydicom(path)).max() <= 1


@pytest.mark.parametrize("function", WINDOWS)
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
@settings(max_examples=25, deadline=None)
@given(
    center=st.floats(-3000, 3000),
    width=st.floats(2, 6000),
    slope=st.sampled_from((1.0, 0.5, 2.5)),
    intercept=st.sampled_from((0, -1024)),
)
def test_windows_are_those_of_the_standard(
    tmp_path_factory: pytest.TempPathFactory,
    function: str,
    kind: type,
    center: float,
    width: float,
    slope: float,
    intercept: float,
) -> None:
    samples = np.arange(0, 4096, 8, dtype=kind).reshape(-1, 8)
    if kind is np.int16:
        samples = samples - np.int16(2048)
    path = write_dicom(
        tmp_path_factory.mktemp("window") / "x.dcm",
        samples,
        bits=12,
        WindowCenter=f"{center:.6g}",
        WindowWidth=f"{width:.6g}",
        VOILUTFunction=function,
        RescaleSlope=str(slope),
        RescaleIntercept=str(intercept),
    )
    assert np.abs(gray(path).astype(int) - by_pydicom(path)).max() <= 1


def test_without_a_window_the_bits_are_the_range(tmp_path: Path) -> None:
    samples = np.array([[0, 1024, 2048, 4095]], dtype=np.uint16)
    plain = write_dicom(tmp_path / "plain.dcm", samples, bits=12)
    assert gray(plain).tolist() == [[0, 64, 128, 255]]
    # Neither a rescale nor the other values of the image change the gray level of a sample.
    rescaled = write_dicom(tmp_path / "ct.dcm", samples, bits=12, RescaleSlope="2", RescaleIntercept="-1024")
    assert gray(rescaled).tolist() == gray(plain).tolist()
    falling = write_dicom(tmp_path / "pet.dcm", samples, bits=12, RescaleSlope="-1", RescaleIntercept="0")
    assert gray(falling).tolist() == [[255, 191, 127, 0]]
    part = write_dicom(tmp_path / "part.dcm", samples[:, 1:3], bits=12)
    assert gray(part).tolist() == [[64, 128]]


def test_a_signed_image_without_a_window(tmp_path: Path) -> None:
    samples = np.array([[-2048, 0, 2047]], dtype=np.int16)
    assert gray(write_dicom(tmp_path / "x.dcm", samples, bits=12)).tolist() == [[0, 128, 255]]


def test_the_option_overrides_the_window_of_the_header(tmp_path: Path) -> None:
    samples = np.arange(2000, dtype=np.uint16).reshape(40, 50)
    elements = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
    wide = write_dicom(tmp_path / "wide.dcm", samples, WindowCenter="0", WindowWidth="2000", **elements)
    soft = write_dicom(tmp_path / "soft.dcm", samples, WindowCenter="40", WindowWidth="400", **elements)
    assert np.array_equal(gray(wide, intensity_range=parse_window("40,400")), gray(soft))
    assert not np.array_equal(gray(wide), gray(soft))


@pytest.mark.parametrize("text", ["40", "40,1", "40,-3", "a,b", "nan,4", "1,2,3", ""])
def test_a_window_that_is_none(text: str) -> None:
    with pytest.raises(ExciteError, match=r"CENTER,WIDTH"):
        parse_window(text)


def test_an_enhanced_object_has_its_window_in_a_group(tmp_path: Path) -> None:
    def with_part(name: str, **elements: str) -> object:
        group, part = pydicom.Dataset(), pydicom.Dataset()
        for element, value in elements.items():
            setattr(part, element, value)
        setattr(group, name, [part])
        return group

    samples = np.arange(0, 400, dtype=np.uint16).reshape(20, 20)
    rescale, window = (
        {"RescaleSlope": "2", "RescaleIntercept": "-100"},
        {"WindowCenter": "90", "WindowWidth": "300"},
    )
    plain = write_dicom(tmp_path / "plain.dcm", samples, **rescale, **window)
    enhanced = write_dicom(
        tmp_path / "enhanced.dcm",
        samples,
        SharedFunctionalGroupsSequence=[with_part("PixelValueTransformationSequence", **rescale)],
        PerFrameFunctionalGroupsSequence=[with_part("FrameVOILUTSequence", **window)],
    )
    assert np.array_equal(gray(enhanced), gray(plain))
    assert len(np.unique(gray(plain))) > 50


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    samples = np.arange(256, dtype=np.uint8).reshape(16, 16)
    one = write_dicom(tmp_path / "1.dcm", samples, PhotometricInterpretation="MONOCHROME1")
    two = write_dicom(tmp_path / "2.dcm", samples)
    assert np.array_equal(gray(one), 255 - gray(two))
    assert np.array_equal(gray(two), samples)


def test_a_table_in_the_header_takes_precedence_over_its_window(tmp_path: Path) -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor = [4, 10, 8]
    table.LUTData = np.array([0, 85, 170, 255], "<u2").tobytes()
    samples = np.array([[0, 10, 11, 12, 13, 200]], dtype=np.uint8)
    elements = {"VOILUTSequence": [table], "WindowCenter": "3", "WindowWidth": "5"}
    path = write_dicom(tmp_path / "x.dcm", samples, **elements)
    assert gray(path).tolist() == [[0, 0, 85, 170, 255, 255]]
    assert gray(path, intensity_range=(0, 255)).tolist() == samples.tolist()


@pytest.mark.parametrize(
    ("name", "lossy"),
    [
        ("SC_rgb_rle_16bit.dcm", False),
        ("SC_rgb_gdcm_KY.dcm", False),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", True),
        ("SC_ybr_full_422_uncompressed.dcm", True),
        ("SC_rgb_jpeg_dcmtk.dcm", True),
    ],
)
def test_colors_are_rgb_in_every_encoding(name: str, lossy: bool) -> None:
    """The same test picture: RGB, planar, with 16 bits, in YBR, and as JPEG."""
    reference = pydicom.dcmread(packaged("SC_rgb_rle.dcm")).pixel_array
    differences = np.abs(np.asarray(decode(packaged(name))).astype(int) - reference)
    # Lossy encodings differ at the edges of the colored bars.
    assert differences.mean() < (3 if lossy else 1e-9)


def test_a_palette_is_looked_up() -> None:
    from pydicom.pixels import apply_color_lut

    path = packaged("examples_palette.dcm")
    data = pydicom.dcmread(path)
    expected = apply_color_lut(data.pixel_array, data) >> 8
    assert np.array_equal(np.asarray(decode(path)), expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rtdose.dcm", "15 frames; write the frame that shows the finding"),
        ("rtplan.dcm", "without a picture"),
        ("JPEGLSNearLossless_08.dcm", "JPEG-LS .* needs a decoder: pip install pyjpegls"),
        ("image_dfl.dcm", "deflated"),
        ("MR_truncated.dcm", "damaged"),
        ("rtstruct.dcm", "is DICOM without its first bytes; write it again with pydicom"),
    ],
)
def test_what_cannot_be_read_says_so_in_one_line(name: str, message: str) -> None:
    if "JPEG-LS" in message:
        from pydicom.uid import JPEGLSNearLossless

        if pydicom.pixels.get_decoder(JPEGLSNearLossless).is_available:
            pytest.skip("a decoder of JPEG-LS is installed")
    with pytest.raises(ExciteError, match=message) as caught:
        decode(packaged(name))
    assert "\n" not in str(caught.value)


def test_a_file_is_refused_by_its_header_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_dicom(tmp_path / "x.dcm", np.zeros((20, 30), np.uint8))
    monkeypatch.setattr(dicom, "_samples", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ExciteError, match="too large: 30 x 20 pixels, the limit is 599"):
        decode(path, max_pixels=599)


def test_a_header_with_a_window_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x.dcm", np.zeros((2, 2), np.uint8), WindowCenter="0", WindowWidth="-1")
    with pytest.raises(ExciteError, match="a window of width -1; use --window"):
        decode(path)


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_dicom(tmp_path / "x.dcm", np.zeros((2, 2), np.uint8))
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(ExciteError, match=r"needs pydicom: pip install 'excite\[dicom\]'"):
        decode(path)


@settings(max_examples=150, deadline=None)
@given(place=st.integers(132, 2000), content=st.binary(min_size=1, max_size=6))
def test_damaged_bytes_never_raise_anything_else(place: int, content: bytes) -> None:
    original = packaged("MR_small.dcm").read_bytes()
    damaged = original[:place] + content + original[place + len(content) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(ExciteError):
            assert decode(damaged, max_pixels=10**6).mode == "RGB"


def test_patients_are_the_groups_unless_groups_are_given(tmp_path: Path) -> None:
    data = write_patients(tmp_path / "ct", patients=6)
    checked, unreadable = check_files(read_manifest(data))
    assert not unreadable
    groups = checked.table.assign(number=[Path(path).name[:2] for path in checked.table["path"]])
    assert (groups.groupby("number")["group"].nunique() == 1).all()
    assert groups["group"].nunique() == 6
    given_groups = read_manifest(data).with_columns(group="mine")
    assert set(check_files(given_groups)[0].table["group"]) == {"mine"}


def test_one_identifier_for_all_is_none(tmp_path: Path) -> None:
    """As in data sets whose headers were made anonymous."""
    for number in range(4):
        write_dicom(tmp_path / "ab"[number % 2] / f"{number}.dcm", np.full((4, 4), number, np.uint8))
    assert not check_files(read_manifest(tmp_path))[0].table["group"].any()


def test_the_name_of_a_patient_depends_on_the_key_and_not_on_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(PATIENT_KEY, raising=False)
    name = patient_name("4711")
    # HMAC-SHA-256 by another implementation: openssl dgst -sha256 -hmac excite
    import hashlib

    inner = bytes(b ^ 0x36 for b in b"excite".ljust(64, b"\0"))
    outer = bytes(b ^ 0x5C for b in b"excite".ljust(64, b"\0"))
    digest = hashlib.sha256(outer + hashlib.sha256(inner + b"4711\0").digest()).hexdigest()
    assert name == f"patient-{digest[:16]}"
    monkeypatch.setenv(PATIENT_KEY, "a secret")
    assert patient_name("4711") != name
    assert patient_name("4711", "hospital A") != patient_name("4711", "hospital B")


def test_remembered_checks_are_read_again_after_an_install_or_with_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cache = write_patients(tmp_path / "ct", patients=4), tmp_path / "cache"
    first = check_files(read_manifest(data), cache=cache)[0]
    again = check_files(read_manifest(data), cache=cache)[0]
    assert first.table.equals(again.table)
    monkeypatch.setenv(PATIENT_KEY, "a secret")
    assert not set(first.table["group"]) & set(
        check_files(read_manifest(data), cache=cache)[0].table["group"]
    )
    monkeypatch.setattr("excite.data.file_check.installed_decoders", lambda: "more")
    monkeypatch.setattr("excite.data.file_check.inspect_file", lambda *_, **__: pytest.fail("read again"))
    with pytest.raises(pytest.fail.Exception, match="read again"):
        check_files(read_manifest(data), cache=cache)


def test_dicom_beside_images_whose_range_is_measured_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    data = write_patients(tmp_path / "ct", patients=4)
    for label in ("dark", "light"):
        Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(data / label / "deep.png")
    with pytest.raises(ExciteError, match="8 images are DICOM and 2 have more than 8 bits"):
        check_files(read_manifest(data))


@pytest.mark.slow
def test_a_run_on_dicom_keeps_nothing_of_the_headers(
    tmp_path: Path, excite_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cache = write_patients(tmp_path / "ct", patients=24), tmp_path / "cache"
    monkeypatch.setenv("EXCITE_CACHE", str(cache))
    options = [f"--{name.replace('_', '-')}={json.dumps(value) if isinstance(value, dict) else value}"
               for name, value in SMALL.items() if not isinstance(value, bool | dict)]  # fmt: skip
    done = excite_command("train", data, "--out", "run", "--epochs", 1, "--window", "100,200",
                          "--no-near-duplicates", *options)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the PatientID of DICOM files, as a hash: 24 patients" in done.stderr
    work = tmp_path / "work"
    assert "window: 100,200" in (work / "run" / "config.yaml").read_text()
    classifier = json.loads((work / "run" / "classifier.json").read_text())
    assert classifier["preprocessing"]["intensity_range"] == [0.0, 199.0]
    for verb in (
        ("audit", data, "--out", "audit"),
        ("split", data, "--out", "split.csv"),
        ("evaluate", "run", data, "--out", "evaluation"),
        ("explain", "run", "--out", "explanation"),
        ("predict", "run", data, "--out", "predictions.csv"),
    ):
        done = excite_command(*verb)
        assert done.returncode == 0, (verb, done.stderr)
    metrics = json.loads((work / "evaluation" / "metrics.json").read_text())["all"]
    manifest = pd.read_csv(work / "run" / "manifest.csv")
    assert metrics["grouped_by"] == "PatientID"
    assert metrics["known_patients"] == (manifest["split"] != "test").sum()
    assert (
        "show patients that the classifier was trained on"
        in (work / "evaluation" / "evaluation.html").read_text()
    )
    secrets = [*SECRETS.values(), "Jane", "patient 1", "patient 23"]
    files = [file for place in (work, cache) for file in place.rglob("*") if file.is_file()]
    assert len(files) > 30
    for file in files:
        content = file.read_bytes()
        for secret in secrets:
            assert secret.encode() not in content, (file, secret)
            assert secret.encode("utf-16-le") not in content, (file, secret)


def test_an_exported_classifier_reads_it_and_a_service_refuses_it(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from excite.bundle.predictor import Predictor
    from excite.serving.images import ImageClassifier
    from excite.serving.refusals import RefusedError
    from excite.serving.settings import FORMATS
    from tests.bundle.files import write_bundle

    path = write_dicom(tmp_path / "x.dcm", np.full((30, 40, 3), (250, 10, 10), np.uint8))
    predictor = Predictor.load(write_bundle(tmp_path / "colors.onnx"))
    [prediction] = predictor.predict(path)
    assert prediction.label == "red"
    with pytest.raises(RefusedError, match="is DICOM, which excite predict reads") as caught:
        ImageClassifier(predictor, FORMATS, 10**6).check_content(path.read_bytes())
    assert caught.value.status == 415


def test_bytes_and_streams_are_read_as_files_are(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x.png", np.arange(12, dtype=np.uint8).reshape(3, 4))
    expected = np.asarray(decode(path))
    assert np.array_equal(np.asarray(decode(path.read_bytes())), expected)
    assert np.array_equal(np.asarray(decode(io.BytesIO(path.read_bytes()))), expected)
    assert inspect_file(path).patient == patient_name("4711")
