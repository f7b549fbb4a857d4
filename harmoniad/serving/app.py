"""The web app: /predict, /health, /metrics, the page that describes them, and the review page."""

import asyncio
import base64
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import jinja2
from fastapi import Depends, FastAPI, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException as StarletteHTTPException

from harmoniad import __version__
from harmoniad.report import page as report_page
from harmoniad.report.text import one_line
from harmoniad.serving.batching import Batcher
from harmoniad.serving.current_model import LOGGER, CurrentModel
from harmoniad.serving.guard import Guard, Keys
from harmoniad.serving.inspection import Answer, Inspection
from harmoniad.serving.metrics import Metrics
from harmoniad.serving.review.decisions import Decisions
from harmoniad.serving.review.pages import add_review
from harmoniad.serving.review.store import ReviewStore
from harmoniad.serving.settings import Settings
from harmoniad.serving.untrusted import RefusedError

HERE = Path(__file__).parent
LONGEST_CATEGORY = 100
PNG = "image/png"
REFUSALS = {
    400: "The request is damaged.",
    401: "A token is needed.",
    403: "The request comes from another site, or to a name that is not allowed.",
    408: "The request did not come in time.",
    413: "Too many bytes or pixels.",
    422: "No image, a damaged one, or a wrong field.",
    429: "The queue is full: try again after `Retry-After` seconds.",
    503: "No model is loaded yet.",
}


class Service:
    """What the routes share.

    Attributes:
        under_way: Requests for a prediction that have been taken and are not yet answered.
    """

    def __init__(self, settings: Settings, model: CurrentModel | None = None) -> None:
        self.settings = settings
        self.model = model or CurrentModel(settings, lambda outcome: self.metrics.reloads.labels(outcome).inc())
        self.metrics = Metrics(lambda: self.under_way, lambda: self.model.label)
        self.keys = Keys(settings.token)
        self.under_way = 0
        self.review: ReviewStore | None = None
        if settings.keep != "none":
            self.review = ReviewStore(settings.review_dir, settings.keep_images, settings.keep_bytes)
        self.batcher = Batcher(
            self.model.inspector,
            settings.batch,
            settings.wait_ms,
            lambda: self.under_way,
            self.metrics.batch_size.observe,
        )
        self.inspection = Inspection(settings, self.batcher, self.review, self.metrics)
        self.workers = ThreadPoolExecutor(2 * settings.batch, thread_name_prefix="request")

    @property
    def is_full(self) -> bool:
        """Whether the next request for a prediction must wait its turn elsewhere."""
        return self.under_way >= self.settings.queue

    def close(self) -> None:
        """Finish what has been taken, and end."""
        self.model.close()
        self.workers.shutdown()
        self.batcher.close()
        if self.review is not None:
            self.review.close()

    async def predict(self, upload: UploadFile, category: str | None, heatmap: bool) -> Answer:
        """Judge an image in a worker thread, if there is room."""
        if not self.model.is_ready:
            raise HTTPException(503, "no model is loaded yet", headers={"Retry-After": "5"})
        if self.is_full:
            raise HTTPException(429, "the queue is full", headers={"Retry-After": "1"})
        self.under_way += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.workers, self._inspect, upload, category, heatmap)
        finally:
            self.under_way -= 1

    def _inspect(self, upload: UploadFile, category: str | None, heatmap: bool) -> Answer:
        return self.inspection.inspect(upload.file.read(), upload.filename or "", category, heatmap)


