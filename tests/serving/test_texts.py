"""The languages of the page have the same texts, with the same values."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib import resources
from typing import Any

import pytest


def flat(texts: dict[str, Any], prefix: str = "") -> dict[str, set[str]]:
    """name -> the values that the text takes."""
    found: dict[str, set[str]] = {}
    for name, value in texts.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = set(re.findall(r"\{(\w+)\}", value))
    return found


def test_the_languages_have_the_same_texts() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    folder = resources.files("excite.serving") / "page"
    code = (folder / "texts.js").read_text(encoding="utf-8").replace("export ", "")
    code += "; const choices = [chooseLanguage(['zh-TW', 'en']), chooseLanguage(['fr', 'de'])];"
    code += " console.log(JSON.stringify([texts, ...choices]))"
    done = subprocess.run([node, "-e", code], capture_output=True, text=True, check=True)
    texts, chinese, other = json.loads(done.stdout)
    assert flat(texts["en"]) == flat(texts["zh"])
    assert (chinese, other) == ("zh", "en")
    script = (folder / "page.js").read_text() + (folder / "index.html").read_text()
    used = set(re.findall(r"text\.(\w+)", script)) | set(re.findall(r'data-text="(\w+)"', script))
    assert {name.partition(".")[0] for name in flat(texts["en"])} == used
