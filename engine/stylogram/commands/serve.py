"""stylogram serve: pictures over HTTP, and a page that shows them as they form."""

import logging
import math
import os
from pathlib import Path
from typing import Any

import click
import platformdirs

from ..errors import Error

MIB, GIB = 2**20, 2**30


def _call(**given: Any) -> None:
    try:
        import uvicorn

        from ..devices import check_device
        from ..service.server import serve
        from ..service.settings import Settings
    except ImportError as missing:
        if (missing.name or "").split(".")[0] in ("stylogram", "fcntl", "resource"):
            raise
        raise Error(f"serve needs {missing.name}: pip install 'stylogram[serve]'") from None
    del uvicorn
    check_device(given["device"])
    for name in ("allow", "url"):
        for host in given[f"{name}_hosts"]:
            if not host.strip() or "/" in host:
                raise Error(f"{name}-host: the name of a host is accepted, without http:// and path, got {host!r}")
    empty = given["api_key"] is not None and not given["api_key"].strip()
    if empty or (given["api_key"] is None and "STYLOGRAM_API_KEY" in os.environ):  # click takes "" for not given
        raise Error("api-key: a key of at least one character is accepted, got an empty one; unset STYLOGRAM_API_KEY")
    given["api_key"] = given["api_key"] and given["api_key"].strip()
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s: %(message)s")
    state = given.pop("state") or str(Path(platformdirs.user_data_dir("stylogram")) / "service")
    sizes = {"max_bytes": given.pop("max_mb") * MIB, "min_free": given.pop("min_free_mb") * MIB}
    memory = given.pop("memory_gb")
    networks = given.pop("networks")
    serve(Settings(
        state=Path(state), networks=None if networks is None else Path(networks), **sizes,
        memory=None if memory is None else round(memory * GIB), **given,
    ))  # fmt: skip


class _Finite(click.FloatRange):
    """A number in a range; comparisons let NaN pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def _option(name: str, kind: Any, default: Any, text: str, **more: Any) -> click.Option:
    shown = "" if default is None else f" [{default}]"
    return click.Option([f"--{name}"], type=kind, default=default, help=text + shown, **more)


_COUNT = click.IntRange(min=1)
_SECONDS = _Finite(min=0)
command = click.Command(
    "serve",
    params=[
        _option("host", str, "127.0.0.1", "the address to listen on"),
        _option("port", click.IntRange(0, 65535), 8000, "0: any that is free"),
        _option("state", str, None, "where jobs and pictures are kept; the user's data directory if not given",
                metavar="DIR"),
        click.Option(["--api-key"], envvar="STYLOGRAM_API_KEY", metavar="KEY",
                     help="asked of every request; better as STYLOGRAM_API_KEY, where no list of processes shows it"),
        click.Option(["--allow-host", "allow_hosts"], multiple=True, metavar="NAME",
                     help="a name by which the server is called beside --host; repeatable"),
        click.Option(["--url-host", "url_hosts"], multiple=True, metavar="HOST[:PORT]",
                     help="pictures may be fetched from there; repeatable; without it URLs are refused"),
        _option("networks", str, None, "a folder of network files; each is known by its name", metavar="DIR"),
        _option("threads", click.IntRange(min=0), 0, "processors to use; 0: all"),
        _option("device", str, "cpu", "where stylize jobs are painted: auto, cpu, cuda, cuda:N or tensorrt",
                metavar="NAME"),
        _option("batch", click.IntRange(1, 64), 8, "waiting jobs of one shape that are optimised together"),
        _option("max-queue", _COUNT, 64, "jobs that may wait; more are answered 429"),
        _option("max-mb", _COUNT, 32, "MiB of a request"),
        _option("max-uploads", _COUNT, 8, "requests of that size that may come in at once; more are answered 429"),
        _option("max-pixels", _COUNT, 50_000_000, "of one picture that is sent"),
        _option("max-size", click.IntRange(16), 1024, "long side of what is optimised"),
        _option("max-iterations", _COUNT, 4000, "of one job, over all scales and pictures"),
        _option("max-seconds", _SECONDS, 3600.0, "of one job; then it ends with the picture that there is"),
        _option("upload-seconds", _SECONDS, 120.0, "until a request's body must be there"),
        _option("memory-gb", _Finite(min=0.25), None, "GiB for the worker; four fifths of what is free"),
        _option("min-free-mb", click.IntRange(min=0), 256, "MiB of disk below which no job is taken"),
        _option("keep", click.IntRange(min=0), 500, "finished jobs that are kept"),
        _option("grace", _SECONDS, 5.0, "seconds for running jobs to finish when the server is stopped"),
    ],
    callback=_call,
    help="Pictures over HTTP: jobs, events while they form, and a page. Stop it with Ctrl-C or SIGTERM.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)  # fmt: skip
