"""The Open Inference Protocol: JSON and bytes, and what is refused. A real client: test_supervisor.py."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excite.serving.inference_protocol import parse_request
from excite.serving.refusals import RefusedError
from tests.bundle.files import SIZE, expected_probabilities, make_info
from tests.serving.services import call, in_process

PIXELS = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
INPUT = {"name": "pixels", "datatype": "UINT8", "shape": list(PIXELS.shape)}


@pytest.mark.parametrize("data", [PIXELS.tolist(), PIXELS.ravel().tolist()], ids=["nested", "flat"])
def test_tensors_as_json(data: list[Any]) -> None:
    body = json.dumps({"id": "7", "inputs": [{**INPUT, "data": data}]}).encode()
    with in_process() as (_, gate, _):
        answered = asyncio.run(call(gate, "POST", "/v2/models/colors/infer", body))
    [output] = answered.json["outputs"]
    assert (answered.json["id"], output["shape"]) == ("7", [2, 3])
    found = np.array(output["data"]).reshape(2, 3)
    np.testing.assert_allclose(found, expected_probabilities(PIXELS), atol=1e-6)


def test_tensors_as_bytes() -> None:
    tail = PIXELS.tobytes()
    document = {
        "inputs": [{**INPUT, "parameters": {"binary_data_size": len(tail)}}],
        "parameters": {"binary_data_output": True},
    }
    header = json.dumps(document).encode()
    with in_process() as (_, gate, _):
        lengths = {"inference_header_content_length": str(len(header))}
        answered = asyncio.run(call(gate, "POST", "/v2/models/colors/infer", header + tail, **lengths))
    length = int(answered.headers["inference-header-content-length"])
    [output] = json.loads(answered.content[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 24}
    found = np.frombuffer(answered.content[length:], "<f4").reshape(2, 3)
    np.testing.assert_allclose(found, expected_probabilities(PIXELS), atol=1e-6)


WRONG: list[tuple[dict[str, Any], int]] = [
    ({"inputs": []}, 400),
    ({"inputs": [INPUT]}, 400),
    ({"inputs": [{**INPUT, "name": "x", "data": [0]}]}, 400),
    ({"inputs": [{**INPUT, "datatype": "FP32", "data": [0]}]}, 400),
    ({"inputs": [{**INPUT, "shape": [2, SIZE, SIZE], "data": [0]}]}, 400),
    ({"inputs": [{**INPUT, "shape": [-1, SIZE, SIZE, 3], "data": []}]}, 400),
    ({"inputs": [{**INPUT, "shape": [True, SIZE, SIZE, 3], "data": [0]}]}, 400),
    ({"inputs": [{**INPUT, "shape": [10**30, SIZE, SIZE, 3], "data": [0]}]}, 413),
    ({"inputs": [{**INPUT, "data": [0, 1]}]}, 400),
    ({"inputs": [{**INPUT, "data": [256] * PIXELS.size}]}, 400),
    ({"inputs": [{**INPUT, "data": [0.5] * PIXELS.size}]}, 400),
    ({"inputs": [{**INPUT, "data": [10**30] * PIXELS.size}]}, 400),
    ({"inputs": [{**INPUT, "data": [[0], [0, 1]]}]}, 400),
    ({"inputs": [{**INPUT, "data": "text"}]}, 400),
    ({"inputs": [{**INPUT, "parameters": {"binary_data_size": 10**12}}]}, 400),
    ({"inputs": [{**INPUT, "data": PIXELS.tolist()}], "outputs": [{"name": "x"}]}, 400),
    ({"inputs": [{**INPUT, "data": PIXELS.tolist()}], "outputs": [1]}, 400),
    ({"inputs": [{**INPUT, "data": PIXELS.tolist()}], "id": 7}, 400),
]


@pytest.mark.parametrize(("document", "status"), WRONG)
def test_wrong_requests_are_refused(document: dict[str, Any], status: int) -> None:
    with pytest.raises(RefusedError) as refused:
        parse_request(json.dumps(document).encode(), None, make_info(), 8)
    assert refused.value.status == status


@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b"{" + b'"a":{' * 5000, b"\xff", b"1" * 5000, b"null"])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError, match="JSON"):
        parse_request(body, None, make_info(), 8)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.one_of(st.none(), st.text(max_size=20)))
def test_any_bytes_and_header_are_refused_with_4xx(body: bytes, header: str | None) -> None:
    with pytest.raises(RefusedError) as refused:
        parse_request(body, header, make_info(), 8)
    assert 400 <= refused.value.status < 500


def test_another_model_is_not_found() -> None:
    with in_process() as (_, gate, _):
        for path in ("/v2/models/x", "/v2/models/x/ready"):
            assert asyncio.run(call(gate, "GET", path)).status == 404
        metadata = asyncio.run(call(gate, "GET", "/v2/models/colors")).json
    assert metadata["inputs"] == [{"name": "pixels", "datatype": "UINT8", "shape": [-1, SIZE, SIZE, 3]}]
    assert metadata["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}]
