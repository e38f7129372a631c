"""The routes. What is wrong with a request is one line, `{"error": ...}`, with a status that says whose fault it is."""

import errno
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from .. import __version__, zoo
from ..errors import Error
from ..options import choices
from . import catalogue, events, schemas, urls
from .dispatcher import Dispatcher
from .guard import Bodies, BodyError, Guard
from .intake import Intake, MediaError
from .live import FullError, UnavailableError
from .metrics import Metrics
from .settings import Settings
from .uploads import NoPictureError, TooLargeError

LONGEST = 1000  # characters of a refusal, which quotes what it got
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PAGE = Path(str(files(__package__) / "page"))

Id = Annotated[str, InPath(description="a job's id", examples=["7c0a4f9e1d2b4a6f8c3e5d7a9b1c3e5f"], max_length=100)]
_WORDS = {
    401: "no key, or a wrong one", 403: "not for this client: Host, Origin, or a URL that is not fetched",
    404: "there is none", 408: "the body did not come in time", 409: "there is none yet",
    413: "over the limit on bytes or pixels", 415: "neither multipart/form-data nor JSON; or no picture",
    422: "an option, a field or a limit",
    429: "the queue is full, or too many bodies are coming in: Retry-After says when to come again",
    503: "the server is stopping", 507: "the server's disk is full, or its state cannot be read or written",
}  # fmt: skip


class NoneError(Error):
    """There is no such thing (404), or none yet (409)."""

    def __init__(self, message: str, status: int = 404) -> None:
        super().__init__(message)
        self.status = status


def _answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": schemas.Problem, "description": _WORDS[status]} for status in (401, 403, *statuses)}


def status_of(problem: Exception) -> int:
    """The status that an error is answered with."""
    if isinstance(problem, BodyError | NoneError | UnavailableError):
        return problem.status
    kinds = ((FullError, 429), (TooLargeError, 413), (NoPictureError, 415), (MediaError, 415), (urls.RefusedError, 403))
    return next((status for kind, status in kinds if isinstance(problem, kind)), 422)


def create_app(settings: Settings) -> FastAPI:
    """The application. Its dispatcher, with the worker, lives as long as the application's lifespan."""
    metrics, bodies = Metrics(), Bodies(settings.max_uploads * settings.max_bytes)
    dispatcher = Dispatcher(settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        dispatcher.start()
        try:
            yield
        finally:
            await run_in_threadpool(dispatcher.stop)

    app = FastAPI(
        title="Stylogram", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Pictures made by optimising them against a convolutional network's features.",
    )  # fmt: skip
    app.state.dispatcher, app.state.settings, app.state.metrics = dispatcher, settings, metrics
    app.state.bodies = bodies
    app.add_middleware(Guard, settings=settings, metrics=metrics, bodies=bodies, stopping=lambda: dispatcher.stopping)
    _handle_errors(app)
    Routes(app, dispatcher, settings, metrics, Intake(dispatcher, settings, bodies))
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    _describe_key(app, settings)
    return app


def _describe_key(app: FastAPI, settings: Settings) -> None:
    """OpenAPI says that a key is needed, where one is."""
    made = app.openapi

    def described() -> dict[str, Any]:
        schema = made()
        if settings.api_key is not None and "security" not in schema:
            schema.setdefault("components", {})["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"key": []}]
            schema["paths"]["/healthz"]["get"]["security"] = []
        return schema

    app.openapi = described  # type: ignore[method-assign]


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(Error)
    async def error(_: Request, problem: Error) -> JSONResponse:
        seconds = getattr(problem, "seconds", None)
        headers = {} if seconds is None else {"Retry-After": str(seconds)}
        if isinstance(problem, BodyError):
            headers["Connection"] = "close"
        said = " ".join(str(problem)[:LONGEST].split()).encode("utf-8", "backslashreplace").decode()
        return JSONResponse({"error": said}, status_of(problem), headers)

    @app.exception_handler(HTTPException)
    async def http(_: Request, problem: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(problem.detail)}, problem.status_code, problem.headers)

    @app.exception_handler(RequestValidationError)
    async def validation(_: Request, problem: RequestValidationError) -> JSONResponse:
        first = problem.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"{place}: {first['msg']}, got {str(first.get('input'))[:80]!r}"}, 422)

    @app.exception_handler(sqlite3.Error)
    async def state(_: Request, problem: sqlite3.Error) -> JSONResponse:
        said = f"the server's state cannot be read or written: {problem}; nothing has changed; try again later"
        return JSONResponse({"error": said}, 507)

    @app.exception_handler(OSError)
    async def system(_: Request, problem: OSError) -> JSONResponse:
        if problem.errno in FULL_DISK:
            return JSONResponse({"error": "the server's disk is full; nothing was accepted"}, 507)
        raise problem


