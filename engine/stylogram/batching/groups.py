"""Groups: jobs of one shape and kind for one worker at a time, and those that lost their worker, alone."""

import math
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial

from .. import headers, pictures
from ..errors import Error
from ..folder import ahead
from .jobs import Job
from .shared import Shared

READ_AHEAD = 32
READERS = 8  # threads that read contents' headers: over a network each waits
CONTENTS = 4096  # whose shapes are remembered
WAITING = 4  # groups' worth of jobs that wait for others of their kind

Shape = tuple[int, int] | None

# What may differ within a group (subject.Subject.kind). A worker groups its jobs once more, when it has read them: it
# costs no more than smaller groups where something is missing here.
FREE = {
    *("style_loss", "style_blend", "style_scale", "keep_colors", "init", "init_noise", "mask", "seed"),
    *("content_weight", "style_weight", "tv_weight"),
}


class Groups:
    """The jobs that are not handed out. `limit`: as many go together at most."""

    def __init__(self, jobs: Sequence[Job], shared: Shared, limit: int) -> None:
        self.left = len(jobs)
        self._shared, self._limit = shared, limit
        self._kinds: dict[int, Hashable] = {}
        self._waiting: dict[Hashable, deque[Job]] = {}
        self._alone: deque[Job] = deque()
        shape = lru_cache(CONTENTS)(_shape)  # with every pair of two folders, contents come up again
        measured = (partial(lambda job: (job, shape(job.content)), job) for job in jobs)
        self._source: Iterator[tuple[Job, Shape]] = ahead(measured, READ_AHEAD, READERS)

    def take(self, workers: int) -> list[Job]:
        """The next group, the last ones smaller, so that `workers` end at about the same time; [] when none is left."""
        if self._alone:
            self.left -= 1
            return [self._alone.popleft()]
        if not self.left:
            return []
        size = max(1, min(self._limit, math.ceil(self.left / workers)))
        self._fill(size)
        fullest = max(self._waiting, key=lambda kind: len(self._waiting[kind]))
        jobs = self._waiting[fullest]
        group = [jobs.popleft() for _ in range(min(size, len(jobs)))]
        if not jobs:
            del self._waiting[fullest]
        self.left -= len(group)
        return group

    def again(self, job: Job) -> None:
        """Hand it out once more, alone and before all others: it may be at fault, which is known sooner so."""
        self._alone.appendleft(job)
        self.left += 1

    def close(self) -> None:
        """No more is read."""
        self._source = iter(())

    def _fill(self, size: int) -> None:
        """Read until one kind has `size` jobs, or enough wait."""
        waiting = sum(map(len, self._waiting.values()))
        if any(len(jobs) >= size for jobs in self._waiting.values()):
            return
        while waiting < WAITING * self._limit:
            found = next(self._source, None)
            if found is None:
                return
            job, shape = found
            jobs = self._waiting.setdefault((shape, self._kind(job)), deque())
            jobs.append(job)
            waiting += 1
            if len(jobs) >= size:
                return

    def _kind(self, job: Job) -> Hashable:
        """Of its options, of which there are few."""
        if id(job.options) not in self._kinds:
            options = job.options
            rest = [(name, repr(value)) for name, value in options if name not in FREE and name != "network"]
            self._kinds[id(options)] = (self._shared.network_key(options, options.recipe().pooling), *rest)
        return self._kinds[id(job.options)]


def _shape(content: str) -> Shape:
    """The height and width as it is seen; None where the worker will say what is wrong with the file."""
    with suppress(Error, MemoryError):
        header = headers.inspect(pictures.contents(content))
        return (header.height, header.width) if header.orientation < 5 else (header.width, header.height)
    return None
