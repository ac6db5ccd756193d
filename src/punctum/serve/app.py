"""The web application: its addresses, and how it says no."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from punctum import __version__
from punctum.serve.answer_models import Answer, ErrorForm, Health, ModelForm
from punctum.serve.engine import Engine
from punctum.serve.guard import Guard
from punctum.serve.limits import Limits, RequestError
from punctum.serve.picture_header import MEDIA_TYPES
from punctum.serve.request_body import MULTIPART
from punctum.serve.request_query import PARAMETERS, read_query
from punctum.serve.service import Service

PAGE = Path(__file__).parent / "page"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["images"],
        "additionalProperties": False,
        "properties": {
            "images": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1},
            "boxes": {
                "type": "string",
                "description": "JSON, an entry per picture: null, [x, y, width, height], or a list of these",
            },
        },
    }
}
_ASKED = {
    "parameters": PARAMETERS,
    "requestBody": {
        "required": True,
        "description": "one picture, or a form with several",
        "content": {**dict.fromkeys(MEDIA_TYPES, _BINARY), MULTIPART: _FORM},
    },
}
_WRONG = {
    400: "the request broke off, or is no request",
    403: "sent by a page of another site",
    408: "the request did not arrive in time",
    413: "too many bytes, pixels, pictures or boxes",
    415: "no picture of a kind that is served",
    421: "the server is not called by this name",
    422: "a damaged picture, or a wrong box or parameter: the error says which",
    429: "too many requests at once: come again after Retry-After seconds",
    500: "a mistake of the server's",
    503: "not ready, stopping, or not done in time",
}


def create_app(
    engine: Engine, limits: Limits | None = None, *, name: str = "model", hosts: Collection[str] | None = None
) -> FastAPI:
    """A model as a web application.

    Args:
        engine: the model.
        limits: of everything; None: the default ones.
        name: what the page calls the model.
        hosts: names by which the server may be called; None: any.
    Returns:
        An ASGI application, which takes pictures from its startup on.
    Example:
        >>> app = create_app(TorchEngine(punctum.load("runs/first")))  # doctest: +SKIP
    """
    service = Service(engine, limits or Limits())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    # The usual pages about an API load their scripts from elsewhere: there are none here.
    app = FastAPI(
        title="punctum", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False
    )
    app.state.service = service
    app.add_middleware(Guard, metrics=service.metrics, hosts=hosts)
    _say_no(app)
    _add_predict(app, service)
    _add_looks(app, service, name)

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})

    app.mount("/page", StaticFiles(directory=PAGE))
    return app


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorForm, "description": _WRONG[status]} for status in statuses}


def _add_predict(app: FastAPI, service: Service) -> None:
    @app.post("/predict", responses={200: {"model": Answer}, **_errors(*_WRONG)}, openapi_extra=_ASKED)
    async def predict(request: Request) -> Response:
        """Points of one picture (its bytes as the body) or of several (a form with files `images`)."""
        wanted, boxes = read_query(request.query_params, service.engine.can)
        return Response(await service.predict(request, boxes, wanted), media_type="application/json")


def _add_looks(app: FastAPI, service: Service, name: str) -> None:
    common = _errors(421, 500)
    engine = service.engine

    @app.get("/health", responses={200: {"model": Health}, 503: {"model": Health}, **common})
    async def health() -> Response:
        """Whether pictures are taken."""
        return JSONResponse({"status": "ok"}) if service.ready else JSONResponse({"status": "stopping"}, 503)

    @app.get("/model", response_model=ModelForm, responses=common)
    async def model() -> Response:
        """What is served, and its limits."""
        return JSONResponse(
            {
                "name": name,
                "engine": engine.kind,
                "keypoints": list(engine.schema.names),
                "skeleton": [list(edge) for edge in engine.schema.skeleton],
                "input_size": list(engine.crop.input_size),
                "region": engine.crop.region,
                "levels": list(engine.levels),
                "heatmaps": engine.can.heatmaps,
                "places": engine.can.places,
                "limits": asdict(service.limits),
            }
        )

    metrics_form = {"content": {CONTENT_TYPE_LATEST.split(";")[0]: {"schema": {"type": "string"}}}}

    @app.get("/metrics", response_class=Response, responses={200: metrics_form, **common})
    async def metrics() -> Response:
        """Counts for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _say_no(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def refused(request: Request, refusal: RequestError) -> Response:
        again = {} if refusal.retry_after is None else {"retry-after": str(refusal.retry_after)}
        return JSONResponse({"error": refusal.message}, refusal.status, headers=again)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)
