"""Samples of DICOM files as gray levels and colors with 8 bits.

Values become gray levels as PS3.3 of the standard defines: modality rescale or table, then the window (VOI).
The window is that of the header, or one range for the whole data set; without either, it is all values that
the bits of a sample can hold. It is never measured on the image, so that the other pixels do not change one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from excite.errors import BAD_USAGE, ExciteError

if TYPE_CHECKING:
    from excite.data.intensity import IntensityRange

_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
_IN_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")  # of enhanced objects


class Header(Protocol):
    """A data set of pydicom."""

    def get(self, key: str, default: Any = None) -> Any: ...

    def __contains__(self, name: object) -> bool: ...


def parse_window(text: str) -> IntensityRange:
    """The values that become black and white in a window such as ``40,400``: center and width.

    It is the function LINEAR of PS3.3, C.11.2.1.2.1, which maps a width of w to w - 1 steps.

    Raises:
        ExciteError: if it is not CENTER,WIDTH with a width above 1.

    >>> parse_window("40,400")
    (-160.0, 239.0)
    """
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 2 or not all(map(math.isfinite, numbers)) or numbers[1] <= 1:
        what = f"must be CENTER,WIDTH with a width above 1, got {text!r}"
        raise ExciteError(what, where="--window", hint="for example 40,400", exit_code=BAD_USAGE)
    center, width = numbers
    return center - width / 2, center + width / 2 - 1


def color_levels(samples: np.ndarray, header: Header, *, palette: bool = False) -> np.ndarray:
    """Colors of any depth as uint8 (H, W, 3); the range is that of the bits."""
    bits = 8 * samples.dtype.itemsize if palette else int(header.get("BitsStored") or 8)
    colors = samples[..., :3]
    if bits > 8:
        return (colors >> (bits - 8)).astype(np.uint8)
    return (colors.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8)


def gray_levels(samples: np.ndarray, header: Any, range_: IntensityRange | None) -> np.ndarray:
    """Samples (H, W) as uint8, by the range, the header's table or window, or the bits."""
    from pydicom.pixels import apply_modality_lut

    rescale = _with(header, "ModalityLUTSequence", "RescaleSlope")
    values = apply_modality_lut(samples, rescale)
    if range_ is None and (tables := header.get("VOILUTSequence")):
        return _looked_up(values, tables[0], header)
    function = _linear(*range_) if range_ is not None else _window_of(_with(header, "WindowWidth"))
    if function is None:
        function = _linear(*_bit_range(samples, rescale, header))
    return np.rint(255 * function(values.astype(np.float64))).astype(np.uint8)


def _with(header: Any, *names: str) -> Any:
    """The part of the header that has one of these elements: itself, or a group of an enhanced object."""
    if any(name in header for name in names):
        return header
    groups = [group for kind in _GROUPS for group in (header.get(kind) or [])[:1]]
    parts = (part for group in groups for name in _IN_GROUPS for part in group.get(name) or [])
    return next((part for part in parts if any(name in part for name in names)), header)


def _linear(low: float, high: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: np.clip((values - low) / (high - low), 0, 1)


def _window_of(header: Header) -> Callable[[np.ndarray], np.ndarray] | None:
    """The first window, from values to [0, 1] (PS3.3, C.11.2.1.2 and C.11.2.1.3); None: there is none."""
    center, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    if center is None or width is None:
        return None
    kind = str(header.get("VOILUTFunction") or "LINEAR").upper()
    smallest = 1.0 if kind == "LINEAR" else np.nextafter(0, 1)
    if not (width >= smallest and math.isfinite(center) and math.isfinite(width)):
        raise ExciteError(f"is DICOM with a window of width {width:g}; use --window CENTER,WIDTH")
    if kind == "SIGMOID":
        return lambda values: 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if kind == "LINEAR_EXACT":
        return _linear(center - width / 2, center + width / 2)
    if width == 1:
        return lambda values: (values > center - 0.5).astype(np.float64)
    return _linear(center - width / 2, center + width / 2 - 1)


def _first(value: Any) -> float | None:
    """The first of one or several numbers; None for an empty element."""
    if value is None or (not isinstance(value, str) and hasattr(value, "__len__")):
        value = next(iter(value or ()), None)
    return None if value in (None, "") else float(value)


def _bit_range(samples: np.ndarray, rescale: Any, header: Header) -> IntensityRange:
    """The values that the bits of a sample can hold, after the modality rescale."""
    if table := rescale.get("ModalityLUTSequence"):
        return 0.0, 2.0 ** int(table[0].LUTDescriptor[2]) - 1
    if samples.dtype.kind == "f":
        raise ExciteError("is DICOM with floating-point samples and no window; use --window CENTER,WIDTH")
    bits = int(header.get("BitsStored") or 8 * samples.dtype.itemsize)
    low, high = (
        (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if samples.dtype.kind == "i" else (0, 2.0**bits - 1)
    )
    slope = float(rescale.get("RescaleSlope") or 1)
    intercept = float(rescale.get("RescaleIntercept") or 0)
    first, last = sorted((low * slope + intercept, high * slope + intercept))
    return first, last


def _looked_up(values: np.ndarray, table: Any, header: Any) -> np.ndarray:
    """Values by the table of the header (PS3.3, C.11.2.1.1), as uint8; its bits are the range."""
    count, first, bits = (int(number) for number in table.LUTDescriptor)
    data = table.LUTData
    if isinstance(data, bytes):
        little = header.file_meta.TransferSyntaxUID.is_little_endian
        data = np.frombuffer(data, np.dtype("<u2" if little else ">u2"))
    entries = np.asarray(data, dtype=np.uint32)[: count or 2**16]
    if not len(entries):
        raise ExciteError("is DICOM with an empty table of gray levels; use --window CENTER,WIDTH")
    places = np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.int64)
    return np.rint(entries[places].clip(0, 2**bits - 1) * (255 / (2**bits - 1))).astype(np.uint8)