class Routes:
    """Every route of one application."""

    def __init__(
        self, app: FastAPI, dispatcher: Dispatcher, settings: Settings, metrics: Metrics, intake: Intake
    ) -> None:
        self._dispatcher, self._settings, self._metrics = dispatcher, settings, metrics
        add = app.add_api_route
        everything = _answers(408, 413, 415, 422, 429, 503, 507)
        body = {"requestBody": schemas.request_body()}
        add("/v1/jobs", intake.create, methods=["POST"], status_code=202, responses=everything, openapi_extra=body,
            summary="Ask for a picture", response_model=schemas.JobView)  # fmt: skip
        add("/v1/jobs", self.list, response_model=schemas.Jobs, responses=_answers(422, 507),
            summary="Jobs, newest first")  # fmt: skip
        one = _answers(404, 422, 507)
        add("/v1/jobs/{id}", self.get, response_model=schemas.JobView, responses=one, summary="A job")
        add("/v1/jobs/{id}", self.delete, methods=["DELETE"], response_model=schemas.JobView, responses=one,
            summary="Cancel a job, within an iteration; remove one that has ended")  # fmt: skip
        stream: dict[int | str, dict[str, Any]] = {
            200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
        }
        add("/v1/jobs/{id}/events", self.events, responses=one | stream, response_class=StreamingResponse,
            summary="Server-sent events: state, progress, preview, end")  # fmt: skip
        binary = {"schema": {"type": "string", "format": "binary"}}
        picture: dict[int | str, dict[str, Any]] = {200: {"content": dict.fromkeys(catalogue.FORMATS.values(), binary)}}
        small: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": binary}}}
        yet = _answers(404, 409, 422, 507)
        for path, route, answer, what in (
            ("picture", self.picture, picture, "The picture that was made"),
            ("preview", self.preview, small, "The latest preview, at most 512 pixels"),
            ("before", self.before, small, "The picture that it was made from, to compare with"),
        ):
            add(f"/v1/jobs/{{id}}/{path}", route, responses=yet | answer, response_class=Response, summary=what)
        add("/v1/networks", self.networks, response_model=schemas.Networks, responses=_answers(), summary="Networks")
        add("/v1/tasks", self.tasks, response_model=schemas.Tasks, responses=_answers(), summary="Tasks and limits")
        add("/healthz", self.health, response_model=schemas.Health, summary="Whether jobs are taken and done",
            responses={503: {"model": schemas.Health}, **_answers()})  # fmt: skip
        text: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
        add("/metrics", self.metrics, responses=_answers() | text, response_class=Response, summary="For Prometheus")
        add("/", self.page, include_in_schema=False)

    def list(
        self,
        limit: Annotated[int, Query(ge=1, le=200, description="at most so many")] = 50,
        before: Annotated[int | None, Query(ge=1, le=2**62, description="`next` of the page before")] = None,
        state: Annotated[schemas.State | None, Query(description="only these")] = None,
    ) -> schemas.Jobs:
        """Those that have ended are kept, up to a number that the operator chose."""
        jobs, further = self._dispatcher.newest(limit, before, state)
        return schemas.Jobs(jobs=jobs, next=further)

    def get(self, id: Id) -> schemas.JobView:  # noqa: A002 -- the path's
        """With its progress while it runs."""
        return _there(self._dispatcher.describe(id), id)

    def delete(self, id: Id) -> schemas.JobView:  # noqa: A002
        """A running job keeps the picture that there is."""
        before = _there(self._dispatcher.describe(id), id)
        self._dispatcher.cancel(id)
        return self._dispatcher.describe(id) or before

    def events(
        self,
        id: Id,  # noqa: A002
        request: Request,
        preview: Annotated[bool, Query(description="whether previews are sent, as data: URLs")] = True,
    ) -> StreamingResponse:
        """`progress` events have an id: a client that comes back with Last-Event-ID gets what it has missed."""
        _there(self._dispatcher.describe(id), id)
        last = request.headers.get("last-event-id", "")
        seen = int(last) if last.isascii() and last.isdigit() and len(last) < 10 else 0
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        made = events.stream(self._dispatcher, id, preview, seen)
        return StreamingResponse(made, media_type="text/event-stream", headers=headers)

    def picture(self, id: Id) -> Response:  # noqa: A002
        """Of a job that is done; of a cancelled one what there was."""
        job = _there(self._dispatcher.describe(id), id)
        if job.size is None:
            raise NoneError(f"the job is {job.state} and has no picture" + (f": {job.error}" if job.error else ""), 409)
        name = f"stylogram-{job.id[:8]}.{job.format}"
        return self._file(id, f"picture.{job.format}", catalogue.FORMATS[job.format], name)

    def preview(self, id: Id) -> Response:  # noqa: A002
        """For clients that do not listen to events."""
        job = _there(self._dispatcher.describe(id), id)
        data = self._dispatcher.preview(id)
        if data is None:
            raise NoneError(f"the job is {job.state} and has no preview", 409)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    def before(self, id: Id) -> Response:  # noqa: A002
        """At most 1024 pixels, JPEG. Tasks without a picture have none."""
        _there(self._dispatcher.describe(id), id)
        return self._file(id, "before.jpg", "image/jpeg")

    def _file(self, name: str, file: str, media: str, saved_as: str | None = None) -> Response:
        path = self._dispatcher.archive.directory(name) / file
        if not path.is_file():
            raise NoneError(f"the job has no {file} yet", 409)
        return FileResponse(path, media_type=media, filename=saved_as, content_disposition_type="inline")

    def networks(self) -> schemas.Networks:
        """Built in, fetched, or the operator's; `available` says whether the weights are here."""
        known = self._dispatcher.networks
        made = []
        for name in dict.fromkeys([*zoo.names(), *known]):
            entry = zoo.ENTRIES.get(name)
            own = "a file of this server's" if entry is None else f"{entry.source}, {entry.mebibytes} MB"
            text = zoo.BUILT_IN.get(name, own)
            made.append(schemas.NetworkView(
                name=name, available=name in known, default=name == zoo.DEFAULT, description=text,
                style_weight=catalogue.style_weight(name),
            ))  # fmt: skip
        return schemas.Networks(networks=made)

    def tasks(self) -> schemas.Tasks:
        """What the page is made from."""
        own = self._settings
        limits = schemas.Limits(
            bytes=own.max_bytes, pixels=own.max_pixels, size=own.max_size, iterations=own.max_iterations,
            seconds=own.max_seconds, queue=own.max_queue,
        )  # fmt: skip
        tasks = [_task(offer) for offer in catalogue.offers().values()]
        return schemas.Tasks(tasks=tasks, formats=list(catalogue.FORMATS), limits=limits)

    def health(self, response: Response) -> schemas.Health:
        """503 where no job would be taken: stopping, a full disk, a fault."""
        refusal = self._dispatcher.refusal()
        reason = None if refusal is None else str(refusal)
        queued, running = self._dispatcher.counts
        response.status_code = 200 if reason is None else 503
        status: Literal["ok", "unavailable"] = "ok" if reason is None else "unavailable"
        return schemas.Health(status=status, reason=reason, queued=queued, running=running)

    def metrics(self) -> Response:
        """Prometheus' text format."""
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    def page(self) -> FileResponse:
        """The page."""
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})


def _there(job: schemas.JobView | None, name: str) -> schemas.JobView:
    if job is None:
        raise NoneError(f"there is no job {name[:40]!r}")
    return job


def _task(offer: catalogue.Offer) -> schemas.TaskView:
    inputs = [schemas.InputView(name=name, required=own.required, several=own.several)
              for name, own in offer.inputs.items()]  # fmt: skip
    options = [
        schemas.OptionView(
            name=name, description=field.description or "", values=field.title, choices=list(choices(field)),
            default=field.default if isinstance(field.default, str | int | float | bool) else None,
        )
        for name, field in offer.options.items()
    ]  # fmt: skip
    return schemas.TaskView(name=offer.name, description=offer.help, pictures=inputs, options=options)
