"""``docs/reference/files.md`` has every key of the JSON files of a run, of an audit, and of an evaluation."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import excite
from excite.config.train_config import TrainConfig
from tests.conftest import make_pictures

PAGE = Path(excite.__file__).parents[1] / "docs" / "reference" / "files.md"
# Keys of these are names from the data or of packages.
NAMED = (
    "classes",
    "intercept",
    "formats",
    "color_modes",
    "splits",
    "packages",
    "libraries",
    "images",
    "fractions",
)


def keys(value: Any, path: str = "") -> Iterator[str]:
    """Every key, with dots; ``[]`` are the entries of a list, NAME is a name of the data.

    A dictionary with ``value``, a metric with its interval, counts as one value.
    """
    if isinstance(value, dict) and value and not ("value" in value and path.rpartition(".")[2] != "rows[]"):
        for name, inner in value.items():
            named = path.rpartition(".")[2] in NAMED or name.endswith((".safetensors", ".csv"))
            yield from keys(inner, ".".join(part for part in (path, "NAME" if named else name) if part))
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for each in value:
            yield from keys(each, f"{path}[]")
    else:
        yield path.replace("calibration.after.", "calibration.before.")


def documented(file: str) -> dict[str, bool]:
    """The keys in the table of a file, and whether each is always there."""
    page = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^## `{re.escape(file)}`$(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert section, f"{PAGE} has no section for {file}"
    rows = [row.strip("|").split("|") for row in section[1].splitlines() if row.startswith("| `")]
    return {key.strip(" `"): not when.strip() for key, _, when in rows}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("keys")
    rows = ["path,label,group,site"]
    for number, picture in enumerate(sorted(make_pictures(place / "pictures").rglob("*.png"))):
        group = picture.name.partition("_")[0]
        rows.append(f"{picture},{picture.parent.name},{group},{'north' if number % 2 else 'south'}")
        if picture.name.endswith("_0.png"):
            copy = picture.with_name(f"copy-{picture.name}")
            shutil.copy(picture, copy)
            rows.append(f"{copy},{picture.parent.name},{group},north")
    table = place / "table.csv"
    table.write_text("\n".join(rows), encoding="utf-8")
    network = {"model": "cifar_resnet20", "attention": "se", "image_size": 16}
    rules = {"positive": "a", "sensitivity": 0.8, "abstain_below": 0.4, "subgroups": "site"}
    excite.train(str(table), out=str(place / "run"), recipe="scratch", epochs=1, **network, **rules)
    return place / "run"


FILES = ("metrics.json", "classifier.json", "audit.json", "environment.json")


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_every_key_of_a_run_is_documented(run: Path, file: str) -> None:
    content = json.loads((run / file).read_text(encoding="utf-8"))
    found = set(keys(content["test"] if file == "metrics.json" else content))
    known = documented(file)
    assert found <= set(known), f"not in {PAGE.name}: {sorted(found - set(known))}"
    always = {key for key, every in known.items() if every}
    assert always <= found, f"in {PAGE.name}, not in the file: {sorted(always - found)}"


@pytest.mark.slow
@pytest.mark.parametrize("file", ["predictions.csv", "metrics.csv", "manifest.csv"])
def test_every_column_of_a_run_is_documented(run: Path, file: str) -> None:
    columns = (run / file).read_text(encoding="utf-8").splitlines()[0].split(",")
    found = {re.sub("^(p|threshold):.*", r"\1:CLASS", name) for name in columns}
    known = documented(file)
    assert found <= set(known)
    assert {name for name, every in known.items() if every} <= found


@pytest.mark.slow
def test_the_configuration_of_a_run_has_the_options_of_the_code(run: Path) -> None:
    """The page refers to those of ``excite train``, which the site makes from the code."""
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert set(config) == {field.name for field in dataclasses.fields(TrainConfig)}
