"""Names of the columns of a table of predictions."""

from __future__ import annotations

PROBABILITY = "p:"  # p:CLASS, the probability of a class
THRESHOLD = "threshold:"  # threshold:CLASS, from which the positive class is predicted
