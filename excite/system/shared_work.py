"""Results that several processes compute together, each a part, and share through the cache folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from excite.system.cache import recall, remember

T = TypeVar("T")


@dataclass(frozen=True)
class SharedPart(Generic[T]):
    """A part of a result that is computed once and then read from the cache.

    Args:
        path: its file in the cache; None: there is no cache.
        compute: computes it.
        format, parse: to the text of the file, and back; ``parse`` returns None for a text it cannot use.
    """

    path: Path | None
    compute: Callable[[], T]
    format: Callable[[T], str]
    parse: Callable[[str], T | None]


def compute_together(parts: Sequence[SharedPart[T]], done: Callable[[int], None] | None = None) -> list[T]:
    """All parts in order: each process computes those that no other has computed or is computing.

    If a process dies, one that waits for its part computes it. Without a cache that can be written to, each
    process computes everything.

    Args:
        parts: the same in every process.
        done: called with the number of each part that is finished.

    Example:
        >>> parts = [SharedPart(None, lambda: "a", str, str), SharedPart(None, lambda: "b", str, str)]
        >>> compute_together(parts)
        ['a', 'b']
    """
    results: dict[int, T] = {}
    for waits in (False, True):  # first those that are free, then those that others have not finished
        for number, part in enumerate(parts):
            if number not in results and (result := _result(part, waits)) is not None:
                results[number] = result
                if done is not None:
                    done(number)
    return [results[number] for number in range(len(parts))]


def _result(part: SharedPart[T], waits: bool) -> T | None:
    """The part, from the cache or computed; None if another process computes it, unless this one waits."""
    result = recall(part.path, part.parse)
    if result is not None:
        return result
    with locked(part.path, waits=waits) as is_mine:
        if not is_mine:
            return None
        result = recall(part.path, part.parse)  # another process may have written it meanwhile
        if result is None:
            result = part.compute()
            remember(part.path, part.format(result))
        return result


@contextmanager
def locked(path: Path | None, *, waits: bool = True) -> Iterator[bool]:
    """Hold the lock of a file of the cache; yields whether this process may write it.

    Without a cache, or where none can be written, every process may.

    Args:
        waits: wait for a process that holds the lock; otherwise yield False.
    """
    from filelock import FileLock, Timeout

    if path is None:
        yield True
        return
    file = path.with_name(f".{path.name}.lock")
    lock = FileLock(file, timeout=-1 if waits else 0)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError:
        yield True
        return
    try:
        yield True
    finally:
        # Two processes that hold a removed file and a new one of this name compute the same, once too often.
        with suppress(OSError):
            file.unlink(missing_ok=True)
        lock.release()
