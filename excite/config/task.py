"""What is asked of an image: one of several classes, or which of several labels."""

from __future__ import annotations

from typing import Literal

Task = Literal["multiclass", "multilabel"]
"""Whether an image has exactly one class, or any number of labels; the words of scikit-learn."""
MULTICLASS: Task = "multiclass"
MULTILABEL: Task = "multilabel"
