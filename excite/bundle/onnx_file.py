"""Read the facts of an untrusted ONNX file from its bytes, and refuse what a classifier does not need.

ONNX files may name other files that hold their tensors, by paths that lead anywhere. Runtimes open them, with
a history of faults (CVE-2024-27318, CVE-2024-5187, CVE-2026-27489). Here such a file is refused before any
runtime sees it, and so are functions, training graphs, and operators of other domains than ONNX's own.

The file is a protocol buffer (https://protobuf.dev/programming-guides/encoding/) with the fields of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Reading the few that matter takes no library.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from excite.errors import ExciteError

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # wire types
_DEEPEST = 32  # graphs within attributes of nodes within graphs

# For each message, its fields that hold messages in which a tensor can be.
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor
_NODE_DOMAIN = 7
_GRAPH, _OPSET, _METADATA, _TRAINING, _FUNCTIONS = 7, 8, 14, 20, 25  # of the model
_OWN_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class OnnxFacts:
    """What an ONNX file says about itself.

    Args:
        opset: version of ONNX's operators.
        metadata: its key-value pairs.
    """

    opset: int
    metadata: Mapping[str, str]


def read_onnx_facts(content: bytes | mmap.mmap, *, where: object) -> OnnxFacts:
    """Read the operator version and the metadata of an ONNX file, and check that it stands for itself.

    Args:
        content: the bytes of the file.
        where: the file, for errors.

    Raises:
        ExciteError: for bytes that are no ONNX file or a truncated one, for tensors in other files, and for
            functions, training graphs, and operators that are not ONNX's.
    """
    try:
        return _read_model(memoryview(content), where)
    except (ValueError, IndexError) as error:
        raise ExciteError("is not an ONNX file, or is truncated", where=where) from error


def _read_model(content: memoryview, where: object) -> OnnxFacts:
    """The facts of a model. Raises: ValueError or IndexError for other bytes, and ExciteError as above."""
    opset, metadata, graphs = 0, {}, 0
    for field, value in _fields(content):
        if field == _GRAPH:
            graphs += 1
            _check("graph", _message(value), where)
        elif field == _OPSET:
            domain, version = _pair(value)
            if _text(domain) in _OWN_DOMAINS and isinstance(version, int):
                opset = max(opset, version)
        elif field == _METADATA:
            key, text = _pair(value)
            metadata[_text(key)] = _text(text)
        elif field in (_TRAINING, _FUNCTIONS):
            kind = "a training graph" if field == _TRAINING else "functions"
            raise ExciteError(f"is refused: it contains {kind}, which no classifier needs", where=where)
    if graphs != 1 or opset < 1:
        raise ValueError("no graph")
    return OnnxFacts(opset, metadata)


def _check(kind: str, message: memoryview, where: object, depth: int = 0) -> None:
    """Raises: ExciteError for tensors in other files and operators of other domains."""
    if depth > _DEEPEST:
        raise ExciteError("is refused: its graphs are nested too deeply", where=where)
    inside = _INSIDE[kind]
    for field, value in _fields(message):
        if kind == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)):
            what = "is refused: its weights are in another file"
            raise ExciteError(what, where=where, hint="write the model as one file, without external data")
        if kind == "node" and field == _NODE_DOMAIN and (domain := _text(value)) not in _OWN_DOMAINS:
            raise ExciteError(f"is refused: it uses operators of {domain[:80]!r}", where=where)
        if field in inside:
            _check(inside[field], _message(value), where, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each field. Raises: ValueError or IndexError for malformed or missing bytes."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, at = _varint(message, at)
        elif wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if wire_type == _EIGHT_BYTES else 4
        else:
            raise ValueError("unknown wire type")
        if number == 0 or at + size > end:
            raise ValueError("no field, or truncated")
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, lowest first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("more than ten bytes")


def _pair(value: int | memoryview) -> tuple[int | memoryview, int | memoryview]:
    """Fields 1 and 2 of a message."""
    found = dict(_fields(_message(value)))
    empty = memoryview(b"")
    return found.get(1, empty), found.get(2, empty)


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)).decode("utf-8")
