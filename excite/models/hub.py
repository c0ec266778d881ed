"""Errors of other libraries in one line, and no vain minutes when the hub is out of reach."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from excite.errors import BAD_USAGE, ExciteError

PATIENCE = 5.0  # seconds to wait for the hub's host


@contextmanager
def library_errors(name: str, *, fetching: bool = False) -> Iterator[None]:
    """Says in one line what a library could not build or fetch.

    Args:
        name: of the model.
        fetching: whether the block asks the hub for weights. Its client tries for a minute before it gives
            up; where the hub cannot be reached, the block is told to look at what was fetched before instead.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    try:
        if fetching and not before:
            constants.HF_HUB_OFFLINE = not _reachable(constants.ENDPOINT)
        yield
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        if _is_from_the_network(error):
            raise ExciteError(
                f"could not fetch the pretrained weights: {reason}",
                where=name,
                hint="take them from a file instead: --weights FILE.safetensors",
            ) from error
        raise ExciteError(f"could not build the model: {reason}", where=name, exit_code=BAD_USAGE) from error
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable(endpoint: str) -> bool:
    """Whether the hub's host answers; behind a proxy only the client itself can tell."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(endpoint)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=PATIENCE):
            return True
    except OSError:
        return False


def _is_from_the_network(error: Exception) -> bool:
    # By package, because the HTTP library under the hubs has changed before: requests, httpx, httpx2.
    packages = {ancestor.__module__.partition(".")[0] for ancestor in type(error).__mro__}
    clients = {"urllib", "urllib3", "http", "requests", "httpx", "httpx2", "httpcore", "huggingface_hub"}
    return isinstance(error, OSError) or bool(packages & clients)
