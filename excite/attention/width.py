"""The hidden width of attention, and checks of sizes; without torch, so that Keras modules use it, too."""

from __future__ import annotations

from excite.errors import BAD_USAGE, ExciteError


def hidden_width(channels: int, reduction: int, divisor: int = 1) -> int:
    """max(1, C // r); with a divisor above 1, the nearest multiple of it, at least one.

    >>> hidden_width(100, reduction=16), hidden_width(100, reduction=16, divisor=8)
    (6, 8)
    """
    hidden = max(1, channels // reduction)
    return hidden if divisor == 1 else max(divisor, (hidden + divisor // 2) // divisor * divisor)


def require_positive(where: str, **values: int) -> None:
    """Raises: ExciteError: if one of the values is less than 1."""
    for name, value in values.items():
        if value < 1:
            raise ExciteError(f"{name} must be at least 1, got {value}", where=where, exit_code=BAD_USAGE)
