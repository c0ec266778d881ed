"""A service in this process alone, for systems whose processes cannot inherit a socket, such as Windows."""

from __future__ import annotations

from excite.serving.http import run_server
from excite.serving.listening import announce, listening
from excite.serving.settings import Settings
from excite.serving.worker import prepared


def serve_alone(settings: Settings) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises: ExciteError if the service cannot start."""
    with listening(settings) as listener, prepared(settings) as (server, _):
        run_server(server, listener, lambda: announce(settings, listener))