def create_app(service: Service) -> FastAPI:
    """The app around a service; closing the app closes the service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="HarmoniAD",
        version=__version__,
        summary="Visual quality inspection: an image in, a verdict and where it comes from out.",
        docs_url=None,  # they load their scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        dependencies=[Depends(HTTPBearer(auto_error=False))] if service.settings.token else [],
    )
    app.add_middleware(
        Guard, settings=service.settings, keys=service.keys, metrics=service.metrics, is_full=lambda: service.is_full
    )
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader([HERE / "templates", report_page.TEMPLATES]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    _add_errors(app, templates)
    _add_predict(app, service)
    _add_service_routes(app, service)
    _add_docs(app, templates)
    if service.review is not None:
        decisions = Decisions(service.review, service.settings.data_set, service.settings.kinds)
        add_review(app, templates, service.review, decisions, service.model, service.keys, service.settings)
    return app


def _add_predict(app: FastAPI, service: Service) -> None:
    described: dict[int | str, dict[str, Any]] = {
        status: {
            "description": text,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, text in REFUSALS.items()
    }
    described[200] = {
        "description": "The verdict; with `Accept: image/png` the heat map alone, with the verdict in its headers.",
        "content": {PNG: {"schema": {"type": "string", "format": "binary"}}},
    }

    @app.post("/predict", response_model=Answer, response_model_exclude_none=False, responses=described)
    async def predict(
        request: Request,
        image: Annotated[UploadFile, File(description="PNG, JPEG, BMP, TIFF or WebP.")],
        category: Annotated[
            str | None,
            Form(max_length=LONGEST_CATEGORY, description="Which product it shows; it chooses the threshold."),
        ] = None,
        heatmap: Annotated[bool, Query(description="Whether the answer holds the heat map, as PNG in base64.")] = False,
    ) -> Any:
        """Judge one image."""
        as_png = PNG in request.headers.get("accept", "")
        answer = await service.predict(image, category or None, heatmap or as_png)
        if not as_png:
            return answer
        verdict = {
            "X-Score": repr(answer.score),
            "X-Threshold": repr(answer.threshold),
            "X-Is-Anomalous": str(answer.is_anomalous).lower(),
            "X-Model-Version": str(answer.model.version or ""),
        }
        return Response(base64.b64decode(answer.heatmap or ""), media_type=PNG, headers=verdict)


def _add_service_routes(app: FastAPI, service: Service) -> None:
    @app.get("/health", responses={503: {"description": "No model is loaded yet."}})
    async def health() -> JSONResponse:
        """Whether a model is loaded, and which."""
        name, version = service.model.label
        if not service.model.is_ready:
            return JSONResponse({"status": "loading"}, 503)
        return JSONResponse({"status": "ready", "model": name, "version": version})

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    # By name from memory, and not a folder: no path of a request reaches the file system.
    files = {
        "style.css": (report_page.TEMPLATES / "style.css").read_text() + (HERE / "static/review.css").read_text(),
        "review.js": (HERE / "static/review.js").read_text(),
        "icon.svg": (HERE / "static/icon.svg").read_text(),
    }
    types = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "no such file")
        return Response(files[name], media_type=types[name.rpartition(".")[2]])

    @app.get("/", include_in_schema=False)
    async def start() -> RedirectResponse:
        return RedirectResponse("/docs" if service.review is None else "/review")


def _add_docs(app: FastAPI, templates: jinja2.Environment) -> None:
    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(templates.get_template("docs.html").render(api=app.openapi(), base=request.base_url))

    described = app.openapi

    def with_problem() -> dict[str, Any]:
        schema = described()
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = {
            "title": "Problem",
            "type": "object",
            "required": ["detail"],
            "properties": {"detail": {"type": "string", "description": "What is wrong, in one line."}},
        }
        return schema

    app.openapi = with_problem  # type: ignore[method-assign]


def _add_errors(app: FastAPI, templates: jinja2.Environment) -> None:
    """Every error is one line: in `detail`, or for a person on a page."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"detail": f"{field}: {first['msg']}"}, 422)

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, error.status)

    @app.exception_handler(StarletteHTTPException)
    async def failed(request: Request, error: StarletteHTTPException) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            page = templates.get_template("problem.html").render(problem=error.detail)
            return HTMLResponse(page, error.status_code, headers=error.headers)
        return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        LOGGER.error("%s", one_line(f"{request.method} {request.url.path}: {type(error).__name__}: {error}"))
        return JSONResponse({"detail": "the server failed; its log says why"}, 500)
