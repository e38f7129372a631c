"""Files of tests run side by side (`make test`): each worker keeps to a processor of its own.

Otherwise the threads of one, which wait for each other by spinning, take the processor from those of the other.
"""

import os


def pytest_configure() -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker.startswith("gw") and hasattr(os, "sched_setaffinity"):
        own = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {own[int(worker[2:]) % len(own)]})
        os.environ.setdefault("OMP_NUM_THREADS", "1")
