"""Tables as spreadsheets and scripts write them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from excite.data.csv_table import CsvTable, read_table
from excite.errors import ExciteError


def read(tmp_path: Path, text: str | bytes) -> CsvTable:
    file = tmp_path / "table.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(file)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "text",
    [
        "path,label\n1.png,a\n2.png,b\n",
        "\npath,label\n1.png,a\n2.png,b",
        "\n  \n\r\npath,label\n1.png,a\n\n2.png,b\n\n\n",
        "\ufeff\r\npath,label\r\n1.png,a\r\n2.png,b\r\n",
        "\ufeffpath,label\r1.png,a\r2.png,b\r",
        ",\npath,label\n,\n1.png,a\n,\n2.png,b\n,\n",
        ",,,\npath,label,,\n1.png,a,,\n2.png,b,,\n,,,\n",
        "path,label\n1.png,a,\n2.png,b,,\n",
        "path,label,\n1.png,a\n2.png,b,\n",
        " path , label \n1.png,a\n2.png,b\n",
        'path, label\n1.png, a\n2.png, "b"\n',
        '"path","label"\n"1.png","a"\n"2.png","b"\n',
        "sep=,\npath,label\n1.png,a\n2.png,b\n",
        '"sep=,",,\r\npath,label\r\n1.png,a\r\n2.png,b\r\n',
    ],
)
def test_one_table_in_many_forms(tmp_path: Path, text: str, separator: str) -> None:
    table = read(tmp_path, text.replace(",", separator))
    assert table.header == ["path", "label"]
    assert table.rows == [["1.png", "a"], ["2.png", "b"]]
    assert table.separator == separator


def test_quoted_fields_are_read_as_the_csv_module_writes_them(tmp_path: Path) -> None:
    rows = [
        ["path", "notes; many"],
        ["a\nb.png", 'says "no"'],
        ["c\r\nd.png", "x,y;z\tw"],
        [" e.png", " "],
        ["é", "\u2028"],
    ]
    for separator in ",;\t":
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=separator).writerows(rows)
        table = read(tmp_path, text.getvalue())
        assert [table.header, *table.rows] == rows
    assert table.lines == [3, 5, 6, 7]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file"),
        (b"\xef\xbb\xbf\r\n;;\r\n", "is an empty file"),
        ("path,label\n1.png,a\n".encode("utf-16"), "is a table in UTF-16 .save it as CSV in UTF-8"),
        ("path,label\n1.png,a\n".encode("utf-16-le"), "is a table in UTF-16"),
        ("path,label\n1.png,a\n".encode("utf-16-be"), "is a table in UTF-16"),
        ("path,label\n1.png,a\n2.png,Käfer\n".encode("latin-1"), r"not a CSV file in UTF-8 \(see line 3\)"),
        (b"PK\x03\x04\x14\x00\x06\x00\x08\x00\xff\xfe", "not a CSV file in UTF-8.*unpack an archive"),
        (b"path,label,path\n1.png,a,b\n", "two columns of the same name: 'path'"),
        (b"path,label , label\n1.png,a,b\n", "two columns of the same name: 'label'"),
        (b",path,,label\n0,1.png,,b\n", "two columns without a name"),
        (b"\n\npath,label\n1.png\n", "line 4 has 1 fields, the header has 2"),
        (b"path,label\n1.png,a,b\n", "line 2 has 3 fields, the header has 2"),
        (b"path,label,\n1.png,a,b\n", "line 2 has 3 fields, the header has 2"),
        (b'path,label\n1.png,"a\n', "is not a valid CSV file: line 2"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ExciteError, match=message) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(str(tmp_path / "table.csv"))
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match="cannot be read: is a directory"):
        read_table(tmp_path)
