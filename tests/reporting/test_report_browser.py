"""The report in a browser: without errors, offline, accessible, and never wider than the screen."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import excite
from excite.reporting.audit_page import write_audit
from excite.reporting.evaluation_page import write_evaluation
from excite.reporting.report import write_report
from tests.conftest import make_pictures
from tests.reporting.run_folders import simulated, write_cross_validation, write_run
from tests.reporting.test_evaluation_page import evaluation

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AWKWARD = (
    "<script>alert(1)</script>",
    "a\"b'c&d",
    "</title>",
    "</svg>",
    "=1",
    "a very long name of a class " * 3,
    *(f"class {number}" for number in range(10)),
)
PHONE, DESK = 360, 1280  # pixels

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
pytestmark = [
    pytest.mark.slow,  # they start a browser
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of two classes, one of many with awkward names, one of a cross-validation."""
    place = tmp_path_factory.mktemp("runs")
    runs = {
        "two": write_run(place / "two"),
        "awkward": write_run(
            place / "awkward", AWKWARD, groups=200, size=1, extras={"duplicates_in_train": 3}
        ),
        "folds": write_cross_validation(place / "folds"),
    }
    for run in runs.values():
        write_report(run)
    return {name: run.path / "report.html" for name, run in runs.items()}


@pytest.mark.parametrize("name", ["two", "awkward", "folds"])
def test_it_is_quiet_offline_and_fits_the_screen(browser: Any, reports: dict[str, Path], name: str) -> None:
    page = browser.new_page(viewport={"width": PHONE, "height": 740})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: said.append(request.url))
    page.goto(reports[name].as_uri())
    for width in (PHONE, DESK):
        page.set_viewport_size({"width": width, "height": 740})
        for opened in (False, True):  # tables of data unfolded too
            page.eval_on_selector_all(
                "details", f"all => all.forEach(each => each.open = {str(opened).lower()})"
            )
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == [reports[name].as_uri()]
    assert page.title() == f"Report of {name}"
    page.close()


@pytest.mark.parametrize("name", ["two", "awkward", "folds"])
def test_it_has_no_serious_accessibility_faults(browser: Any, reports: dict[str, Path], name: str) -> None:
    page = browser.new_page(viewport={"width": PHONE, "height": 740}, color_scheme="light")
    page.goto(reports[name].as_uri())
    page.eval_on_selector("details", "first => first.open = true")
    assert grave_faults(page, looked=10) == []
    if name == "two":  # the others have the same colors
        page.emulate_media(color_scheme="dark")
        assert grave_faults(page, looked=1, runOnly=["color-contrast"]) == []
    page.close()


@pytest.mark.parametrize("width", [1100, 1280])
def test_the_table_of_classes_is_not_cut_off_on_a_laptop(
    browser: Any, reports: dict[str, Path], width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 740})
    page.goto(reports["two"].as_uri())
    assert page.evaluate("(t => t.scrollWidth - t.clientWidth)(document.querySelector('.classes'))") == 0
    page.close()


HIDDEN = """[...document.querySelectorAll('.table')].filter(t => t.scrollWidth > t.clientWidth + 1)
            .map(t => t.getAttribute('aria-label'))"""


@pytest.mark.parametrize("name", ["two", "awkward", "folds"])
@pytest.mark.parametrize("width", [360, 390, 800, 1280])
def test_no_column_is_hidden_behind_a_scroll(
    browser: Any, reports: dict[str, Path], width: int, name: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 740})
    page.goto(reports[name].as_uri())
    page.eval_on_selector_all("details", "all => all.forEach(each => each.open = true)")
    assert page.evaluate(HIDDEN) == []
    page.close()


def test_on_a_phone_each_number_stands_beside_its_name(browser: Any, reports: dict[str, Path]) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 740})
    page.goto(reports["two"].as_uri())
    rows = page.evaluate(
        "[...document.querySelectorAll('.classes tbody td')].map(c => [c.dataset.label, "
        "getComputedStyle(c, '::before').content])"
    )
    assert {"images", "sensitivity", "AUROC"} <= {label for label, _ in rows}
    assert all(shown == f'"{label}"' for label, shown in rows)
    page.close()


def test_learning_curves_and_mistakes_come_first_and_the_matrix_uses_its_width(
    browser: Any, tmp_path: Path
) -> None:
    names = [f"class {number}" for number in range(10)]
    run = write_run(tmp_path / "run", names, test=simulated(names, 40, 2), resamples=20)
    write_report(run)
    page = browser.new_page(viewport={"width": DESK, "height": 740})
    page.goto((run.path / "report.html").as_uri())
    sections = page.evaluate("[...document.querySelectorAll('section[id]')].map(s => s.id)")
    assert sections[:3] == ["learning", "mistakes", "figures"]
    widths = "s => document.querySelector(s).getBoundingClientRect().width"
    assert page.evaluate(widths, ".heat") > 0.9 * page.evaluate(widths, "main")
    page.close()


