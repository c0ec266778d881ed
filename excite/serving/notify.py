"""Tell others that the service is ready: systemd, and the browser."""

from __future__ import annotations

import os
import socket
import sys
import webbrowser
from contextlib import suppress


def notify(state: str) -> None:
    """Send a state to systemd, for a unit of ``Type=notify``; nothing happens elsewhere (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
        sender.sendall(state.encode())


def open_page(address: str) -> None:
    """Open an address in the browser of the desktop, if there is one; never one within the terminal."""
    has_desktop = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if has_desktop:
        webbrowser.open(address)
