"""One service for the tests that do not harm it: a worker takes seconds to start."""

import pytest

pytest.importorskip("fastapi", reason="the service is not installed (pip install 'stylogram[serve]')")
pytest.importorskip("httpx", reason="the tests ask the service by httpx")

from service import serving


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = serving.Server(tmp_path_factory.mktemp("service"), max_iterations=4000, max_size=256)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    for made in serving.Process.all:
        if made.process.poll() is None:
            made.end("kill")
    serving.Process.all.clear()


@pytest.fixture
def client(server):
    return server.client


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A server with a key and narrow limits."""
    made = serving.Server(
        tmp_path_factory.mktemp("strict"), api_key=serving.KEY, max_bytes=200_000, max_pixels=1_000_000, max_queue=2,
        max_seconds=0.5, upload_seconds=1.0, memory=2**30,
    )  # fmt: skip
    made.client.headers["Authorization"] = f"Bearer {serving.KEY}"
    yield made
    made.close()
