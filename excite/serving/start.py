"""Check the settings of a service, and turn this process into its supervisor."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import sys
from pathlib import Path
from typing import NoReturn

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.serving.keys import load_keys
from excite.serving.settings import DECODABLE, Settings

SUPERVISED = os.name == "posix"
"""Whether a supervisor runs the workers of a service: they inherit its socket, which Windows cannot."""
LIBRARIES = ("onnxruntime", "fastapi", "uvicorn", "prometheus_client", "python_multipart")


def parse_formats(text: str) -> tuple[str, ...]:
    """Names of formats, separated by commas, in any case. Raises: ExciteError for an unknown one.

    >>> parse_formats("jpeg, webp")
    ('JPEG', 'WebP')
    """
    known = {name.lower(): name for name in DECODABLE}
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name.lower() not in known:
            raise unknown_name("format", name, DECODABLE, where="--formats")
    return tuple(dict.fromkeys(known[name.lower()] for name in names))


def check_settings(settings: Settings) -> None:
    """Raises: ExciteError for settings that exclude each other, missing libraries, or unusable keys."""
    if settings.workers > 1 and not SUPERVISED:
        what = "several processes cannot share the port on this system"
        hint = "serve with one worker, or in WSL or a container"
        raise ExciteError(what, where="--workers", hint=hint, exit_code=BAD_USAGE)
    for name in LIBRARIES:
        if importlib.util.find_spec(name) is None:
            raise ExciteError(f"needs {name}", where="serve", hint='pip install "excite[serve]"')
    if not Path(settings.file).is_file():
        raise ExciteError("there is no such file", where=settings.file, exit_code=BAD_USAGE)
    if settings.max_images > settings.queue:
        what = f"must be at least --max-images ({settings.max_images}), got {settings.queue}"
        raise ExciteError(what, where="--queue", exit_code=BAD_USAGE)
    keys = load_keys(settings.keys)
    if keys is None and not is_loopback(settings.host):
        what = f"{settings.host} can be reached from other machines: the service needs API keys"
        hint = "--keys FILE with lines NAME: KEY, or the environment variable EXCITE_SERVE_KEYS"
        raise ExciteError(what, where="--host", hint=hint, exit_code=BAD_USAGE)
    if keys is None and settings.rate:
        raise ExciteError("limits each API key, and there are none", where="--rate", exit_code=BAD_USAGE)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def become_supervisor(settings: Settings) -> NoReturn:
    """Replace this process by the supervisor, which needs none of the libraries of the command line.

    Where processes cannot inherit a socket, this process serves by itself.
    """
    if not SUPERVISED:
        from excite.serving.alone import serve_alone

        serve_alone(settings)
        sys.exit(0)
    package = str(Path(__file__).parents[2])
    others = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    os.environ["PYTHONPATH"] = os.pathsep.join([package, *others])
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "excite.serving", settings.to_json()])
