"""The examples in the docstrings of excite.keras."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

NAMES = ("convert", "densenet", "finder", "insertion", "probabilities", "squeeze_excitation")


@pytest.mark.once
@pytest.mark.parametrize("name", NAMES)
def test_examples_print_what_they_show(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"excite.keras.{name}"))
    assert result.attempted
    assert not result.failed


@pytest.mark.once
def test_the_example_in_the_readme_runs_as_it_stands() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "excite.keras" in block]
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert {"model", "gated", "plain"} <= names.keys()
