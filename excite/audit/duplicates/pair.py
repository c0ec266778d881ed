"""Two images of one photo: the evidence that everything about duplicates passes on."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("identical file", "identical pixels", "same picture", "same photo")  # from the surest to the least


@dataclass(frozen=True)
class Pair:
    """Two images of one photo.

    Args:
        a, b: rows of the manifest, a < b.
        kind: one of KINDS.
        evidence: what was seen, in a few words with figures, such as "41 of 55 features agree, mirrored".
        confidence: between 0 and 1.
    """

    a: int
    b: int
    kind: str
    evidence: str
    confidence: float
