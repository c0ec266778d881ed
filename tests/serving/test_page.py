"""The page in a real browser: every state, by keyboard, without violations that axe finds."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from excite.bundle.decision import Decision
from excite.bundle.label_decision import LabelDecision
from tests.bundle.files import CLASSES, make_info, write_bundle
from tests.serving.services import Process, started

api = pytest.importorskip("playwright.sync_api")
KEY = "k" * 24
DONE = ".card.answered, .card.failed, .card.abstained"
PHONE = {"viewport": {"width": 360, "height": 740}, "locale": "zh-CN", "color_scheme": "dark"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *camera])
        yield started
        started.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A bundle that abstains for gray pictures."""
    folder = tmp_path_factory.mktemp("page")
    metrics = {"n": 200, "accuracy": {"value": 0.9, "low": 0.85, "high": 0.94}}
    info = make_info(decision=Decision(0.5), metrics=metrics, name="<b>colors</b>", max_pixels=10**6)
    with started(folder, write_bundle(folder / "colors.onnx", info=info)) as process:
        yield process


def image(name: str, size: tuple[int, int] = (40, 30)) -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("RGB", size, name).save(file, "PNG")
    return {"name": f"{name}.png", "mimeType": "image/png", "buffer": file.getvalue()}


def open_page(browser: Any, address: str, **options: Any) -> tuple[Any, list[str]]:
    """A page and the errors of its scripts and policies."""
    page = browser.new_context(**{"locale": "en-US", **options}).new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: "Content Security" in line.text and faults.append(line.text))
    page.goto(address)
    return page, faults


@pytest.mark.slow
def test_answers_abstentions_and_refusals_are_shown(browser: Any, service: Process) -> None:
    page, faults = open_page(browser, service.address)
    junk = {"name": "<img src=x onerror=alert(1)>", "mimeType": "image/png", "buffer": b"<svg/>"}
    cut = {"name": "cut.png", "mimeType": "image/png", "buffer": image("red")["buffer"][:60]}
    large = image("blue", (2000, 600))
    page.set_input_files("#files", [image("red"), image("gray"), junk, cut, large])
    api.expect(page.locator(DONE)).to_have_count(5)
    cards = {card.locator(".file").inner_text(): card for card in page.locator(".card").all()}
    assert cards["red.png"].locator(".answer").inner_text() == "red"
    assert "Calibrated probability" in cards["red.png"].locator(".detail").inner_text()
    assert cards["gray.png"].locator(".answer").inner_text() == "No answer"
    assert "33.3%" in cards["gray.png"].locator(".note").inner_text()
    assert "JPEG, PNG" in cards[junk["name"]].locator(".detail").inner_text()
    assert "damaged" in cards["cut.png"].locator(".detail").inner_text()
    assert "at most 1 megapixels" in cards["blue.png"].locator(".detail").inner_text()
    assert page.locator("#name").inner_text() == "<b>colors</b>"
    assert page.title() == "<b>colors</b> · excite"
    page.click("#about-open")
    assert "90.0% (95 % interval 85.0% to 94.0%) on 200 images" in page.inner_text("#about-facts")
    page.keyboard.press("Escape")
    page.click("#clear")
    assert page.locator(".card").count() == 0
    assert faults == []
    page.context.close()


@pytest.mark.slow
def test_pictures_come_by_drop_paste_and_camera(browser: Any, service: Process) -> None:
    page, faults = open_page(browser, service.address, permissions=["camera"])
    make = """([kind, bytes]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], kind + '.png', { type: 'image/png' }));
      const event = kind === 'drop' ? new DragEvent('drop', { dataTransfer: data, bubbles: true })
        : new ClipboardEvent('paste', { clipboardData: data, bubbles: true });
      document.body.dispatchEvent(event);
    }"""
    page.wait_for_selector("#intake:visible")
    for kind in ("drop", "paste"):
        page.evaluate(make, [kind, list(image("lime")["buffer"])])
    api.expect(page.locator(DONE)).to_have_count(2)
    page.click("#camera-open")
    page.wait_for_selector("#camera[open]")
    api.expect(page.locator("#video")).to_have_js_property("paused", False)
    page.wait_for_timeout(200)
    page.click("#shoot")
    api.expect(page.locator(DONE)).to_have_count(3)
    assert page.locator(".answer").all_inner_texts() == ["green"] * 3  # the picture of a fake camera is green
    assert faults == []
    page.context.close()


