"""What the pages share: the way templates are filled, and thumbnails as data URIs."""

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
from excite.system.text import document_text

SIDE = 220  # pixels of a thumbnail's longer side: two fit beside each other on a phone of 400 pixels
QUALITY = 78
SMALL = 64  # pixels of the longer side below which a picture is enlarged without smoothing


def template(name: str, **filters: Callable[..., str]) -> Template:
    """A file of ``templates/``; in HTML all text is escaped, whatever it holds, elsewhere by its filters."""
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
    return environment.get_template(name)


def _writable(value: object) -> object:
    """Text as HTML that is read back as it was: parsers take a bare carriage return for a line feed."""
    if not isinstance(value, str):
        return value
    text = document_text(value)
    escaped = text if isinstance(value, Markup) else str(escape(text))
    return Markup(escaped.replace("\r", "&#13;"))


def thumbnail(path: str, max_pixels: int = MAX_PIXELS, intensity_range: IntensityRange | None = None) -> str:
    """A picture as a data URI, "" where it cannot be read any more. The original is only read."""
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
    """The folder that all lie in, with its last separator; "" where there is none."""
    try:
        common = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120 (text, not files)
    except ValueError:  # none at all, or several drives
        return ""
    return common if not common or common.endswith(os.sep) else common + os.sep
