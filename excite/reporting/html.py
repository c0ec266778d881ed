"""Shared by all pages: templates and thumbnails as data URIs."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape
from PIL import Image

from excite.config.pixel_limit import MAX_PIXELS
from excite.data.decoding import decode
from excite.data.intensity import IntensityRange
from excite.errors import ExciteError
from excite.reporting.decision_text import calibration_text, point_text, rule_text
from excite.system.text import document_text

SIDE = 220  # pixels of a thumbnail's longer side: two fit side by side on a phone 400 pixels wide
QUALITY = 78
SMALL = 64  # pixels of the longer side; smaller pictures are enlarged without smoothing


def template(name: str, **filters: Callable[..., str]) -> Template:
    """A file of ``templates/``. In HTML all text is escaped; other formats escape with their filters."""
    html = name.endswith(".html")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=html,
        undefined=StrictUndefined,
        finalize=_writable if html else None,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not html,
    )
    environment.filters.update(filters)
    environment.globals.update(calibration_text=calibration_text, point_text=point_text, rule_text=rule_text)
    return environment.get_template(name)


def _writable(value: object) -> object:
    """Text as HTML that parses to the same text: parsers turn a bare carriage return into a line feed."""
    if not isinstance(value, str):
        return value
    text = document_text(value)
    escaped = text if isinstance(value, Markup) else str(escape(text))
    return Markup(escaped.replace("\r", "&#13;"))


def thumbnail(path: str, max_pixels: int = MAX_PIXELS, intensity_range: IntensityRange | None = None) -> str:
    """A thumbnail as a data URI; "" if the file cannot be read."""
    try:
        picture = decode(path, max_pixels=max_pixels, intensity_range=intensity_range)
    except ExciteError:
        return ""
    small = max(picture.size) < SMALL
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    if small:
        picture.save(stream, "PNG")
    else:
        picture.save(stream, "JPEG", quality=QUALITY)
    text = base64.b64encode(stream.getvalue()).decode()
    return f"data:image/{'png' if small else 'jpeg'};base64,{text}"


def common_folder(paths: Sequence[str]) -> str:
    """The common folder of all paths, with a trailing separator; "" if there is none."""
    try:
        common = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120 (text, not files)
    except ValueError:  # none at all, or several drives
        return ""
    return common if not common or common.endswith(os.sep) else common + os.sep
