"""``excite shard`` writes and verifies shards, and says in one line what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from excite.cli.shard import parse_size
from excite.errors import ExciteError
from tests.conftest import Command


def test_written_verified_and_named(excite_command: Command, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    done = excite_command("shard", pictures, "--out", out, "--shard-size", "100kB")
    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert lines["shards"].startswith("2 with 60 images, ")
    assert lines["next"] == f"excite train {out}"
    verified = excite_command("shard", out, "--verify", "--json")
    assert json.loads(verified.stdout) == {"images": 60, "shards": 2, "problems": []}
    again = excite_command("shard", pictures, "--out", out, "--shard-size", "100kB", "--json")
    facts = json.loads(again.stdout)
    assert (facts["images"], facts["shards"]) == (60, 2)
    assert facts["bytes"] == sum(file.stat().st_size for file in out.glob("*.tar"))


def test_a_changed_byte_fails_the_verification(
    excite_command: Command, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "shards"
    assert excite_command("shard", pictures, "--out", out).returncode == 0
    content = bytearray((out / "000000.tar").read_bytes())
    content[600] ^= 1
    (out / "000000.tar").write_bytes(bytes(content))
    done = excite_command("shard", out, "--verify")
    assert (done.returncode, done.stdout) == (1, "")
    assert "000000.tar: the bytes of " in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{data}", "--out", "{data}/shards"], "is inside the data, where nothing may be written"),
        (["{data}", "--verify"], "has no index of shards"),
        (["{data}", "--verify", "--out", "x"], "has no effect with --verify"),
        (["{data}", "--shard-size", "7 elephants"], "is not a size of at least 100kB"),
        (["{data}", "--path-column", "file"], "column 'file' has no effect: the data is a folder"),
        (["s3://bucket/photos"], "shards are written from files"),
        (["nowhere"], "there is no such file or folder"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(
    excite_command: Command, pictures: Path, arguments: list[str], message: str
) -> None:
    before = sorted(pictures.rglob("*"))
    done = excite_command("shard", *(text.format(data=pictures) for text in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(pictures.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "size"), [("256MB", 256 * 10**6), ("1.5 GB", 1_500_000_000), ("100kb", 10**5)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "99kB", "-1GB", "1TB", "1e9"])
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(ExciteError, match="--shard-size"):
        parse_size(text)
