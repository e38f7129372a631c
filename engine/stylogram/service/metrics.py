"""What Prometheus is told: the queue, seconds, failures."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """Of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.queued = Gauge("stylogram_jobs_queued", "Jobs that wait", registry=registry)
        self.running = Gauge("stylogram_jobs_running", "Jobs that are painted", registry=registry)
        self.ended = Counter(
            "stylogram_jobs_ended", "Jobs by task and how they ended", ["task", "state"], registry=registry
        )
        self.seconds = Histogram(
            "stylogram_job_seconds", "From start to end", ["task"], buckets=_SECONDS, registry=registry
        )
        self.waited = Histogram("stylogram_wait_seconds", "In the queue", buckets=_SECONDS, registry=registry)
        self.together = Histogram(
            "stylogram_jobs_together", "Jobs painted together", buckets=(1, 2, 4, 8, 16), registry=registry
        )
        self.iterations = Counter("stylogram_iterations", "Iterations of all jobs", registry=registry)
        self.refused = Counter(
            "stylogram_requests_refused", "Requests refused, by status", ["status"], registry=registry
        )
        self.restarts = Counter("stylogram_worker_deaths", "Times that the worker died", registry=registry)
        self.worker_memory = Gauge("stylogram_worker_resident_bytes", "The worker's memory", registry=registry)

    def watch(self, queued: Callable[[], float], running: Callable[[], float], memory: Callable[[], float]) -> None:
        """Where the gauges come from when they are asked for."""
        self.queued.set_function(queued)
        self.running.set_function(running)
        self.worker_memory.set_function(memory)

    def text(self) -> bytes:
        """Prometheus' exposition format."""
        return generate_latest(self._registry)
