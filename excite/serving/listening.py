"""The socket of a service, and what it says of itself."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from excite.errors import BAD_USAGE, ExciteError
from excite.serving.notify import open_page
from excite.serving.settings import Settings
from excite.system.text import printable

BACKLOG = 1024


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """The socket of the service. Raises: ExciteError if the address cannot be used."""
    place = f"{settings.host}:{settings.port}"
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        address = socket.getaddrinfo(settings.host, settings.port, family, socket.SOCK_STREAM)[0][4]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        hint = "choose another one with --port" if error.errno == errno.EADDRINUSE else None
        reason = (error.strerror or str(error)).lower()
        raise ExciteError(f"cannot listen: {reason}", where=place, hint=hint, exit_code=BAD_USAGE) from error
    listener.setblocking(False)
    with listener:
        yield listener


def announce(settings: Settings, listener: socket.socket) -> None:
    """Say where the service is, and open its page if that is wanted."""
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print_to_log(f"serving {settings.file} on {address} (Ctrl-C stops)")
    if settings.open_page:
        open_page(address)


def print_to_log(text: str, *, error: bool = False) -> None:
    """One line on standard output, or on standard error."""
    line = printable(f"excite: {'error: ' if error else ''}{text}")
    print(line, file=sys.stderr if error else sys.stdout, flush=True)
