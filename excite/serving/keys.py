"""API keys: named, compared in constant time, and each with its own limit."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from excite.errors import BAD_USAGE, ExciteError
from excite.serving.refusals import RefusedError

VARIABLE = "EXCITE_SERVE_KEYS"
SHORTEST = 20  # characters: 120 bits, if they are random letters and digits
_LINE = re.compile(r"(?P<name>[\w.@-]{1,64})\s*[:=]\s*(?P<key>[\x21-\x7e]+)")


@dataclass(frozen=True)
class ApiKeys:
    """The keys of a service.

    Args:
        digests: name -> SHA-256 of the key.

    Example:
        >>> keys = ApiKeys.parse("clinic: 3q7xw0v9b2n5m8k1j4h6", "keys")
        >>> keys.name_of("3q7xw0v9b2n5m8k1j4h6"), keys.name_of("guess")
        ('clinic', None)
    """

    digests: dict[str, bytes]

    @classmethod
    def parse(cls, text: str, where: str) -> ApiKeys:
        """Keys from lines ``name: key``; empty lines and those that begin with # do not count.

        Raises:
            ExciteError: for another line, a short key, and a name or key that occurs twice.
        """
        digests: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            stripped = line.strip()
            if not stripped or stripped.startswith("#"):
                continue
            match = _LINE.fullmatch(stripped)
            place = f"{where}, line {number}"
            if match is None:
                hint = "a name of letters, digits, and . @ _ -, a colon, and the key"
                raise ExciteError("is not a line of keys", where=place, hint=hint, exit_code=BAD_USAGE)
            if len(match["key"]) < SHORTEST:
                hint = 'python -c "import secrets; print(secrets.token_urlsafe())" prints one'
                what = f"the key has fewer than {SHORTEST} characters"
                raise ExciteError(what, where=place, hint=hint, exit_code=BAD_USAGE)
            digest = _digest(match["key"])
            if match["name"] in digests or digest in digests.values():
                raise ExciteError("the name or key occurs twice", where=place, exit_code=BAD_USAGE)
            digests[match["name"]] = digest
        if not digests:
            raise ExciteError("has no API key", where=where, exit_code=BAD_USAGE)
        return cls(digests)

    def name_of(self, key: str) -> str | None:
        """The name of a key; None for a wrong one. Every key is compared, whichever is right."""
        presented, found = _digest(key), None
        for name, digest in self.digests.items():
            if hmac.compare_digest(presented, digest):
                found = name
        return found


def load_keys(path: str | None) -> ApiKeys | None:
    """The keys in a file, or else in the environment variable ``EXCITE_SERVE_KEYS``; None: there are none.

    Raises:
        ExciteError: if the file cannot be read, or others may read it, and as ``ApiKeys.parse``.
    """
    if path is None:
        text = os.environ.get(VARIABLE)
        return None if text is None else ApiKeys.parse(text.replace(",", "\n"), VARIABLE)
    try:
        file = Path(path)
        text, mode = file.read_text(encoding="utf-8"), file.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ExciteError(f"cannot be read: {reason.lower()}", where=path, exit_code=BAD_USAGE) from error
    if os.name == "posix" and mode & 0o004:
        hint = f"chmod o-r {path}"
        raise ExciteError("every user of this machine can read the keys", where=path, hint=hint)
    return ApiKeys.parse(text, path)


class RateLimits:
    """Images per minute for each key, as a bucket that refills evenly (token bucket).

    Args:
        per_minute: 0: no limit.
        clock: seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self._clock = per_minute, clock
        self._buckets: dict[str, tuple[float, float]] = {}  # name -> images left, when that was counted

    def take(self, name: str, images: int) -> None:
        """Raises: RefusedError (429) if the key has used up its images, or may never have so many at once."""
        if self.per_minute == 0:
            return
        now = self._clock()
        left, since = self._buckets.get(name, (float(self.per_minute), now))
        left = min(self.per_minute, left + (now - since) * self.per_minute / 60)
        if images > left:
            self._buckets[name] = left, now
            wait = 60 * (min(images, self.per_minute) - left) / self.per_minute
            message = f"this key may have {self.per_minute} images per minute"
            raise RefusedError(429, "limited", message, {"Retry-After": str(max(1, round(wait)))})
        self._buckets[name] = left - images, now


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
