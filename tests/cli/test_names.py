"""Names of classes, files, and columns are data: no command changes or interprets them."""

from __future__ import annotations

import csv
import json
import os
import shlex
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from excite.config.train_config import TrainConfig
from excite.pipeline.experiment import run_experiment
from excite.system.text import printable
from tests.conftest import Command

pytestmark = pytest.mark.slow  # they share a training

CLASSES = [
    "[b] a [bold]",
    "$x^2$ \\alpha_{",
    "猫 😀",
    "=1+1,\"q'|`<b>&amp;%s{0}",
    "-h",
    "_l\rf\nx\x1b[31m :cat:",
    "\u00e9 שלום\u200b",  # its folder has the decomposed form, as macOS writes it
    "x" * 240,
]
FILES = [
    b"--help.png",
    b"\xff\xfe.png",
    "猫.png".encode(),
    b"a[.png",
    b"x\x1b[2J :cat: [bold].png",
    b'=cmd, "q".png',
    b"n\nl\r.png",
    b"$(id) `x`.png",
    b"y" * 250 + b".png",
]
SMALL = {"block_config": [1, 1], "growth_rate": 4, "init_channels": 4}


def paint(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 150, (20, 20, 3))
    pixels[:, :, number % 3] += 100
    with path.open("wb") as file:
        Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data [x]``, a run ``run $y`` trained on it, and ``inbox`` of strange file names."""
    place = tmp_path_factory.mktemp("names")
    for number, name in enumerate(CLASSES):
        for index in range(6):
            paint(
                place / "data [x]" / unicodedata.normalize("NFD", name) / f"{index} [b]\n{number}.png",
                6 * number + index,
            )
    for number, file in enumerate(FILES):
        paint(Path(os.fsdecode(os.fsencode(place / "inbox") + b"/" + file)), number)
    config = TrainConfig(data=str(place / "data [x]"), out=str(place / "run $y"), model="densenet_bc_40_12")
    config = config.replace(model_options=SMALL, epochs=1, batch_size=8, image_size=16, device="cpu")
    run = run_experiment(config.replace(near_duplicates=False, precision="float32"))
    from excite.reporting.png_figures import draw_figures
    from excite.reporting.report import write_report

    write_report(run)
    draw_figures(run)
    return place


def test_names_of_files_and_classes_survive_json_and_csv(place: Path, excite_command: Command) -> None:
    done = excite_command("predict", place / "run $y", place / "inbox", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {os.fsencode(Path(row["path"]).name) for row in rows} == set(FILES)
    assert all(set(row["probabilities"]) == set(CLASSES) for row in rows)
    done = excite_command("predict", place / "run $y", place / "inbox", "--format", "csv")
    header, *rows = csv.reader(done.stdout.splitlines(keepends=True))
    assert set(header[3:]) == {f"p:{name}" for name in CLASSES}
    assert len(rows) == len(FILES)
    known = {row[0].rpartition("/")[2] for row in rows}
    assert {os.fsdecode(file) for file in FILES if file.isascii() or b"\xff" not in file} <= known
    assert {row[1] for row in rows} <= set(CLASSES)


def test_a_run_keeps_the_names(place: Path) -> None:
    with (place / "run $y" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == set(CLASSES)
    metrics = json.loads((place / "run $y" / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["test"]["classes"]) == set(CLASSES)


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "run $y", "inbox"),
        ("evaluate", "run $y"),
        ("evaluate", "run $y", "data [x]"),
        ("split", "data [x]", "--no-near-duplicates", "--out", "my [table] $z.csv"),
        ("audit", "data [x]", "--no-near-duplicates", "--out", "audit #1?"),
        ("compare", "run $y", "run $y"),
        ("summary", "run $y"),
        ("report", "run $y"),
    ],
    ids=lambda arguments: "-".join(arguments[:1]),
)
def test_every_printed_character_is_visible(
    place: Path, excite_command: Command, arguments: tuple[str, ...]
) -> None:
    paths = [str(place / one) if (place / one).exists() else one for one in arguments]
    done = excite_command(*paths)
    assert done.returncode == 0, done.stderr
    assert all(line.isprintable() for line in (done.stdout + done.stderr).split("\n"))
    shown = {"predict": [os.fsdecode(file) for file in FILES], "evaluate": CLASSES, "split": CLASSES}
    for name in shown.get(arguments[0], []):
        assert printable(name) in done.stdout
    for line in done.stdout.splitlines():
        if line.startswith("next "):
            assert shlex.split(line)[-1] == "my [table] $z.csv"


def test_the_next_command_quotes_each_path_as_one_word(place: Path, excite_command: Command) -> None:
    source = place / "two $words"
    for number in range(12):
        paint(source / "ab"[number % 2] / f"{number}.png", number)
    quick = ["--epochs", 1, "--batch-size", 4, "--image-size", 16, "--no-near-duplicates", "--device", "cpu"]
    done = excite_command("train", source, *quick, "--model", "densenet_bc_40_12", "--out", "-r 1")
    following = shlex.split(next(line for line in done.stdout.splitlines() if line.startswith("next")))
    assert following[:4] == ["next", "excite", "predict", "./-r 1"]
    assert Path(following[4]).parts[-2:] == ("a", "0.png")
    assert excite_command(*following[2:]).returncode == 0


def test_pages_show_the_names_as_text(place: Path) -> None:
    shown: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            shown.append(data)

    reader = Reader()
    reader.feed((place / "run $y" / "report.html").read_bytes().decode())
    for name in CLASSES:
        assert name.replace("\x1b", r"\x1b") in shown
    card = (place / "run $y" / "model_card.md").read_text(encoding="utf-8")
    assert r"\$x^2\$ \\alpha\_{" in card
    assert r"\[b\] a \[bold\]" in card


def test_values_of_subgroups_are_text(place: Path, excite_command: Command) -> None:
    rows = [
        f'"{path}","{label}","x [old] {number % 2}[/b]"'
        for label in ("-h", "猫 😀")
        for number, path in enumerate(
            sorted((place / "data [x]" / unicodedata.normalize("NFD", label)).iterdir())
        )
    ]
    table = place / "sites.csv"
    table.write_text("\n".join(["path,label,ho[s]pital", *rows]), encoding="utf-8")
    done = excite_command("evaluate", place / "run $y", table, "--subgroups", "ho[s]pital")
    assert done.returncode == 0, done.stderr
    assert "ho[s]pital" in done.stdout
    assert "x [old] 1[/b]" in done.stdout


def test_hundreds_of_classes_are_summarized(tmp_path: Path, excite_command: Command) -> None:
    for number in range(80):
        for index in range(3):
            paint(tmp_path / "many" / f"c{number:02d}" / f"{index}.png", 3 * number + index)
    done = excite_command("split", tmp_path / "many", "--no-near-duplicates", "--out", "m.csv")
    rows = [line.split() for line in done.stdout.splitlines() if line]
    assert ["train", "80", "80", "1"] in rows
    assert ["test", "80", "80", "1"] in rows
    assert "80 classes" in done.stdout
    assert "c00" not in done.stdout


def test_a_path_that_is_not_utf8_is_refused_before_anything_is_written(
    tmp_path: Path, pictures: Path, excite_command: Command
) -> None:
    out = tmp_path / os.fsdecode(b"run\xff")
    for arguments in (("train", pictures, "--out", out), ("train", out)):
        out.mkdir(exist_ok=True)
        done = excite_command(*arguments, "--no-near-duplicates", "--model", "densenet_bc_40_12")
        assert done.returncode == 2
        assert r"run\xff: the path is not UTF-8" in done.stderr
        assert not list(out.iterdir())
