"""The examples in the docstrings of excite.keras."""

from __future__ import annotations

import doctest
import importlib

import pytest

NAMES = ("convert", "densenet", "finder", "insertion", "probabilities", "squeeze_excitation")


@pytest.mark.once
@pytest.mark.parametrize("name", NAMES)
def test_examples_print_what_they_show(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"excite.keras.{name}"))
    assert result.attempted
    assert not result.failed
