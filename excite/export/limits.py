"""How much worse a quantized network may be; a file of its own, so that ``--help`` imports no libraries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much worse the quantized network may be on the test images.

    Args:
        accuracy: largest loss of accuracy.
        log_loss: largest increase of the log loss.
    """

    accuracy: float = 0.01
    log_loss: float = 0.01
