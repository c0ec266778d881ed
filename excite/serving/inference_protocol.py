"""Requests and responses of the Open Inference Protocol, version 2, with tensors as JSON or as bytes.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md, with the
extension for binary tensors of Triton.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from excite.bundle.format import EVIDENCE, MEMBERS, PIXELS, PROBABILITIES, BundleInfo
from excite.serving.refusals import RefusedError

HEADER_LENGTH = "Inference-Header-Content-Length"
VERSION = "1"


@dataclass(frozen=True)
class InferenceRequest:
    """A request.

    Args:
        id: repeated in the response; empty: none.
        pixels: (N, S, S, 3) uint8.
        outputs: names of the outputs, and whether each comes as bytes.
    """

    id: str
    pixels: np.ndarray
    outputs: Mapping[str, bool]


def model_metadata(info: BundleInfo, name: str) -> dict[str, Any]:
    """Inputs and outputs; a dimension of -1 may vary."""
    size, classes = info.preprocessing.image_size, len(info.classes)
    shapes = {
        PROBABILITIES: [-1, classes],
        EVIDENCE: [-1, classes, -1, -1],
        MEMBERS: [-1, info.members, classes],
    }
    return {
        "name": name,
        "versions": [VERSION],
        "platform": "onnx",
        "inputs": [{"name": PIXELS, "datatype": "UINT8", "shape": [-1, size, size, 3]}],
        "outputs": [{"name": each, "datatype": "FP32", "shape": shapes[each]} for each in info.outputs],
    }


def parse_request(
    body: bytes, header_length: str | None, info: BundleInfo, max_images: int
) -> InferenceRequest:
    """The request in a body.

    Args:
        header_length: of the JSON document, after which the bytes of the tensors follow; None: only JSON.

    Raises:
        RefusedError: for a malformed request (400), and one with too many images (413).
    """
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit()) or int(header_length[:12]) > len(body):
            raise _malformed(f"{HEADER_LENGTH} is not a length within the body")
        length = int(header_length[:12])
    try:
        document = json.loads(body[:length])
    except (ValueError, RecursionError) as error:
        raise _malformed("the body is not a JSON document") from error
    if not isinstance(document, dict):
        raise _malformed("the body is not a JSON object")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise _malformed("inputs must be a list with one tensor")
    pixels = _pixels(inputs[0], body[length:], info.preprocessing.image_size, max_images)
    id = document.get("id", "")
    if not isinstance(id, str):
        raise _malformed("id must be a text")
    return InferenceRequest(id, pixels, _outputs(document, info.outputs))


def encode_response(
    request: InferenceRequest, outputs: Mapping[str, np.ndarray], name: str
) -> tuple[bytes, int | None]:
    """The body of the response, and the length of its JSON document if bytes of tensors follow it."""
    described, tail = [], []
    for each, as_bytes in request.outputs.items():
        values = np.ascontiguousarray(outputs[each], dtype="<f4")
        tensor: dict[str, Any] = {"name": each, "datatype": "FP32", "shape": list(values.shape)}
        if as_bytes:
            tail.append(values.tobytes())
            tensor["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            tensor["data"] = values.ravel().tolist()
        described.append(tensor)
    document = {"model_name": name, "model_version": VERSION, "outputs": described}
    if request.id:
        document["id"] = request.id
    header = json.dumps(document).encode()
    return header + b"".join(tail), len(header) if tail else None


def _pixels(tensor: Mapping[str, Any], tail: bytes, size: int, max_images: int) -> np.ndarray:
    shape = tensor.get("shape")
    if tensor.get("name") != PIXELS or tensor.get("datatype") != "UINT8":
        raise _malformed(f"the input must be {PIXELS} with datatype UINT8")
    if not isinstance(shape, list) or not all(type(each) is int for each in shape):
        raise _malformed("shape must be a list of integers")
    if len(shape) != 4 or shape[1:] != [size, size, 3] or shape[0] < 1:
        raise _malformed(f"shape must be [N, {size}, {size}, 3]")
    if shape[0] > max_images:
        raise RefusedError(413, "too_many", f"a request may have {max_images} images")
    parameters = tensor.get("parameters", {})
    bytes_size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if bytes_size is not None:
        if "data" in tensor or type(bytes_size) is not int or bytes_size != len(tail):
            raise _malformed("binary_data_size is not that of the bytes after the JSON document")
        values = np.frombuffer(tail, dtype=np.uint8)
    else:
        values = _numbers(tensor.get("data"))
    if values.size != shape[0] * size * size * 3:
        raise _malformed(f"{values.size} values do not fill the shape {shape}")
    return values.reshape(shape)


def _numbers(data: object) -> np.ndarray:
    """Integers of a list that is flat or nested."""
    try:
        values = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise _malformed("data is not an array") from error
    if values.dtype.kind not in "iu" or values.size == 0 or values.min() < 0 or values.max() > 255:
        raise _malformed("data must be integers from 0 to 255")
    return values.astype(np.uint8).ravel()


def _outputs(document: Mapping[str, Any], known: Sequence[str]) -> dict[str, bool]:
    parameters = document.get("parameters", {})
    as_bytes = isinstance(parameters, dict) and parameters.get("binary_data_output") is True
    asked = document.get("outputs")
    if asked is None or asked == []:
        return dict.fromkeys(known, as_bytes)
    if not isinstance(asked, list) or not all(isinstance(each, dict) for each in asked):
        raise _malformed("outputs must be a list of objects")
    outputs = {}
    for each in asked:
        name, own = each.get("name"), each.get("parameters", {})
        if name not in known:
            raise _malformed(f"the outputs are {', '.join(known)}")
        outputs[str(name)] = own.get("binary_data", as_bytes) is True if isinstance(own, dict) else as_bytes
    return outputs


def _malformed(message: str) -> RefusedError:
    return RefusedError(400, "malformed", message)
