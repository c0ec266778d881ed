"""The JSON documents of the interface, for its OpenAPI description."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ErrorDocument(BaseModel):
    """Why a request was not answered."""

    error: str
    code: str


class DisagreementDocument(BaseModel):
    """Members of an ensemble that predict another class, and the range of the probability."""

    members: int
    disagreeing: int
    low: float
    high: float


class EvidenceDocument(BaseModel):
    """The evidence map: a PNG in Base64, and the part of the image that it covers, in fractions."""

    model_config = ConfigDict(populate_by_name=True)
    class_name: str = Field(alias="class")
    box: list[float] = Field(min_length=4, max_length=4)
    png: str


class PredictionDocument(BaseModel):
    """The prediction for an image."""

    file: str
    label: str
    probability: float
    probabilities: dict[str, float]
    abstained: bool | None
    set: list[str] | None
    disagreement: DisagreementDocument | None
    evidence: EvidenceDocument | None
    seconds: float


class LabelPredictionDocument(BaseModel):
    """The prediction of a classifier of several labels: those whose probability reaches its threshold."""

    file: str
    labels: list[str]
    probabilities: dict[str, float]
    thresholds: dict[str, float]
    evidence: EvidenceDocument | None
    seconds: float


class UnreadDocument(ErrorDocument):
    """One of several images that cannot be classified."""

    file: str


class PredictionsDocument(BaseModel):
    """The predictions, in the order of the images."""

    model: str
    predictions: list[PredictionDocument | LabelPredictionDocument | UnreadDocument]
    seconds: float


class TensorDocument(BaseModel):
    """A tensor of the Open Inference Protocol."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[float] | None = None


class InferenceDocument(BaseModel):
    """The response of the Open Inference Protocol."""

    model_config = ConfigDict(protected_namespaces=())
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[TensorDocument]


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The responses for these statuses, and for those that every request can have."""
    return {status: {"model": ErrorDocument} for status in sorted({400, 401, 403, 405, 421, 500, *statuses})}


BODY = {"type": "string", "format": "binary"}
IMAGES: dict[str, Any] = {
    "required": True,
    "content": {
        "application/octet-stream": {"schema": BODY},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {"image": {"type": "array", "minItems": 1, "items": BODY}},
            }
        },
    },
}


def inference_body(size: int, outputs: tuple[str, ...]) -> dict[str, Any]:
    """The body of an inference request for images with this side."""
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"const": "pixels"},
            "datatype": {"const": "UINT8"},
            "shape": {
                "type": "array",
                "description": f"[N, {size}, {size}, 3]",
                "minItems": 4,
                "maxItems": 4,
                "items": {"type": "integer", "minimum": 1},
            },
            "data": {"type": "array", "description": "flat or nested", "items": {}},
            "parameters": {"type": "object"},
        },
    }
    request = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": tensor},
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"enum": list(outputs)}, "parameters": {"type": "object"}},
                },
            },
            "parameters": {"type": "object"},
        },
    }
    return {
        "required": True,
        "content": {"application/json": {"schema": request}, "application/octet-stream": {"schema": BODY}},
    }
