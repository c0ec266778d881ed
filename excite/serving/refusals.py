"""The reasons for which a request is not answered: an HTTP status, a code for programs, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping


class RefusedError(Exception):
    """A request that is not answered as asked.

    Args:
        status: of HTTP.
        code: one word for programs and for the outcomes in the metrics.
        message: a sentence for people.
        headers: further headers of the response.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = dict(headers or {})

    def to_dict(self) -> dict[str, str]:
        """The JSON document; ``error`` is the key of the Open Inference Protocol."""
        return {"error": self.message, "code": self.code}


def overloaded(seconds: float) -> RefusedError:
    """The queue is full; ``seconds`` until it has room again."""
    wait = str(max(1, round(seconds)))
    return RefusedError(503, "overloaded", "the queue is full; try again later", {"Retry-After": wait})


def late() -> RefusedError:
    """The time for an answer is over."""
    return RefusedError(503, "late", "no answer in time; try again later", {"Retry-After": "1"})


class ClientGoneError(Exception):
    """The client closed the connection: nobody reads an answer."""
