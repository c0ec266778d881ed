"""The task of a data set: one class per image, or several labels."""

from __future__ import annotations

from typing import Literal

Task = Literal["multiclass", "multilabel"]
"""Whether an image has exactly one class, or any number of labels; the words of scikit-learn."""
MULTICLASS: Task = "multiclass"
MULTILABEL: Task = "multilabel"
