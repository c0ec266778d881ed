"""Files that were left out of a data set; a file of its own, so that listing a folder imports no tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LeftOut:
    """Files in a folder that do not belong to the data set.

    Args:
        count: number of files.
        reason: why they were left out, as a clause.
        example: path of one of them.
    """

    count: int
    reason: str
    example: str

    def __str__(self) -> str:
        counted = "1 file was" if self.count == 1 else f"{self.count} files were"
        return f"{counted} left out because {self.reason}, for example {self.example}"
