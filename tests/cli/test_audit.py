"""excite audit and excite split as a person or a script meets them."""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from excite.cli import audit, split
from excite.data.reading import read_manifest
from excite.errors import ExciteError
from tests.conftest import make_pictures


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a data set in it: train and test, one image of which is in both."""
    for number, name in enumerate(("train/a", "train/b", "test/a", "test/b")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(6):
            coarse = np.random.default_rng(10 * number + index).integers(0, 256, (6, 8, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)
            picture.save(tmp_path / "photos" / name / f"{index}.png")
    copy = tmp_path / "photos" / "test" / "a" / "copy.png"
    copy.write_bytes((tmp_path / "photos" / "train" / "a" / "0.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


@pytest.mark.parametrize("verb", ["audit", "split"])
def test_help_has_an_example(verb: str) -> None:
    assert f"excite {verb} photos" in " ".join(ok(verb, "--help").output.split())


def test_findings_are_printed_and_written(place: Path) -> None:
    done = ok("audit", "photos")
    assert "1 group straddles the given split" in done.stdout
    assert "1 of 13 in test (7.7%)" in " ".join(done.stdout.split())
    out = place / "audits" / "photos"
    assert {file.name for file in out.iterdir()} == {"audit.html", "audit.json", "decisions.csv"}


def test_json_is_one_document_on_standard_output(place: Path) -> None:
    done = ok("audit", "photos", "--json", "--out", "found")
    document = json.loads(done.stdout)
    assert document == json.loads((place / "found" / "audit.json").read_text())
    assert document["leaks"] == {
        "groups": 1,
        "images": {"train": 1, "test": 1},
        "fractions": {"train": round(1 / 12, 6), "test": round(1 / 13, 6)},
    }


def test_strict_ends_with_one_when_there_are_leaks(place: Path) -> None:
    error = refused("audit", "photos", "--strict")
    assert error.exit_code == 1
    assert "1 group straddles the split" in str(error)
    assert (place / "audits" / "photos" / "audit.json").is_file()
    (place / "photos" / "test" / "a" / "copy.png").unlink()
    ok("audit", "photos", "--strict")


def test_a_decision_is_obeyed_the_next_time(place: Path) -> None:
    ok("audit", "photos")
    form = place / "audits" / "photos" / "decisions.csv"
    header, row = list(csv.reader(form.read_text().splitlines()))
    row[0] = "reject"
    form.write_text("\n".join(",".join(line) for line in (header, row)) + "\n")
    assert json.loads(ok("audit", "photos", "--json").stdout)["leaks"]["groups"] == 0
    assert "reject" in form.read_text()
    assert json.loads(ok("audit", "photos", "--json").stdout)["leaks"]["groups"] == 0
    elsewhere = json.loads(ok("audit", "photos", "--json", "--out", "x", "--decisions", form).stdout)
    assert elsewhere["decisions"] == {"accepted": 0, "rejected": 1, "not_found": 0}


def test_nothing_is_written_among_the_images(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (
        ("audit", "photos", "--out", "photos/found"),
        ("split", "photos", "--out", "photos/m.csv"),
    ):
        error = refused(*arguments)
        assert "inside the data" in str(error)
        assert error.exit_code == 2
    monkeypatch.chdir(place / "photos")
    assert "inside the data" in str(refused("audit", "."))
    assert {path.name for path in (place / "photos").iterdir()} == {"train", "test"}


def test_names_cannot_write_on_the_terminal(place: Path) -> None:
    (place / "photos" / "train" / "a" / "[bold]x\x1b[2J\n.png").write_bytes(b"")
    done = ok("audit", "photos")
    assert "\x1b[2J" not in done.stdout
    assert r"[bold]x\x1b[2J\n.png: is empty" in "".join(done.stdout.split("\n"))


def test_a_csv_with_columns_of_its_own(place: Path) -> None:
    rows = ["file,diagnosis,who,part"]
    for split_name in ("train", "test"):
        for label in "ab":
            rows += [f"photos/{split_name}/{label}/{n}.png,{label},p{n},{split_name}" for n in range(6)]
    (place / "table.csv").write_text("\n".join(rows))
    columns = (
        "--path-column",
        "file",
        "--label-column",
        "diagnosis",
        "--group-column",
        "who",
        "--split-column",
        "part",
    )
    document = json.loads(ok("audit", "table.csv", *columns, "--json").stdout)
    assert document["groups"] == 6
    assert document["leaks"]["images"] == {"train": 12, "test": 12}
    assert document["name_pattern"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("audit", "nowhere"), "no such file or folder"),
        (("audit", "photos", "--group-pattern", "("), "not a regular expression"),
        (("audit", "photos", "--decisions", "none.csv"), "none.csv: there is no such file"),
        (("audit", "photos", "--label-column", "x"), "the data is a folder, not a CSV"),
        (("split", "photos", "--split", "groupd"), "did you mean 'grouped'"),
        (("split", "photos", "--repeats", "3"), "--repeats needs --folds"),
        (("split", "photos", "--folds", "1"), "folds: must be at least 2"),
        (("split", "photos", "--folds", "5", "--repeats", "0"), "repeats: must be at least 1"),
        (("split", "photos", "--folds", "99"), "class 'a' has 12 groups; 99 parts"),
        (("split", "photos", "--val-fraction", "0.9"), "leave no training images"),
        (
            ("split", "photos", "--no-group-duplicates", "--near-duplicates"),
            "have no effect with --no-group-duplicates",
        ),
        (("split", "photos", "--no-group-duplicates", "--split", "grouped"), "no groups to keep together"),
    ],
)
def test_wrong_use_is_one_line(place: Path, arguments: tuple, message: str) -> None:
    assert message in str(refused(*arguments))


def columns_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_split_keeps_found_copies_together_and_is_read_back(place: Path) -> None:
    done = ok("split", "photos", "--out", "made/manifest.csv", "--seed", 3)
    assert "excite train made/manifest.csv" in done.stdout
    rows = columns_of(place / "made" / "manifest.csv")
    assert list(rows[0])[:5] == ["path", "label", "group", "photo", "split"]
    assert len(rows) == 25
    by_path = {str(Path(row["path"]).relative_to(place / "photos")): row for row in rows}
    one, other = by_path["train/a/0.png"], by_path["test/a/copy.png"]
    assert one["group"] == other["group"] != ""
    assert one["split"] == other["split"]
    back = read_manifest(place / "made" / "manifest.csv")
    assert back.splits == ("train", "val", "test")
    assert back.table["split"].tolist() == [row["split"] for row in rows]


def test_without_found_groups_each_image_is_drawn_for_itself(place: Path) -> None:
    document = json.loads(ok("split", "photos", "--no-group-duplicates", "--json").stdout)
    assert (document["method"], document["groups"]) == ("random", 25)
    assert {row["group"] for row in columns_of(place / "manifest.csv")} == {""}


def test_a_random_split_says_how_many_test_images_have_a_near_duplicate_in_the_training_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path / "pictures")
    options = ("pictures", "--group-pattern", r"^(p\d+)_", "--no-near-duplicates")
    done = ok("split", *options, "--split", "random")
    rows = columns_of(tmp_path / "manifest.csv")
    trained = {row["group"] for row in rows if row["split"] == "train"}
    tested = [row["group"] for row in rows if row["split"] == "test"]
    torn = sum(group in trained for group in tested)
    assert torn > 0
    assert f"{torn} of {len(tested)} test images have a near-duplicate in the training set" in done.stdout
    grouped = ok("split", *options)
    assert "near-duplicate" not in grouped.stdout


def test_folds_keep_groups_whole_in_every_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path / "pictures")
    options = (
        "--group-pattern",
        r"^(p\d+)_",
        "--no-near-duplicates",
        "--folds",
        4,
        "--repeats",
        3,
        "--seed",
        5,
    )
    ok("split", "pictures", *options)
    rows = columns_of(tmp_path / "manifest.csv")
    for name in ("fold_0", "fold_1", "fold_2"):
        assert {row[name] for row in rows} == {"0", "1", "2", "3"}
        homes = defaultdict(set)
        for row in rows:
            homes[row["group"]].add(row[name])
        assert all(len(found) == 1 for found in homes.values())
    assert [row["fold_0"] for row in rows] != [row["fold_1"] for row in rows]
    first = (tmp_path / "manifest.csv").read_bytes()
    ok("split", "pictures", *options)
    assert (tmp_path / "manifest.csv").read_bytes() == first


def test_a_group_larger_than_a_fold_is_refused_with_the_arithmetic(place: Path) -> None:
    names = [f"photos/train/a/{n}.png" for n in range(6)] + [f"photos/train/b/{n}.png" for n in range(6)]
    rows = [f"{name},{name[13]},{'one' if n < 5 else n}" for n, name in enumerate(names)]
    (place / "table.csv").write_text("\n".join(["path,label,group", *rows]))
    error = refused("split", "table.csv", "--folds", 3, "--no-near-duplicates", "--val-fraction", 0.2)
    assert "'one' holds 5 of 12 images, more than one of 3 folds: 12 / 3 = 4.0" in str(
        error
    ) or "has 2 groups" in str(error)


@pytest.mark.parametrize("verb", ["audit", "split"])
def test_a_folder_whose_name_is_not_utf8_is_refused_in_one_line(place: Path, verb: str) -> None:
    assert "is not UTF-8" in str(refused(verb, os.fsdecode(b"caf\xe9")))


def test_too_many_bad_files_are_refused_and_few_left_out(place: Path) -> None:
    (place / "photos" / "train" / "a" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "1 of 26 files are unreadable" in str(refused("split", "photos"))
    done = ok("split", "photos", "--max-unreadable", 0.1)
    assert "left out" in done.stderr
    assert len(columns_of(place / "manifest.csv")) == 25
