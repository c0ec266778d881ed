"""Decisions in decisions.csv are applied by the next audit; an error in it is one clear line."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excite.audit.decisions import COLUMNS, ResolvedDecisions, read_decisions, resolve, write_decisions
from excite.audit.duplicates.pair import Pair
from excite.data.manifest import Manifest
from excite.errors import ExciteError


def manifest(names: list[str], folder: Path = Path("/data")) -> Manifest:
    hashes = [f"{number:064x}" for number in range(len(names))]
    table = pd.DataFrame({"path": [str(folder / name) for name in names], "label": "x", "sha256": hashes})
    return Manifest(table, ("x",))


PAIRS = [
    Pair(0, 1, "same photo", "41 of 55 features agree, mirrored", 0.8),
    Pair(1, 2, "identical file", "same bytes", 1.0),
    Pair(0, 3, "same picture", "hash differs in 3 bits", 0.6),
]
AWKWARD = [
    "a,b.png",
    'it\'s "so".png',
    "two\nlines.png",
    "🐝 bee.png",
    "cr\rhere.png",
    "=1+1.png",
    " space .png",
]


def written(file: Path, text: str) -> Path:
    file.write_bytes(text.encode())
    return file


def test_the_table_lists_every_pair_once_the_least_certain_first(tmp_path: Path) -> None:
    write_decisions(tmp_path / "d.csv", manifest(["0", "1", "2", "3"]), PAIRS, ResolvedDecisions())
    table = pd.read_csv(tmp_path / "d.csv", dtype=str, keep_default_na=False)
    assert tuple(table.columns) == COLUMNS
    assert table["a"].tolist() == ["/data/0", "/data/0", "/data/1"]
    assert table["b"].tolist() == ["/data/3", "/data/1", "/data/2"]
    assert table["confidence"].tolist() == ["0.600", "0.800", "1.000"]
    assert set(table["decision"]) == {""}
    assert table["b_sha256"].tolist() == [f"{n:064x}" for n in (3, 1, 2)]


def test_an_unchanged_table_contains_no_decisions(tmp_path: Path) -> None:
    write_decisions(tmp_path / "d.csv", manifest(["0", "1", "2", "3"]), PAIRS, ResolvedDecisions())
    assert read_decisions(tmp_path / "d.csv") == []


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["", "accept", "reject"]), min_size=3, max_size=3))
def test_decisions_are_read_back_and_kept_by_the_next_audit(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    data = manifest(AWKWARD)
    file = tmp_path_factory.mktemp("d") / "d.csv"
    write_decisions(file, data, PAIRS, ResolvedDecisions())
    with file.open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    for row, word in zip(rows, words, strict=True):
        row[0] = word
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    listed = [(0, 3), (0, 1), (1, 2)]
    for _ in range(2):  # the second time from the form that the next audit writes
        decided = resolve(read_decisions(file), data)
        assert decided.accepted == {p for p, word in zip(listed, words, strict=True) if word == "accept"}
        assert decided.rejected == {p for p, word in zip(listed, words, strict=True) if word == "reject"}
        assert decided.missing == ()
        write_decisions(file, data, PAIRS, decided)


@pytest.mark.parametrize("name", AWKWARD)
def test_any_file_name_is_read_back(tmp_path: Path, name: str) -> None:
    data = manifest([name, "other.png"])
    decided = resolve(read_decisions(_form(tmp_path, data)), data)
    assert decided.accepted == {(0, 1)}


def _form(folder: Path, data: Manifest) -> Path:
    write_decisions(folder / "d.csv", data, [], ResolvedDecisions(accepted=frozenset({(0, 1)})))
    return folder / "d.csv"


def test_images_are_found_by_path_by_relative_path_and_by_content(tmp_path: Path) -> None:
    data = manifest(["a.png", "b.png", "c.png"], tmp_path)
    lines = [
        f"accept,{tmp_path}/a.png,./b.png",
        f"Reject,{1:064X},{2:064x}",
    ]
    decided = resolve(read_decisions(written(tmp_path / "d.csv", "\n".join(["decision,a,b", *lines]))), data)
    assert decided.accepted == {(0, 1)}
    assert decided.rejected == {(1, 2)}


def test_a_moved_file_is_found_by_its_content_and_a_changed_one_is_not(tmp_path: Path) -> None:
    before = manifest(["a.png", "b.png", "c.png"])
    write_decisions(
        tmp_path / "d.csv",
        before,
        [],
        ResolvedDecisions(rejected=frozenset({(0, 1)}), accepted=frozenset({(1, 2)})),
    )
    moved = before.with_columns(path=["/elsewhere/x.png", "/data/b.png", "/data/c.png"])
    assert resolve(read_decisions(tmp_path / "d.csv"), moved).rejected == {(0, 1)}
    changed = before.with_columns(sha256=["f" * 64, *before.table["sha256"][1:]])
    decided = resolve(read_decisions(tmp_path / "d.csv"), changed)
    assert (decided.rejected, decided.accepted, len(decided.missing)) == (frozenset(), {(1, 2)}, 1)
    # It is kept for the day when the file is back.
    write_decisions(tmp_path / "e.csv", changed, [], decided)
    assert resolve(read_decisions(tmp_path / "e.csv"), before).rejected == {(0, 1)}


def test_lines_copied_from_the_page_may_be_shorter(tmp_path: Path) -> None:
    data = manifest(["0", "1", "2", "3"])
    write_decisions(tmp_path / "d.csv", data, PAIRS, ResolvedDecisions())
    with (tmp_path / "d.csv").open("a") as stream:
        stream.write("decision,a,b\nreject,/data/0,/data/1\n")
    with pytest.raises(ExciteError, match="unknown decision 'decision'"):
        read_decisions(tmp_path / "d.csv")
    text = (tmp_path / "d.csv").read_text().replace("decision,a,b\n", "")
    assert resolve(read_decisions(written(tmp_path / "d.csv", text)), data).rejected == {(0, 1)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "d.csv: is an empty file"),
        (b"decision,first,second\n", "has no column 'a'"),
        (b"decision,a,b\nmaybe,x,y\n", "d.csv, line 2: unknown decision 'maybe'"),
        (b"decision,a,b\n,x,y\nacept,x,y\n", "line 3: unknown decision 'acept' .did you mean 'accept'"),
        (b"decision,a,b\naccept,x\n", "line 2: names only one image"),
        (b'decision,a,b\naccept,"x,y\n', "is not a valid CSV file: line 2"),
        (b"decision,a,b\naccept,\xff,y\n", "not a CSV file in UTF-8"),
        (None, "there is no such file"),
    ],
)
def test_a_broken_file_is_one_clear_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "d.csv").write_bytes(content)
    with pytest.raises(ExciteError, match=message) as caught:
        read_decisions(tmp_path / "d.csv")
    assert "\n" not in str(caught.value)


def test_contradictions_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "d.csv", "decision,a,b\naccept,/data/0,/data/1\nreject,/data/1,/data/0\n")
    with pytest.raises(
        ExciteError, match=r"d.csv, line 3: contradicts .*d.csv, line 2: reject here, accept there"
    ):
        resolve(read_decisions(file), manifest(["0", "1"]))


def test_semicolons_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    file = written(tmp_path / "d.csv", "\ufeffDecision;a;b\r\nno;/data/0;/data/1\r\n;/data/0;/data/2\r\n")
    assert resolve(read_decisions(file), manifest(["0", "1", "2"])).rejected == {(0, 1)}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_blank_lines_and_empty_columns_decide_nothing(tmp_path: Path, separator: str) -> None:
    text = "\ufeff\r\n Decision , a,b,,\r\n\r\naccept,x.png,y.png,,\r\n,,,,\r\nno,x.png,z.png\r\n\r\n"
    found = read_decisions(written(tmp_path / "d.csv", text.replace(",", separator)))
    assert [(one.word, one.a, one.b) for one in found] == [
        ("accept", "x.png", "y.png"),
        ("reject", "x.png", "z.png"),
    ]


def test_a_path_behind_a_link_is_the_file_that_the_system_opens(tmp_path: Path) -> None:
    for name in ("store/inner", "here"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "here/link").symlink_to(tmp_path / "store/inner")
    images = manifest(["x.png", "y.png"], tmp_path / "store")
    file = written(tmp_path / "here/d.csv", "decision,a,b\nyes,link/../x.png,link/../y.png\n")
    assert resolve(read_decisions(file), images).accepted == {(0, 1)}
