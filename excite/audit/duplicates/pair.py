"""A pair of near-duplicates, with its evidence."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = (
    "identical file",
    "identical pixels",
    "same picture",
    "same photo",
)  # from the most to the least certain


@dataclass(frozen=True)
class Pair:
    """Two images of one photo.

    Args:
        a, b: rows of the manifest, a < b.
        kind: one of KINDS.
        evidence: in a few words with numbers, such as "41 of 55 features agree, mirrored".
        confidence: between 0 and 1.
    """

    a: int
    b: int
    kind: str
    evidence: str
    confidence: float
