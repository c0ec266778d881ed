"""A small data set with a leak, and commands that read it, called in this process."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from excite.cli import audit, split
from excite.errors import ExciteError


def make_photos(tmp_path: Path) -> None:
    """``photos`` with train and test, one image of which is in both."""
    for number, name in enumerate(("train/a", "train/b", "test/a", "test/b")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(6):
            coarse = np.random.default_rng(10 * number + index).integers(0, 256, (6, 8, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)
            picture.save(tmp_path / "photos" / name / f"{index}.png")
    copy = tmp_path / "photos" / "test" / "a" / "copy.png"
    copy.write_bytes((tmp_path / "photos" / "train" / "a" / "0.png").read_bytes())


def call(*arguments: object) -> Result:
    app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})
    audit.add_to(app)
    split.add_to(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def ok(*arguments: object) -> Result:
    done = call(*arguments)
    assert done.exit_code == 0, done.exception or done.stderr
    return done


def refused(*arguments: object) -> ExciteError:
    done = call(*arguments)
    assert isinstance(done.exception, ExciteError), done.output
    assert "\n" not in str(done.exception)
    return done.exception


def columns_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
