"""The application: predictions for programs and for the page, the Open Inference Protocol, and metrics."""

from __future__ import annotations

import json
import time
from functools import partial
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse as Utf8Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from excite.errors import ExciteError
from excite.serving import documents, inference_protocol
from excite.serving.card import model_card
from excite.serving.gate import Gate
from excite.serving.images import Answer
from excite.serving.multipart import Upload, parse_multipart
from excite.serving.refusals import ClientGoneError, RefusedError
from excite.serving.service import Service
from excite.version import __version__

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/texts.js": ("texts.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


class JSONResponse(Utf8Response):
    """JSON in ASCII, because names of classes may hold any character, and not every one has an encoding."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


ModelName = Annotated[str, Path(description="the name of the classifier")]


def create_app(service: Service) -> Gate:
    """The application, behind its gate."""
    app = FastAPI(
        title="excite serve",
        version=__version__,
        description="Image classification with calibrated probabilities.",
        docs_url=None,  # its scripts come from elsewhere
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    _add_errors(app)
    _add_page(app)
    _add_predict(app, service)
    _add_health(app, service)
    _add_inference(app, service)

    @app.get("/model", responses=documents.errors(), summary="What is served, and its limits")
    async def model() -> JSONResponse:
        return JSONResponse(model_card(service))

    @app.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses=documents.errors(),
        summary="Metrics for Prometheus",
    )
    async def metrics() -> Response:
        return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    gate = Gate(app, service.metrics, keys=service.keys, hosts=service.settings.hosts)
    app.state.gate = gate
    return gate


def _add_errors(app: FastAPI) -> None:
    def respond(request: Request, refusal: RefusedError) -> JSONResponse:
        request.scope["state"]["request"].outcome = refusal.code
        return JSONResponse(refusal.to_dict(), refusal.status, refusal.headers)

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return respond(request, error)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "not_found", 405: "method"}
        code = codes.get(error.status_code, "malformed")
        return respond(request, RefusedError(error.status_code, code, str(error.detail), error.headers))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        message = f"{first['loc'][-1]}: {first['msg'].lower()}"
        return respond(request, RefusedError(400, "malformed", message))

    @app.exception_handler(ClientGoneError)
    async def gone(request: Request, error: ClientGoneError) -> Response:
        request.scope["state"]["request"].outcome = "gone"
        return Response(status_code=400)  # nobody reads it

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return respond(request, RefusedError(500, "error", "the service failed; its log has the reason"))


def _add_page(app: FastAPI) -> None:
    folder = resources.files("excite.serving") / "page"
    for path, (name, kind) in FILES.items():
        content = (folder / name).read_bytes()

        def send(content: bytes = content, kind: str = kind) -> Response:
            return Response(content, media_type=kind)

        app.add_route(path, _route(send))


def _route(send: Any) -> Any:
    async def route(request: Request) -> Response:
        return send()

    return route


def _add_predict(app: FastAPI, service: Service) -> None:
    @app.post(
        "/predict",
        summary="Classify images",
        responses={
            200: {"model": documents.PredictionsDocument},
            **documents.errors(408, 413, 415, 422, 429, 503),
        },
        openapi_extra={"requestBody": documents.IMAGES},
    )
    async def predict(
        request: Request,
        evidence: Annotated[bool, Query(description="draw the evidence maps")] = False,
        level: Annotated[
            float | None, Query(alias="set", gt=0, lt=1, description="level of prediction sets")
        ] = None,
    ) -> JSONResponse:
        """The body is an image file, or several in a form (multipart/form-data)."""
        start = time.perf_counter()
        length = service.check(request)
        _check_level(service, level)
        async with service.buffers.body(request.receive, length) as body:
            uploads = await _uploads(request, service, body)
            size = len(body)
            del body
            service.admit(request, len(uploads), size)
            works = [partial(_classify, service, upload, evidence, level) for upload in uploads]
            results = await service.answers(request.receive, works)
        rows = [_row(service, upload, each) for upload, each in zip(uploads, results, strict=True)]
        if all(isinstance(each, RefusedError) for each in results):
            raise results[0]
        seconds = round(time.perf_counter() - start, 6)
        return JSONResponse({"model": service.info.name, "predictions": rows, "seconds": seconds})


def _check_level(service: Service, level: float | None) -> None:
    try:
        if level is not None:
            service.info.decision.check_set_level(level)
    except ExciteError as error:
        raise RefusedError(400, "malformed", f"set: {error.what}") from error


async def _uploads(request: Request, service: Service, body: bytes) -> list[Upload]:
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/"):
        return [Upload("", body)]
    return await service.parse(partial(parse_multipart, content_type, body, service.settings.max_images))


def _classify(service: Service, upload: Upload, evidence: bool, level: float | None) -> Answer:
    service.classifier.check_content(upload.content)
    return service.classifier.classify(upload, evidence=evidence, set_level=level)


def _row(service: Service, upload: Upload, result: Answer | BaseException) -> dict[str, Any]:
    if isinstance(result, Answer):
        service.metrics.add_answer(result)
        return result.to_dict()
    if not isinstance(result, RefusedError):
        raise result
    return {"file": upload.name, **result.to_dict()}


def _add_health(app: FastAPI, service: Service) -> None:
    known = documents.errors()

    @app.get("/v2/health/live", responses=known, summary="Whether the service runs")
    async def live() -> JSONResponse:
        return JSONResponse({"live": True})

    @app.get("/v2/health/ready", responses=documents.errors(503), summary="Whether it takes requests")
    async def ready() -> JSONResponse:
        if app.state.gate.draining:
            raise RefusedError(503, "stopping", "the service stops")
        return JSONResponse({"ready": True})

    @app.get("/v2", responses=known, summary="The server")
    async def server() -> JSONResponse:
        extensions = ["binary_tensor_data"]
        return JSONResponse({"name": "excite", "version": __version__, "extensions": extensions})

    @app.get("/v2/models/{model}", responses=documents.errors(404), summary="Inputs and outputs")
    async def metadata(model: ModelName) -> JSONResponse:
        _require_model(service, model)
        return JSONResponse(inference_protocol.model_metadata(service.info, model))

    @app.get("/v2/models/{model}/ready", responses=documents.errors(404), summary="Whether it is loaded")
    async def model_ready(model: ModelName) -> JSONResponse:
        _require_model(service, model)
        return JSONResponse({"name": model, "ready": True})


def _add_inference(app: FastAPI, service: Service) -> None:
    info = service.info
    body_schema = documents.inference_body(info.preprocessing.image_size, info.outputs)

    @app.post(
        "/v2/models/{model}/infer",
        summary="Probabilities of decoded pixels",
        responses={
            200: {"model": documents.InferenceDocument},
            **documents.errors(404, 408, 413, 415, 429, 503),
        },
        openapi_extra={"requestBody": body_schema},
    )
    async def infer(request: Request, model: ModelName) -> Response:
        _require_model(service, model)
        length = service.check(request)
        header = request.headers.get(inference_protocol.HEADER_LENGTH)
        limit = service.settings.max_images
        async with service.buffers.body(request.receive, length) as body:
            parse = partial(inference_protocol.parse_request, body, header, info, limit)
            parsed = await service.parse(parse)
            images = len(parsed.pixels)
            service.admit(request, images, len(body))
            work = partial(service.classifier.outputs, parsed.pixels)
            [outputs] = await service.answers(request.receive, [work], images)
        if isinstance(outputs, BaseException):
            raise outputs
        content, header_length = inference_protocol.encode_response(parsed, outputs, model)
        if header_length is None:
            return Response(content, media_type="application/json")
        headers = {inference_protocol.HEADER_LENGTH: str(header_length)}
        return Response(content, media_type="application/octet-stream", headers=headers)


def _require_model(service: Service, name: str) -> None:
    if name != service.info.name:
        known = json.dumps(service.info.name)
        raise RefusedError(404, "not_found", f"there is no such model; this service has {known}")
