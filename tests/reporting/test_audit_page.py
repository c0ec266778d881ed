"""audit.html is one file that shows the pairs, whatever the names of the files."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from excite.audit import audit as audit_module
from excite.audit.audit import Audit
from excite.audit.decisions import read_decisions, resolve
from excite.audit.duplicates.pair import KINDS, Pair
from excite.audit.reading import read_images
from excite.data.manifest import Manifest
from excite.reporting.audit_page import SIDE, audit_page, write_audit
from tests.audit.checked import audit

AWKWARD = [
    "<script>alert(1)<!--.png",
    "a\"b'c&d.png",
    "two\nlines\r.png",
    "🐝.png",
    "{{ 7*7 }}.png",
    "é,.png",
]


class Page(HTMLParser):
    """A parsed page: pictures, texts, buttons, and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.lines: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if tag == "img":
            self.images.append(given["src"] or "")
        if "data-line" in given:
            self.lines.append(given["data-line"] or "")
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


MakeAudit = Callable[..., Audit]


@pytest.fixture
def make_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeAudit:
    """An audit of pictures with these names in two classes, every one a pair with the next."""

    def make(names: list[str], confidences: list[float] | None = None, size: int = 300) -> Audit:
        root = tmp_path / "data"
        for number, name in enumerate(names):
            place = root / "ab"[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            blobs = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(blobs).resize((size + 20, size), Image.Resampling.BICUBIC).save(place / name)

        def find_pairs(manifest: Manifest, **_: object) -> list[Pair]:
            sure = confidences or [0.5] * (len(manifest) - 1)
            return [
                Pair(row, row + 1, KINDS[row % 4], f"{row} of 60 <features> agree", confidence)
                for row, confidence in enumerate(sure)
            ]

        monkeypatch.setattr(audit_module, "find_pairs", find_pairs)
        return audit(read_images(root))

    return make


def test_the_page_needs_nothing_from_outside(make_audit: MakeAudit) -> None:
    text = audit_page(make_audit([f"{n}.png" for n in range(6)]))
    page = Page(text)
    assert page.addresses
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import|https?://", text)
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text


def test_pairs_are_side_by_side_the_least_certain_first(make_audit: MakeAudit) -> None:
    found = make_audit([f"{n}.png" for n in range(6)], [0.9, 0.31, 0.75, 0.62, 1.0])
    page = Page(audit_page(found))
    assert len(page.images) == 10
    sections = re.split(r"Under two labels|Further pairs", page.text)[1:]
    for section in sections:
        shown = [int(number) for number in re.findall(r"(\d+) % confidence", section)]
        assert shown == sorted(shown)
    assert sorted(map(int, re.findall(r"(\d+) % confidence", page.text))) == [31, 62, 75, 90, 100]
    for pair in found.pairs:
        assert pair.evidence in page.text


def test_thumbnails_are_the_pictures(make_audit: MakeAudit) -> None:
    found = make_audit(["0.png", "1.png"])
    source = Page(audit_page(found)).images[0]
    kind, data = source.removeprefix("data:").split(";base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == "image/jpeg"
    assert max(picture.size) == SIDE
    original = Image.open(found.manifest.table["path"][0]).resize(picture.size, Image.Resampling.LANCZOS)
    difference = np.abs(np.asarray(picture, float) - np.asarray(original, float)).mean()
    assert difference < 3  # JPEG's loss; another picture differs by 70


def test_small_pictures_are_kept_sharp(make_audit: MakeAudit) -> None:
    text = audit_page(make_audit(["0.png", "1.png"], size=8))
    assert Page(text).images[0].startswith("data:image/png")
    assert 'class="small"' in text


def test_names_of_any_kind_stay_text(make_audit: MakeAudit) -> None:
    found = make_audit(AWKWARD)
    page = Page(audit_page(found, title="<b>bold & brave</b>"))
    assert page.tags.count("script") == 1
    assert "b" in page.tags
    assert "<b>bold & brave</b>" in page.text
    assert "49" not in [word for word in page.text.split() if word.startswith("49")]
    for name in AWKWARD:
        assert name.replace("\r", "\n") in page.text.replace("\r", "\n")
    assert "<features>" in page.text


def test_the_lines_of_the_page_are_decisions(make_audit: MakeAudit, tmp_path: Path) -> None:
    found = make_audit(AWKWARD)
    lines = Page(audit_page(found)).lines
    assert len(lines) == 2 * len(found.pairs)
    chosen = [line for line in lines if line.startswith("reject,")]
    file = tmp_path / "decisions.csv"
    file.write_bytes("\n".join(["decision,a,b", *chosen, ""]).encode())
    decided = resolve(read_decisions(file), found.manifest)
    assert decided.rejected == {(pair.a, pair.b) for pair in found.pairs}


def test_left_out_pairs_are_counted(make_audit: MakeAudit) -> None:
    found = make_audit([f"{n:02d}.png" for n in range(30)], size=16)
    page = Page(audit_page(found, most_pairs=8))
    assert len(page.images) == 16
    left = [int(number) for number in re.findall(r"(\d+) more pairs? (?:is|are) not shown", page.text)]
    assert sum(left) == 29 - 8
    assert "not shown" not in Page(audit_page(found, most_pairs=29)).text


def test_a_missing_picture_is_replaced_by_a_word(make_audit: MakeAudit) -> None:
    found = make_audit(["0.png", "1.png", "2.png"])
    Path(found.manifest.table["path"][1]).unlink()
    page = Page(audit_page(found))
    assert "file not found" in page.text
    assert len(page.images) == 2


def test_a_set_without_pairs_has_a_page(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), "red").save(tmp_path / "one.png")
    page = Page(audit_page(audit(read_images(tmp_path))))
    assert "No pairs of near-duplicates were found" in page.text
    assert page.images == []


def test_three_files_are_written_and_decisions_are_kept(make_audit: MakeAudit, tmp_path: Path) -> None:
    found = make_audit(["0.png", "1.png", "2.png"], [0.7, 0.8])
    out = tmp_path / "out"
    write_audit(found, out)
    assert sorted(file.name for file in out.iterdir()) == ["audit.html", "audit.json", "decisions.csv"]
    assert json.loads((out / "audit.json").read_text())["images"] == 3
    with (out / "decisions.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    rows[0][0] = "reject"
    with (out / "decisions.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    again = audit(found.manifest, decisions=[out / "decisions.csv"])
    write_audit(again, out)
    with (out / "decisions.csv").open(newline="") as stream:
        assert [row[0] for row in csv.reader(stream)] == ["decision", "reject", ""]
    assert 'class="card reject"' in (out / "audit.html").read_text()


def test_the_images_are_not_touched(make_audit: MakeAudit, tmp_path: Path) -> None:
    found = make_audit(["0.png", "1.png"])
    files = [Path(path) for path in found.manifest.table["path"]]
    before = [(file.read_bytes(), file.stat().st_mtime_ns) for file in files]
    write_audit(found, tmp_path / "out")
    assert [(file.read_bytes(), file.stat().st_mtime_ns) for file in files] == before
    assert {file.parent.parent for file in files} == {tmp_path / "data"}
