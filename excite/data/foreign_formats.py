"""Files that cannot be decoded as images: their format, from their first bytes, and how to convert them."""

from __future__ import annotations

import re

HEAD_BYTES = 512
"""Number of bytes that ``describe_unsupported_format`` needs."""

_CONVERT = "convert it to JPEG or PNG"
_UNMARKED_DICOM = (
    "is DICOM without its first bytes; write it again with pydicom: "
    "dcmread(FILE, force=True).save_as(COPY, enforce_file_format=True)"
)
# A pattern of the first bytes; the format and what to do.
_KNOWN: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), text)
    for pattern, text in (
        (rb".{128}DICM", "is DICOM, which excite predict reads; export it as PNG, for example with pydicom"),
        (rb"[\x02\x08]\x00[\x00\x01\x05\x08\x16\x18]\x00", _UNMARKED_DICOM),
        (rb".{4}ftyp(avif|avis)", f"is AVIF; {_CONVERT}"),
        (rb".{4}ftyp(hei|hev|mif1|msf1)", f"is HEIC; {_CONVERT}"),
        (rb".{4}ftyp", f"is a video or a HEIC image; {_CONVERT}"),
        (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", f"is JPEG XL; {_CONVERT}"),
        (rb"v/1\x01", f"is OpenEXR; {_CONVERT}, or to a floating-point TIFF"),
        (rb"8BPS", f"is a Photoshop document; {_CONVERT}"),
        (rb"\x00\x00[\x01\x02]\x00[^\x00]\x00", f"is an icon or cursor; {_CONVERT}"),
        (rb"II\*\x00.{4}CR|IIRO|IIRS|IIU\x00|FUJIFILM|\x00MRM|FOVb", f"is a camera raw file; {_CONVERT}"),
        (rb"%PDF", "is a PDF document; extract its images first, for example with pdfimages"),
        (rb"\x5c\x01\x00\x00|\x00\x00\x01\x5c|.{344}n[i+]1\x00", "is NIfTI; export slices as PNG or TIFF"),
        (rb"\x89HDF", "is HDF5; export its images as PNG or TIFF"),
        (rb"\x93NUMPY", "is a NumPy array; save it as PNG or TIFF"),
        (rb"PK\x03\x04", "is a ZIP archive; unpack it first"),
        (rb"\x1f\x8b", "is compressed with gzip; unpack it first"),
        (rb"7z\xbc\xaf|Rar!", "is an archive; unpack it first"),
        (rb"version https://git-lfs", "is a Git LFS pointer, not the image; run git lfs pull"),
        (rb"\s*(<!--.*?-->\s*|<\?xml[^>]*>\s*)*<(!DOCTYPE )?svg", f"is an SVG drawing; {_CONVERT}"),
        (rb"(\xef\xbb\xbf)?\s*(?i:<!DOCTYPE\s+html|<html)", "is a web page, not an image; download it again"),
        (rb"Joy!peff|\x00\x05\x16\x07", "is a resource file of macOS, not an image"),
    )
)  # fmt: skip


def describe_unsupported_format(head: bytes, formats: tuple[str, ...]) -> str:
    """The format of a file with these first bytes, in a few words, and what to do about it.

    Args:
        head: the first ``HEAD_BYTES`` of the file, or fewer.
        formats: the formats that can be decoded.
    """
    for pattern, text in _KNOWN:
        if pattern.match(head):
            return text
    if not head.strip(b"\x00"):
        return "is not an image: it contains only zeros"
    # Text has no control characters other than white space.
    if not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", head):
        return "is not an image but text"
    return f"is not an image of a known format ({', '.join(formats)})"