@pytest.mark.slow
def test_everything_is_reached_by_keyboard(browser: Any, service: Process) -> None:
    page, _ = open_page(browser, service.address)
    page.wait_for_selector("#intake:visible")
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached == ["about-open", "choose", "camera-open"]
    page.focus("#choose")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files([image("red")])
    api.expect(page.locator(DONE)).to_have_count(1)
    assert page.inner_text("#status") == "red.png: red"
    page.focus("#about-open")
    page.keyboard.press("Enter")
    page.wait_for_selector("#about[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#about", state="hidden")
    assert page.evaluate("document.activeElement.id") == "about-open"
    page.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone, dark, Chinese"])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    browser: Any, service: Process, options: dict[str, Any]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page, _ = open_page(
        browser, service.address, bypass_csp=True, **options
    )  # axe is a script from elsewhere
    long = {**image("gray"), "name": "x" * 120}
    page.wait_for_selector("#intake:visible")
    page.set_input_files("#files", [image("red"), long, {**long, "buffer": b"junk"}])
    api.expect(page.locator(DONE)).to_have_count(3)
    for dialog in (None, "#about-open"):
        if dialog:
            page.click(dialog)
        violations = axe.run(page).response["violations"]
        assert not violations, [(each["id"], each["nodes"][0]["html"]) for each in violations]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.documentElement.lang") == options.get("locale", "en")
    page.context.close()


@pytest.mark.slow
def test_the_page_asks_for_a_key_and_says_when_the_service_is_gone(browser: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"clinic: {KEY}")
    keys.chmod(0o600)
    with started(tmp_path, keys=str(keys)) as service:
        page, faults = open_page(browser, service.address, locale="zh-CN")
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        api.expect(page.locator("#alert")).to_have_text("密钥无效。")
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        page.set_input_files("#files", [image("red")])
        api.expect(page.locator(DONE)).to_have_count(1)
        assert page.inner_text("#classes").endswith("、".join(CLASSES))
    page.set_input_files("#files", [image("red")])
    api.expect(page.locator(".card.failed .detail")).to_contain_text("无法连接服务")
    assert page.locator(".card.failed .again").is_visible()
    assert faults == []
    page.context.close()


@pytest.mark.slow
def test_labels_that_reach_their_threshold_are_shown(browser: Any, tmp_path: Path) -> None:
    metrics = {"n": 200, "auroc": {"value": 0.9, "low": 0.85, "high": 0.94}}
    info = make_info(decision=LabelDecision((0.5, 0.01, 0.9)), metrics=metrics)
    with started(tmp_path, write_bundle(tmp_path / "labels.onnx", info=info)) as process:
        page, faults = open_page(browser, process.address)
        api.expect(page.locator("#intake-title")).to_have_text("Which labels does a picture have?")
        page.set_input_files("#files", [image("red"), image("black")])
        api.expect(page.locator(DONE)).to_have_count(2)
        cards = {card.locator(".file").inner_text(): card for card in page.locator(".card").all()}
        assert cards["red.png"].locator(".answer").inner_text() == "red, green"
        assert "(from 50.0%)" in cards["red.png"].locator(".detail").inner_text()
        assert cards["black.png"].locator(".answer").inner_text() == "green"
        page.click("#about-open")
        assert "Mean AUROC on test images" in page.inner_text("#about-facts")
        assert "tells each of them on its own" in page.inner_text("#about-limits")
        assert faults == []
        page.context.close()
