"""``excite audit``."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from tests.cli.audited_photos import make_photos, ok, refused


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with ``photos`` in it."""
    make_photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_has_an_example() -> None:
    assert "excite audit photos" in " ".join(ok("audit", "--help").output.split())


@pytest.mark.slow
def test_findings_are_printed_and_written(place: Path) -> None:
    done = ok("audit", "photos")
    assert "1 group is in more than one split" in done.stdout
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


@pytest.mark.slow
def test_strict_ends_with_one_when_there_are_leaks(place: Path) -> None:
    error = refused("audit", "photos", "--strict")
    assert error.exit_code == 1
    assert "1 group is in more than one split" in str(error)
    assert (place / "audits" / "photos" / "audit.json").is_file()
    (place / "photos" / "test" / "a" / "copy.png").unlink()
    ok("audit", "photos", "--strict")


@pytest.mark.slow
def test_a_decision_is_applied_by_the_next_audit(place: Path) -> None:
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


@pytest.mark.slow
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
    ],
)
def test_wrong_use_is_one_line(place: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in str(refused(*arguments))


def test_a_folder_whose_name_is_not_utf8_is_refused_in_one_line(place: Path) -> None:
    assert "is not UTF-8" in str(refused("audit", os.fsdecode(b"caf\xe9")))
