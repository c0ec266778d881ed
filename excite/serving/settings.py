"""What a service is told: the file, the address, and its limits. Imports no library."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

DECODABLE = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WebP", "PPM", "JPEG 2000")
"""All formats that can be decoded, ``excite.data.decoding.FORMATS``."""
FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF")
"""Formats that are decoded by default: what browsers and cameras write."""


@dataclass(frozen=True)
class Settings:
    """The options of ``excite serve``.

    Args:
        file: the ONNX file.
        host, port: address to listen on; port 0 chooses a free one.
        workers: number of processes.
        callers: number of images that a process computes at the same time; 0: its share of the processors.
        queue: number of images of a process that may wait for a caller.
        max_bytes: largest body of a request.
        max_pixels: largest image, in pixels; the limit of the classifier counts if it is lower.
        max_images: largest number of images in a request.
        formats: formats that are decoded.
        seconds: until a request must be answered, counted from its last byte.
        body_seconds: until a body must be complete; 64 KiB that have arrived give one second more.
        header_seconds: until the headers of a request must be complete; a connection may be idle as long.
        connections: number of open connections per process; a new one closes the one that is idle longest.
        grace: seconds that a stopping process has to answer what it accepted.
        keys: file of API keys; None: they are read from the environment, if it has any.
        rate: images per minute for each key; 0: no limit.
        hosts: names by which clients may call the service, beside addresses and localhost.
        open_page: open the page in a browser as soon as the service is ready.

    Example:
        >>> Settings.from_json(Settings("photos.onnx", port=80).to_json()).port
        80
    """

    file: str
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    callers: int = 0
    queue: int = 32
    max_bytes: int = 16 * 2**20
    max_pixels: int = 25_000_000
    max_images: int = 16
    formats: tuple[str, ...] = FORMATS
    seconds: float = 20.0
    body_seconds: float = 10.0
    header_seconds: float = 20.0
    connections: int = 4096
    grace: float = 30.0
    keys: str | None = None
    rate: int = 0
    hosts: tuple[str, ...] = ()
    open_page: bool = False

    def to_json(self) -> str:
        """The settings for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Of ``to_json``'s result."""
        values: dict[str, Any] = json.loads(text)
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})


@dataclass(frozen=True)
class Inherited:
    """What a worker gets from the supervisor.

    Args:
        listener: descriptor of the listening socket, shared by all workers.
        report: descriptor of a pipe, into which the worker writes one line: that it is ready, or its error.
        lifeline: descriptor of a pipe that nobody writes to; it ends when the supervisor does.
        settings: of the service, as JSON.
    """

    listener: int
    report: int
    lifeline: int
    settings: str

    def to_json(self) -> str:
        """For the command line of the worker."""
        return json.dumps(asdict(self))
