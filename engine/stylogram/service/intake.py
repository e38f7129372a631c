"""How a request becomes a job: what is wrong with it is looked for before anything of it is fetched, read or kept."""

import json
import keyword
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from ..errors import Error, one_of
from . import catalogue, schemas, urls
from .dispatcher import Dispatcher
from .guard import Bodies
from .jobs import Job
from .settings import Settings
from .uploads import inspected

FIELDS = 100  # of a form, beside its files
FIELD_BYTES = 1 << 14
OPTIONS_BYTES = 1 << 16
Source = Callable[[int], bytes]  # gives a picture's bytes, at most so many


class MediaError(Error):
    """A body of a type that is not read."""


class Intake:
    """Of one server."""

    def __init__(self, dispatcher: Dispatcher, settings: Settings, bodies: Bodies) -> None:
        self._dispatcher, self._settings, self._bodies = dispatcher, settings, bodies

    async def create(self, request: Request, response: Response) -> schemas.JobView:
        """Multipart: pictures are files, options fields, by the command line's names. JSON: pictures are data: URLs."""
        self._dispatcher.check_room()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            async with _form(request) as form:
                made = await run_in_threadpool(self._from_form, form)
        elif kind == "application/json":
            made = await run_in_threadpool(self._from_json, await request.body())
        else:
            raise MediaError(f"a body of type {kind or 'nothing'!r}; accepted: multipart/form-data, application/json")
        response.headers["Location"] = f"/v1/jobs/{made.id}"
        return made

    def _from_form(self, form: FormData) -> schemas.JobView:
        words: dict[str, str] = {}
        for name, value in form.multi_items():
            if isinstance(value, str) and name in words:
                raise Error(f"{name}: one value is accepted, got several")
            if isinstance(value, str):
                words[name] = value
        uploads: dict[str, list[Source]] = {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                uploads.setdefault(name, []).append(partial(_uploaded, value))
        return self._accept(words.pop("task", catalogue.TOGETHER), words.pop("format", "png"), words, uploads)

    def _from_json(self, body: bytes) -> schemas.JobView:
        try:
            given = json.loads(body.decode("utf-8"), parse_constant=_refuse)
        except (ValueError, RecursionError) as problem:
            raise Error(f"the body is not JSON: {problem}") from None
        if not isinstance(given, dict):
            raise Error(f"the body: an object is accepted, got {type(given).__name__}")
        for name in given:
            if name not in ("task", "pictures", "options", "format"):
                raise one_of("field", str(name), ("task", "pictures", "options", "format"))
        options, pictures = given.get("options", {}), given.get("pictures", {})
        if not isinstance(options, dict) or not isinstance(pictures, dict):
            raise Error("options, pictures: objects are accepted")
        task = given.get("task", catalogue.TOGETHER)
        several = {name: own if isinstance(own, list) else [own] for name, own in pictures.items()}
        for name, own in several.items():
            if not all(isinstance(url, str) for url in own):
                raise Error(f"{name}: a URL or a list of URLs is accepted")
            for url in own:
                urls.check(url, name, self._settings.url_hosts)
        fetched = not all(urls.is_data(url) for own in several.values() for url in own)
        sources: dict[str, list[Source]] = {
            name: [partial(urls.picture, url, name) for url in own] for name, own in several.items()
        }
        with self._bodies.held() as hold:
            hold(self._settings.max_bytes if fetched else 0)
            return self._accept(task, given.get("format", "png"), options, sources)

    def _accept(
        self, task: Any, kind: Any, options: dict[str, Any], sources: dict[str, list[Source]]
    ) -> schemas.JobView:
        """Everything that can be wrong is looked for before the job is anybody's, and before a picture is fetched."""
        try:
            json.dumps([task, kind, options, list(sources)], ensure_ascii=False).encode()
        except (UnicodeError, RecursionError) as problem:  # half a character is none: no answer could say it again
            raise Error(f"task, format, options: whole characters of Unicode are accepted: {problem}") from None
        if not isinstance(kind, str) or kind not in catalogue.FORMATS:
            raise one_of("format", str(kind), catalogue.FORMATS)
        options = {_option(name): value for name, value in options.items() if value not in ("", None)}
        if len(json.dumps(options)) > OPTIONS_BYTES:
            raise Error(f"options: over {OPTIONS_BYTES:,} characters of JSON; accepted: fewer")
        chosen = catalogue.check_options(str(task), options, self._dispatcher.networks)
        catalogue.check_inputs(catalogue.offers()[str(task)], {name: len(own) for name, own in sources.items()})
        data = self._read(sources)
        most = self._settings.max_pixels
        shapes = {name: [inspected(one, name, most) for one in own] for name, own in data.items()}
        together = catalogue.check_work(str(task), chosen, shapes, self._settings)
        job = Job(str(task), options, {}, str(kind), together)
        self._dispatcher.submit(job, data)
        view = self._dispatcher.describe(job.id)
        assert view is not None
        return view

    def _read(self, sources: dict[str, list[Source]]) -> dict[str, list[bytes]]:
        """All pictures of a job together are as large as a body may be."""
        left = self._settings.max_bytes
        data: dict[str, list[bytes]] = {}
        for name, own in sources.items():
            for source in own:
                read = source(left)
                left -= len(read)
                data.setdefault(name, []).append(read)
        return data


def _option(name: str) -> str:
    """By the command line's name, --class too."""
    field = name.replace("-", "_")
    return f"{field}_" if keyword.iskeyword(field) else field


@asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    """The fields and files of a request. Raises Error for a body that is no form."""
    try:
        form = await request.form(max_files=64, max_fields=FIELDS, max_part_size=FIELD_BYTES)
    except (HTTPException, UnicodeError) as problem:  # of some charsets Starlette lets pass what they raise
        said = problem.detail if isinstance(problem, HTTPException) else problem
        raise Error(f"the body is not multipart/form-data: {said}") from None
    try:
        yield form
    finally:
        await form.close()


def _uploaded(file: UploadFile, _: int) -> bytes:
    return file.file.read()


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is none of JSON's numbers")