def test_an_audit_on_paper_begins_with_its_findings_and_cuts_no_card(browser: Any, tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", classes=2, each=20)
    for path in sorted((pictures / "a").iterdir()):
        for number in range(10):
            shutil.copy(path, path.with_name(f"{path.stem}_copy_{number}_with_a_rather_long_name.png"))
    found = excite.audit(pictures, near_duplicates=False)
    assert len(found.pairs) >= 200
    write_audit(found, tmp_path / "audit")
    page = browser.new_page(viewport={"width": 718, "height": 1000})
    page.goto((tmp_path / "audit" / "audit.html").as_uri())
    pages = len(re.findall(rb"/Type\s*/Page[^s]", page.pdf(format="A4", prefer_css_page_size=True)))
    assert pages < 20
    page.emulate_media(media="print")
    assert page.evaluate("[...document.querySelectorAll('.choice')].every(b => !b.offsetHeight)")
    cards = "[...document.querySelectorAll('.card')].map(c => getComputedStyle(c).breakInside)"
    assert set(page.evaluate(cards)) == {"avoid"}
    top = "s => document.querySelector(s).getBoundingClientRect().top"
    assert page.evaluate(top, "#findings") < page.evaluate(top, "#terms") < page.evaluate(top, ".card")
    assert page.evaluate("document.querySelector('#terms').open")
    page.close()


@pytest.mark.parametrize("width", [400, 800, 1100, 1600])
def test_an_evaluation_is_quiet_offline_and_fits_the_screen(browser: Any, tmp_path: Path, width: int) -> None:
    write_evaluation(evaluation(tmp_path / "data"), tmp_path / "out")
    address = (tmp_path / "out" / "evaluation.html").as_uri()
    page = browser.new_page(viewport={"width": width, "height": 740}, color_scheme="light")
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: said.append(request.url))
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [url for url in said if not url.startswith("data:")] == [address]
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    if width == 400:
        assert grave_faults(page, looked=10) == []
    if width >= 1100:
        cut = "[...document.querySelectorAll('.classes')].filter(t => t.scrollWidth > t.clientWidth).length"
        assert page.evaluate(cut) == 0
    page.close()


def grave_faults(page: Any, looked: int, context: str | None = None, **options: Any) -> list[tuple[str, str]]:
    """Rule and first place of each serious or critical fault that axe finds with at least so many rules."""
    found = axe.Axe().run(page, context=context, options={"resultTypes": ["violations"], **options}).response
    assert len(found["passes"]) >= looked
    grave = [fault for fault in found["violations"] if fault["impact"] in ("serious", "critical")]
    return [(fault["id"], fault["nodes"][0]["html"]) for fault in grave]


def test_the_check_finds_a_planted_fault(browser: Any, reports: dict[str, Path]) -> None:
    page = browser.new_page()
    page.goto(reports["two"].as_uri())
    assert grave_faults(page, 1, context=".verdict") == []
    page.evaluate("document.querySelector('.what').style.color = '#eee'")
    assert {rule for rule, _ in grave_faults(page, 1, context=".verdict")} == {"color-contrast"}
    page.close()


def test_the_picture_of_a_large_matrix_shows_its_squares(browser: Any, reports: dict[str, Path]) -> None:
    page = browser.new_page(viewport={"width": DESK, "height": 740})
    page.goto(reports["awkward"].as_uri())
    frame = page.locator("#confusion-matrix .frame").bounding_box()
    last = page.locator("#confusion-matrix .square").last.bounding_box()
    assert frame["width"] / len(AWKWARD) == pytest.approx(last["width"], rel=0.1)
    assert last["height"] == pytest.approx(last["width"], rel=0.1)
    page.close()


def test_a_chart_is_announced_and_its_data_downloads(
    browser: Any, reports: dict[str, Path], tmp_path: Path
) -> None:
    page = browser.new_page()
    page.goto(reports["awkward"].as_uri())
    assert page.get_by_role("img", name="ROC curves, each class against the rest").count() == 1
    for chart, columns in (("roc", ["class", "false_positive_rate", "sensitivity"]), ("coverage", None)):
        with page.expect_download() as waiting:
            page.click(f"#{chart} a[download]")
        assert waiting.value.suggested_filename == f"{chart}.csv"
        waiting.value.save_as(tmp_path / "saved.csv")
        with (tmp_path / "saved.csv").open(newline="", encoding="utf-8") as stream:
            header, *rows = csv.reader(stream)
        page.click(f"#{chart} summary")
        shown = page.eval_on_selector_all(
            f"#{chart} tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        )
        assert shown == [[*row] for row in rows[: len(shown)]]
        assert len(shown) > 20
        if columns:
            assert header == columns
            assert {row[0] for row in rows} == set(AWKWARD)
    page.close()


def test_the_dark_page_is_dark_and_paper_is_white(browser: Any, reports: dict[str, Path]) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(reports["two"].as_uri())
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(18, 22, 28)"
    curve = "getComputedStyle(document.querySelector('#roc .line.s0')).stroke"
    dark = page.evaluate(curve)
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert page.evaluate(curve) != dark
    assert not page.is_visible("nav")
    assert page.is_visible("#roc svg.plot")
    page.close()
