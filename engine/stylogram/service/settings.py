"""What an operator decides: where the service listens, where its state is, and every limit."""

from dataclasses import dataclass, field
from pathlib import Path

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True)
class Settings:
    """One service. Sizes are in bytes unless they say otherwise, times in seconds."""

    state: Path
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    #: names by which it may be called, beside `host`: what a browser sends as Host
    allow_hosts: tuple[str, ...] = ()
    #: hosts (with a port, if not the usual one) from which pictures may be fetched; none: URLs are refused
    url_hosts: tuple[str, ...] = ()
    #: a folder of network files, each known by its name without suffix
    networks: Path | None = None
    threads: int = 0
    #: where stylize jobs are painted: auto, cpu, cuda, cuda:N or tensorrt
    device: str = "cpu"
    #: pictures that are optimised together, at most
    batch: int = 8
    max_queue: int = 64
    #: of one request's body
    max_bytes: int = 32 * MIB
    #: bodies of that size that may come in at once; of smaller ones, as many as are not more bytes
    max_uploads: int = 8
    #: of one picture, as its header says
    max_pixels: int = 50_000_000
    #: long side of what is optimised
    max_size: int = 1024
    #: of one job, over all scales and pictures
    max_iterations: int = 4000
    #: of one job; then it ends with the picture that there is
    max_seconds: float = 3600.0
    #: until a request's body must be there
    upload_seconds: float = 120.0
    #: that the worker may take; None: four fifths of what is free when it starts
    memory: int | None = None
    #: below so much free disk no job is taken and none is started
    min_free: int = 256 * MIB
    #: finished jobs that are kept, the newest
    keep: int = 500
    #: for running jobs to finish, at a stop
    grace: float = 5.0
