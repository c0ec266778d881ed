"""Read the picture of a DICOM file, and a name for its patient; nothing else of its header is kept."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from excite.data.dicom_levels import Header, color_levels, gray_levels
from excite.data.patients import patient_name
from excite.errors import ExciteError

if TYPE_CHECKING:
    from excite.data.intensity import IntensityRange

SUFFIXES = frozenset({".dcm", ".dicom", ".dic"})
INSTALL = "pip install 'excite[dicom]'"
_MARK = slice(128, 132)
_GRAY, _INVERTED = ("MONOCHROME1", "MONOCHROME2"), "MONOCHROME1"
_DEFLATED = "1.2.840.10008.1.2.1.99"
# No other element of the header is read.
_ELEMENTS = (
    "PatientID", "IssuerOfPatientID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation", "RescaleSlope",
    "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "VOILUTSequence", "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
# What pydicom lets decode compressed pixels, for the key of remembered checks.
_DECODERS = ("pydicom", "pylibjpeg", "libjpeg", "openjpeg", "jpeg_ls", "gdcm")
_PACKAGES = (  # in the name of a transfer syntax; what to install for it
    ("JPEG-LS", "pyjpegls"),
    ("2000", "pylibjpeg pylibjpeg-openjpeg"),
    ("JPEG", "pylibjpeg pylibjpeg-libjpeg"),
)


@dataclass(frozen=True)
class DicomImage:
    """What is read of a DICOM file.

    Args:
        image: RGB, 8 bits per channel.
        patient: a name for the patient that does not tell the identifier, as ``patient_name``; "" if the
            header has none.
    """

    image: Image.Image
    patient: str


def is_dicom(head: bytes) -> bool:
    """Whether a file with these first bytes is DICOM.

    >>> is_dicom(bytes(128) + b"DICM"), is_dicom(b"GIF89a")
    (True, False)
    """
    return head[_MARK] == b"DICM"


def installed_decoders() -> str:
    """The installed packages that DICOM files are read with; a file may be readable with others."""
    return " ".join(name for name in _DECODERS if find_spec(name) is not None)


def read_dicom(
    stream: BinaryIO, *, max_pixels: int, intensity_range: IntensityRange | None = None
) -> DicomImage:
    """The picture of a file with one frame.

    Args:
        stream: the file.
        max_pixels: larger images are refused before they are decoded.
        intensity_range: the values after the modality rescale that become black and white, in place of the
            window of the header.

    Raises:
        ExciteError: without pydicom, for several frames, no picture, and an encoding without a decoder.
    """
    try:
        import pydicom
    except ImportError as error:
        raise ExciteError(f"is DICOM, which needs pydicom: {INSTALL}") from error

    stream.seek(0)
    header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(_ELEMENTS))
    _check(header, max_pixels)
    samples = _samples(stream, header)
    photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
    if photometric == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        levels = color_levels(apply_color_lut(samples, header), header, palette=True)
    elif samples.ndim == 3:
        levels = color_levels(samples, header)
    elif photometric in _GRAY:
        levels = gray_levels(samples, header, intensity_range)
        levels = 255 - levels if photometric == _INVERTED else levels
    else:
        raise ExciteError(f"is DICOM with pixels in {photometric}, which is not supported")
    identifier, issuer = (str(header.get(name) or "") for name in ("PatientID", "IssuerOfPatientID"))
    image = Image.fromarray(np.ascontiguousarray(levels)).convert("RGB")
    return DicomImage(image, patient_name(identifier, issuer))


def _check(header: Header, max_pixels: int) -> None:
    """Raises: ExciteError for a file without one picture that can be decoded."""
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    if rows < 1 or columns < 1:
        raise ExciteError("is DICOM without a picture, such as a report or a contour")
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        what = f"is DICOM with {frames} frames; write the frame that shows the finding as a file of its own, "
        raise ExciteError(what + "for example with pydicom: pixel_array(FILE, index=0)")
    if rows * columns > max_pixels:
        raise ExciteError(f"is too large: {columns} x {rows} pixels, the limit is {max_pixels:,}")


def _samples(stream: BinaryIO, header: Any) -> np.ndarray:
    """The decoded samples, (H, W) or (H, W, 3)."""
    from pydicom.pixels import get_decoder, pixel_array

    syntax = header.file_meta.TransferSyntaxUID
    if syntax == _DEFLATED:  # it would be unpacked in memory before its size is known
        raise ExciteError("is DICOM compressed as a whole (deflated); write it again without: dcmconv +te")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise ExciteError(f"is DICOM in {syntax.name}, which is not a picture or not supported") from error
    if not decoder.is_available:
        package = next((name for part, name in _PACKAGES if part in syntax.name), "python-gdcm")
        raise ExciteError(f"is DICOM in {syntax.name}, which needs a decoder: pip install {package}")
    stream.seek(0)
    try:
        return pixel_array(stream)
    except RuntimeError as error:
        reason = " ".join(str(error).split()).rpartition(": ")[2][:100]
        raise ExciteError(f"is DICOM in {syntax.name}, which cannot be decoded: {reason}") from error
