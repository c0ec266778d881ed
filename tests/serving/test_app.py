"""The application: predictions equal the predictor's, refusals have their status, places are freed."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from excite.bundle.decision import Decision
from excite.bundle.predictor import Predictor
from excite.evaluation.decision_rule import DecisionRule
from tests.bundle.files import CLASSES, make_info, write_bundle
from tests.serving.pictures import jpeg_with_scans, picture, png_bomb
from tests.serving.services import Answered, BlockingRuntime, call, in_process
from tests.serving.test_multipart import encode


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WebP", "GIF", "BMP", "TIFF"])
def test_a_prediction_is_that_of_the_predictor(tmp_path: Path, format: str) -> None:
    content = picture(format)
    [expected] = Predictor.load(write_bundle(tmp_path / "a.onnx")).predict(content)
    with in_process() as (_, gate, _):
        answered = asyncio.run(call(gate, "POST", "/predict", content, content_type="text/html"))
    assert answered.status == 200
    [found] = answered.json["predictions"]
    assert (found["label"], found["abstained"]) == (expected.label, None)
    assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    assert list(found["probabilities"]) == list(CLASSES)


def test_threshold_and_abstention_are_those_of_the_bundle() -> None:
    info = make_info(decision=Decision(0.999, DecisionRule("blue", 0.01)))
    with in_process(info=info) as (_, gate, _):
        [found] = asyncio.run(call(gate, "POST", "/predict", picture())).json["predictions"]
        card = asyncio.run(call(gate, "GET", "/model")).json
    assert (found["label"], found["abstained"]) == ("blue", True)
    assert (card["abstain_below"], card["positive"]) == (0.999, {"label": "blue", "threshold": 0.01})


def test_several_images_are_answered_in_order_and_a_damaged_one_does_not_spoil_the_others() -> None:
    red = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(red, "PNG")
    kind, body = encode([("a.png", red.getvalue()), ("../b\0.png", b"<svg/>"), ("c.png", picture()[:-30])])
    with in_process() as (_, gate, log):
        answered = asyncio.run(call(gate, "POST", "/predict", body, content_type=kind))
    found = answered.json["predictions"]
    assert answered.status == 200
    assert found[0]["label"] == "red"
    assert [each.get("code") for each in found] == [None, "unsupported", "unreadable"]
    assert log[0]["images"] == 3
    assert ".png" not in json.dumps(log)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"junk", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
        (b"<!DOCTYPE html><script>", 415),
        (b"PK\x03\x04" + bytes(99), 415),
        (picture("JPEG2000"), 415),
        (picture("PPM"), 415),
        (picture("PNG")[:-40], 422),
        (picture("JPEG")[:200], 422),
        (picture("PNG", (200, 200)), 413),
        (png_bomb(), 413),
        (jpeg_with_scans(100), 422),
    ],
    ids=str,
)
def test_what_is_no_image_for_the_service_is_refused_with_4xx(content: bytes, status: int) -> None:
    with in_process() as (_, gate, log):
        answered = asyncio.run(call(gate, "POST", "/predict", content))
    assert answered.status == status == log[0]["status"]
    assert set(answered.json) == {"error", "code"}


def test_a_progressive_jpeg_as_cameras_write_it_is_read() -> None:
    with in_process() as (_, gate, _):
        content = picture("JPEG", progressive=True)
        assert asyncio.run(call(gate, "POST", "/predict", content)).status == 200


def test_more_images_than_allowed_are_refused() -> None:
    kind, body = encode([("a.png", picture())] * 3)
    with in_process(max_images=2) as (_, gate, _):
        assert asyncio.run(call(gate, "POST", "/predict", body, content_type=kind)).status == 413


def test_a_compressed_body_is_not_unpacked() -> None:
    with in_process() as (_, gate, _):
        assert asyncio.run(call(gate, "POST", "/predict", picture(), content_encoding="gzip")).status == 415


@pytest.mark.parametrize("query", ["evidence=perhaps", "set=0", "set=1.5", "set=x", "set=0.9"])
def test_wrong_options_are_refused(query: str) -> None:
    """The bundle has no prediction sets."""
    with in_process() as (_, gate, _):
        assert asyncio.run(call(gate, "POST", f"/predict?{query}", picture())).status == 400


def test_a_full_queue_answers_503_and_what_was_accepted_is_answered() -> None:
    runtime = BlockingRuntime()
    with in_process(runtime, queue=2, max_images=1) as (service, gate, _):

        async def main() -> tuple[list[Answered], Answered]:
            first = asyncio.ensure_future(call(gate, "POST", "/predict", picture()))
            await asyncio.to_thread(runtime.entered.acquire)
            others = [asyncio.ensure_future(call(gate, "POST", "/predict", picture())) for _ in range(2)]
            while service.callers.waiting < 2:
                await asyncio.sleep(0)
            refused = await call(gate, "POST", "/predict", picture())
            for _ in range(3):
                runtime.allowed.release()
            return list(await asyncio.gather(first, *others)), refused

        accepted, refused = asyncio.run(main())
    assert [each.status for each in accepted] == [200] * 3
    assert (refused.status, refused.json["code"]) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1


def test_a_client_that_goes_away_frees_its_place_and_is_not_computed() -> None:
    runtime = BlockingRuntime()
    with in_process(runtime, queue=1, max_images=1) as (service, gate, log):

        async def main() -> Answered:
            first = asyncio.ensure_future(call(gate, "POST", "/predict", picture()))
            await asyncio.to_thread(runtime.entered.acquire)
            gone = asyncio.Event()
            leaving = asyncio.ensure_future(call(gate, "POST", "/predict", picture(), gone=gone))
            while service.callers.waiting < 1:
                await asyncio.sleep(0)
            gone.set()
            await leaving
            assert service.callers.waiting == 0
            another = asyncio.ensure_future(call(gate, "POST", "/predict", picture()))
            while service.callers.waiting < 1:
                await asyncio.sleep(0)
            for _ in range(2):
                runtime.allowed.release()
            await first
            return await another

        assert asyncio.run(main()).status == 200
    assert runtime.calls == 2
    assert log[0]["outcome"] == "gone"


def test_without_an_answer_in_time_the_status_is_503() -> None:
    runtime = BlockingRuntime()
    with in_process(runtime, seconds=0.05) as (_, gate, _):
        answered = asyncio.run(call(gate, "POST", "/predict", picture()))
        runtime.allowed.release()
    assert (answered.status, answered.json["code"]) == (503, "late")


class FailingRuntime:
    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        raise ZeroDivisionError("secret detail")


def test_a_fault_of_the_service_is_500_and_its_reason_is_in_the_log_alone() -> None:
    with in_process(FailingRuntime()) as (_, gate, log):
        answered = asyncio.run(call(gate, "POST", "/predict", picture()))
    assert answered.status == 500
    assert "secret" not in answered.content.decode()
    assert "secret detail" in log[0]["fault"]


def test_the_page_loads_nothing_from_elsewhere() -> None:
    with in_process() as (_, gate, _):
        for path in ("/", "/page.css", "/page.js", "/texts.js", "/icon.svg"):
            answered = asyncio.run(call(gate, "GET", path))
            assert answered.status == 200
            text = answered.content.decode().replace("http://www.w3.org/2000/svg", "")
            assert "http:" not in text
            assert "https:" not in text
            assert "default-src 'none'" in answered.headers["content-security-policy"]
        page = asyncio.run(call(gate, "GET", "/")).content.decode()
    assert "style=" not in page
    assert "<script>" not in page


@pytest.mark.parametrize(
    "path", ["/../etc/passwd", "/page/../../x", "/%2e%2e/x", "/page.css/..", "/x\0", "//predict"]
)
def test_paths_lead_nowhere(path: str) -> None:
    with in_process() as (_, gate, _):
        assert asyncio.run(call(gate, "GET", path)).status == 404
