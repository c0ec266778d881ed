"""What Prometheus reads, parsed by its own client library."""

from __future__ import annotations

import asyncio
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from excite.serving.drift import Drift
from tests.bundle.files import make_info
from tests.serving.services import call, in_process

REFERENCE = {"images": 10, "confidence": 0.9, "class_fractions": [0.5, 0.25, 0.25]}


def values(text: str) -> dict[tuple[str, ...], float]:
    """(name, *labels) -> value."""
    families = text_string_to_metric_families(text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def color(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), name).save(file, "PNG")
    return file.getvalue()


def test_requests_classes_and_drift() -> None:
    with in_process(info=make_info(reference=REFERENCE)) as (_, gate, _):
        confidences = []
        for name in ("red", "red", "lime"):
            answered = asyncio.run(call(gate, "POST", "/predict", color(name)))
            confidences.append(max(answered.json["predictions"][0]["probabilities"].values()))
        asyncio.run(call(gate, "POST", "/predict", b"junk"))
        asyncio.run(call(gate, "GET", "/v2/health/live"))
        found = values(asyncio.run(call(gate, "GET", "/metrics")).content.decode())
    assert found["excite_requests_total", "ok"] == 3
    assert found["excite_requests_total", "unsupported"] == 1
    assert found["excite_predictions_total", "red"] == 2
    assert found["excite_request_seconds_count",] == 4
    assert found["excite_window_images",] == 3
    assert found["excite_confidence",] == pytest.approx(np.mean(confidences))
    assert found["excite_confidence_difference",] == pytest.approx(np.mean(confidences) - 0.9)
    assert found["excite_class_fraction", "green"] == pytest.approx(1 / 3)
    assert found["excite_class_distance",] == pytest.approx((1 / 6 + 1 / 12 + 1 / 4) / 2)
    assert found["excite_queue_places",] == 32
    assert found["process_resident_memory_bytes",] > 0


def test_names_of_classes_may_hold_any_character() -> None:
    names = ('a"b\n', "b\\c", "\ud800")
    with in_process(info=make_info(classes=names)) as (_, gate, _):
        assert asyncio.run(call(gate, "POST", "/predict", color("red"))).status == 200
        text = asyncio.run(call(gate, "GET", "/metrics")).content.decode()
    assert values(text)["excite_predictions_total", 'a"b\\n'] == 1


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1)), max_size=30))
def test_drift_is_that_of_the_last_images(images: list[tuple[int, float]]) -> None:
    drift = Drift(("a", "b", "c"), REFERENCE, window=7)
    for number, confidence in images:
        drift.add(["abc"[number]], confidence)
    last = images[-7:]
    if not last:
        assert math.isnan(drift.confidence)
        assert math.isnan(drift.class_distance)
        return
    fractions = [sum(number == k for number, _ in last) / len(last) for k in range(3)]
    assert drift.fractions == pytest.approx(fractions)
    assert drift.confidence == pytest.approx(np.mean([confidence for _, confidence in last]))
    expected = max(
        sum(fractions[k] - REFERENCE["class_fractions"][k] for k in range(3) if mask >> k & 1)
        for mask in range(8)
    )  # the largest difference of the probability of an event
    assert drift.class_distance == pytest.approx(expected)
