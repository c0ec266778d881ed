"""Who may call: keys, names of the host, origins; and the log."""

from __future__ import annotations

import asyncio

import pytest

from tests.serving.pictures import picture
from tests.serving.services import call, in_process

KEY = "k" * 24
KEYS = f"clinic: {KEY}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("10.1.2.3:80", 200),
        ("photos.example.org", 200),
        ("PHOTOS.example.org.:443", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example:8000", 421),
        ("localhost@evil.example", 421),
        ("localhost:8000/x", 421),
        ("", 421),
        ("127.0.0.1:8000:9", 421),
    ],
)
def test_names_that_lead_here_by_a_trick_are_refused(host: str, status: int) -> None:
    with in_process(hosts=("photos.example.org",)) as (_, gate, log):
        assert asyncio.run(call(gate, "GET", "/model", host=host)).status == status
    assert log[0]["outcome"] == ("ok" if status == 200 else "wrong_host")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost:8000", "sec_fetch_site": "same-origin"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:9000", "sec_fetch_site": "same-site"}, 403),
        ({"origin": "http://localhost:8000.evil.example"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
    ],
)
def test_pages_of_others_cannot_send_images(headers: dict[str, str], status: int) -> None:
    with in_process() as (_, gate, _):
        answered = asyncio.run(call(gate, "POST", "/predict", picture(), **headers))
    assert answered.status == status
    assert not any(name.startswith("access-control") for name in answered.headers)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer  {KEY}"}, 200),
        ({"x_api_key": KEY}, 200),
        ({}, 401),
        ({"authorization": f"Basic {KEY}"}, 401),
        ({"authorization": f"Bearer {KEY}x"}, 401),
        ({"x_api_key": "é" * 24}, 401),
    ],
)
@pytest.mark.parametrize("path", ["/model", "/metrics", "/openapi.json", "/v2/models/colors"])
def test_a_key_opens_everything(headers: dict[str, str], status: int, path: str) -> None:
    with in_process(keys=KEYS) as (_, gate, log):
        answered = asyncio.run(call(gate, "GET", path, **headers))
    assert answered.status == status == log[0]["status"]
    assert log[0]["key"] == ("clinic" if status == 200 else "")
    assert KEY not in str(log)


def test_probes_and_the_page_need_no_key() -> None:
    with in_process(keys=KEYS) as (_, gate, _):
        for path in ("/v2/health/live", "/v2/health/ready", "/", "/page.js"):
            assert asyncio.run(call(gate, "GET", path)).status == 200
        assert asyncio.run(call(gate, "POST", "/predict", picture())).status == 401


def test_the_images_of_a_key_are_limited() -> None:
    with in_process(keys=KEYS, rate=2) as (_, gate, log):
        statuses = [
            asyncio.run(call(gate, "POST", "/predict", picture(), x_api_key=KEY)).status for _ in range(3)
        ]
    assert statuses == [200, 200, 429]
    assert log[2]["outcome"] == "limited"


def test_a_stopping_service_is_not_ready_and_closes_connections() -> None:
    with in_process() as (_, gate, _):
        gate.draining = True
        ready = asyncio.run(call(gate, "GET", "/v2/health/ready"))
        answered = asyncio.run(call(gate, "POST", "/predict", picture()))
    assert ready.status == 503
    assert (answered.status, answered.headers["connection"]) == (200, "close")
