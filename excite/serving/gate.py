"""What every request passes: who may call, under which name, from where; and its line in the log."""

from __future__ import annotations

import ipaddress
import json
import re
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from excite.serving.body import Receive
from excite.serving.keys import ApiKeys
from excite.serving.metrics import Metrics
from excite.serving.refusals import ClientGoneError, RefusedError
from excite.system.text import printable

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/v2/health/live", "/v2/health/ready")  # for probes, which have no key
PAGE = ("/", "/page.css", "/page.js", "/texts.js", "/icon.svg")  # the page asks for the key itself
SHOWN = 200  # characters of a path in the log
_NAME = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^:\[\]/@?#\s]+)(:\d{1,5})?")
_READING = ("GET", "HEAD", "OPTIONS")

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Gate:
    """ASGI middleware around the whole application.

    Args:
        app: the application.
        metrics: count the outcomes.
        keys: None: everybody may call, which is for loopback only.
        hosts: names by which clients may call the service. Addresses and localhost are always among them: a
            page of others can make a name lead here (DNS rebinding), but not an address.
        log: receives each line.
    """

    def __init__(
        self,
        app: App,
        metrics: Metrics,
        *,
        keys: ApiKeys | None,
        hosts: Iterable[str] = (),
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.app, self.metrics, self.keys = app, metrics, keys
        self.hosts = {name.lower().rstrip(".") for name in hosts}
        self.draining = False
        self._log = log or _to_stderr

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = _Request(scope, send, self)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        scope["state"]["request"] = request
        try:
            self._check_host(headers)
            self._check_origin(scope["method"], headers)
            request.key = self._key(scope["path"], headers)
            await self.app(scope, receive, request.send)
        except RefusedError as refusal:
            await request.refuse(refusal)
        except ClientGoneError:
            request.outcome = "gone"
        except Exception as error:
            request.outcome, request.fault = "error", f"{type(error).__name__}: {error}"[:SHOWN]
            if not request.started:
                await request.refuse(RefusedError(500, "error", "the service failed; its log has the reason"))
        finally:
            self._finish(request)

    def malformed(self, client: tuple[str, int] | None) -> None:
        """Count and log bytes that are no HTTP request."""
        self.metrics.add_request("malformed", 0.0)
        self._write({"client": client[0] if client else None, "outcome": "malformed", "status": 400})

    def _check_host(self, headers: Mapping[str, str]) -> None:
        match = _NAME.fullmatch(headers.get("host", ""))
        name = match["name"].lower().rstrip(".") if match else ""
        if name != "localhost" and name not in self.hosts and not _is_address(name):
            message = "the service has another name; start it with --allowed-host NAME"
            raise RefusedError(421, "wrong_host", message)

    def _check_origin(self, method: str, headers: Mapping[str, str]) -> None:
        """A page of others may link here, but not send anything."""
        if method in _READING:
            return
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != headers["host"].lower()
        if foreign or site not in ("same-origin", "none"):
            raise RefusedError(403, "foreign_origin", "requests from pages of other sites are refused")

    def _key(self, path: str, headers: Mapping[str, str]) -> str:
        """The name of the key. Raises: RefusedError (401) for a wrong one."""
        if self.keys is None:
            return "local"
        scheme, _, key = headers.get("authorization", "").partition(" ")
        presented = key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        name = self.keys.name_of(presented)  # also for an open path: the time tells nothing
        if name is None and path not in OPEN and path not in PAGE:
            message = "a valid API key is needed: Authorization: Bearer KEY"
            raise RefusedError(401, "unauthorized", message, {"WWW-Authenticate": 'Bearer realm="excite"'})
        return name or ""

    def _finish(self, request: _Request) -> None:
        seconds = time.perf_counter() - request.start
        outcome = request.outcome or ("ok" if request.status < 400 else "refused")
        if request.scope["path"] not in OPEN:  # probes are no requests of users
            self.metrics.add_request(outcome, seconds)
            self._write(request.to_dict(outcome, seconds))

    def _write(self, line: Mapping[str, object]) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._log(json.dumps({"time": stamp, **line}))


class _Request:
    """A request and the state of its response."""

    def __init__(self, scope: Scope, send: Send, gate: Gate) -> None:
        self.scope, self._send, self._gate = scope, send, gate
        self.start = time.perf_counter()
        self.id = uuid.uuid4().hex[:16]
        self.status, self.started = 0, False
        self.outcome = self.fault = ""
        self.key, self.images, self.bytes = "", 0, 0

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self.id.encode())]
            headers += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            if self._gate.draining:  # the client opens its next connection to the process that took over
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    async def refuse(self, refusal: RefusedError) -> None:
        self.outcome = refusal.code
        if self.started:
            return
        content = json.dumps(refusal.to_dict()).encode()
        headers = {"content-type": "application/json", "content-length": str(len(content)), **refusal.headers}
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
        await self.send({"type": "http.response.body", "body": content})

    def to_dict(self, outcome: str, seconds: float) -> dict[str, object]:
        """The line of the log: nothing of the images, whose names may be those of patients."""
        client = self.scope.get("client")
        line: dict[str, object] = {
            "id": self.id,
            "client": client[0] if client else None,
            "key": self.key,
            "method": printable(self.scope["method"])[:16],
            "path": printable(self.scope["path"])[:SHOWN],
            "status": self.status,
            "outcome": outcome,
            "images": self.images,
            "bytes": self.bytes,
            "seconds": round(seconds, 4),
        }
        return {**line, "fault": printable(self.fault)} if self.fault else line


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
