"""What OpenAPI says: the answers as models, and the two ways to ask for a job."""

from typing import Any, Literal, get_args

from pydantic import BaseModel, Field

from .catalogue import FORMATS, MOST_PICTURES, Offer, offers, schema
from .jobs import ENDED, STATES, Job

State = Literal["queued", "running", "done", "failed", "cancelled"]
# 16 by 16 grey pixels
_GREY = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAK0lEQVQYGVXBsQEAAACCIP3c"
    "05sD4xnPeMYznvGMZzzjGc94xjOe8YxnvAGGVAgRusfYGQAAAABJRU5ErkJggg=="
)
EXAMPLE = f"data:image/png;base64,{_GREY}"


class Problem(BaseModel):
    """Why a request was refused, in one line: what was got and what is accepted."""

    error: str = Field(examples=["size: 9000 pixels; this server accepts up to 1024"])


class Progress(BaseModel):
    """How far a running job is."""

    scale: int
    scales: int
    iteration: int
    iterations: int
    seconds: float
    loss: float


class JobView(BaseModel):
    """A job. Times are seconds since 1970, `size` is (height, width)."""

    id: str = Field(examples=["7c0a4f9e1d2b4a6f8c3e5d7a9b1c3e5f"])
    task: str = Field(examples=["stylize"])
    state: State
    position: int | None = Field(None, description="how many jobs are before it in the queue")
    created: float
    started: float | None
    finished: float | None
    options: dict[str, Any]
    pictures: dict[str, int] = Field(description="how many pictures were given, by field")
    format: str
    progress: Progress | None = None
    loss: float | None = None
    size: tuple[int, int] | None = Field(None, description="(height, width) of the picture that was made")
    error: str | None
    notes: list[str] = Field(description="what the program decided that a user may want to know")
    attempts: int = Field(description="how often it was started: more than once after a crash or a restart")
    picture: str | None = Field(None, description="where the picture is, once there is one")
    before: str | None = Field(None, description="where the picture is that it is made from, to compare with")


class Jobs(BaseModel):
    """Jobs, the newest first; `next` is `before` of the next page."""

    jobs: list[JobView]
    next: int | None


class NetworkView(BaseModel):
    """A network by its name. Only available ones are accepted in jobs."""

    name: str
    available: bool
    default: bool
    description: str
    style_weight: float | None = Field(description="of stylize where none is given; null: the file says, or the preset")


class Networks(BaseModel):
    """The networks."""

    networks: list[NetworkView]


class InputView(BaseModel):
    """A field of pictures."""

    name: str
    required: bool
    several: bool


class OptionView(BaseModel):
    """An option, as on the command line."""

    name: str
    description: str
    default: Any
    values: str | None = Field(description="what it looks like")
    choices: list[str]


class TaskView(BaseModel):
    """A task."""

    name: str
    description: str
    pictures: list[InputView]
    options: list[OptionView]


class Limits(BaseModel):
    """This server's limits."""

    bytes: int
    pixels: int
    size: int
    iterations: int
    seconds: float
    queue: int


class Tasks(BaseModel):
    """The tasks, and what is accepted."""

    tasks: list[TaskView]
    formats: list[str]
    limits: Limits


class Health(BaseModel):
    """Whether jobs are taken and done."""

    status: Literal["ok", "unavailable"]
    reason: str | None
    queued: int
    running: int


def progress_of(rows: list[Any], scale: tuple[int, int], seconds: float) -> Progress:
    """From the latest row."""
    number, iteration, _, loss = rows[-1]
    scales, iterations = scale
    return Progress(scale=number, scales=scales, iteration=iteration, iterations=iterations, seconds=seconds, loss=loss)


def view(job: Job, position: int | None, progress: Progress | None, has_before: bool) -> JobView:
    """A job as clients see it."""
    last = max((row[0] for row in job.losses), default=0)
    return JobView(
        id=job.id,
        task=job.task,
        state=job.state,
        position=position,
        created=job.created,
        started=job.started,
        finished=job.finished,
        options=job.options,
        pictures={field: len(names) for field, names in job.pictures.items()},
        format=job.format,
        progress=progress,
        loss=min((row[3] for row in job.losses if row[0] == last), default=None) if job.ended else None,
        size=job.size,
        error=job.error,
        notes=job.notes,
        attempts=job.attempts,
        picture=f"/v1/jobs/{job.id}/picture" if job.size else None,
        before=f"/v1/jobs/{job.id}/before" if has_before else None,
    )


assert set(ENDED) < set(STATES) == set(get_args(State))


def request_body() -> dict[str, Any]:
    """The requestBody of POST /v1/jobs."""
    return {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": _multipart(),
                "examples": {
                    "stylize": {"value": {"task": "stylize", "content": "(photo.jpg)", "style": "(painting.jpg)",
                                          "size": "384", "iterations": "150"}},
                    "texture": {"value": {"task": "texture", "source": "(stone.jpg)", "size": "640x400"}},
                },
            },
            "application/json": {
                "schema": {"oneOf": [_json(offer) for offer in offers().values()]},
                "examples": {
                    "stylize": {"value": {"task": "stylize", "pictures": {"content": EXAMPLE, "style": [EXAMPLE]},
                                          "options": {"size": 64, "iterations": 10}}},
                    "maximize": {"value": {"task": "maximize",
                                           "options": {"layer": "conv3_1", "unit": "5", "size": 64}}},
                },
            },
        },
    }  # fmt: skip


def _json(offer: Offer) -> dict[str, Any]:
    url = {"type": "string", "format": "uri", "description": "data:image/png;base64,..., or http(s) where allowed"}
    several = {"type": "array", "items": url, "minItems": 1, "maxItems": MOST_PICTURES}
    pictures = {name: several if wanted.several else url for name, wanted in offer.inputs.items()}
    needed = [name for name, wanted in offer.inputs.items() if wanted.required]
    options = {name: schema(name, field) for name, field in offer.options.items()}
    return {
        "title": offer.name,
        "description": offer.help,
        "type": "object",
        "additionalProperties": False,
        "required": ["task", *(["pictures"] if needed else [])],
        "properties": {
            "task": {"type": "string", "const": offer.name},
            "pictures": {
                "type": "object", "properties": pictures, "required": needed, "additionalProperties": False
            },
            "options": {"type": "object", "properties": options, "additionalProperties": False},
            "format": {"type": "string", "enum": list(FORMATS), "default": "png"},
        },
    }  # fmt: skip


def _multipart() -> dict[str, Any]:
    """All tasks' fields in one: what a task does not know, the server refuses."""
    file = {"type": "string", "format": "binary"}
    properties: dict[str, Any] = {
        "task": {"type": "string", "enum": list(offers()), "default": "stylize"},
        "format": {"type": "string", "enum": list(FORMATS), "default": "png"},
    }
    for offer in offers().values():
        for name, field in offer.options.items():
            properties.setdefault(name, {"type": "string", "description": field.description or ""})
        for name, wanted in offer.inputs.items():
            several = {"type": "array", "items": file} if wanted.several else file
            properties[name] = several | {"description": f"a picture of {offer.name}"}
    return {"type": "object", "properties": properties}
