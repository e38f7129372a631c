"""What OpenAPI says is what the service does: Schemathesis asks everything it can think of."""

import pytest
from service.serving import Server

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed (pip install schemathesis)")
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402 -- comes with schemathesis
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi import checks as openapi  # noqa: E402

CHECKS = [
    not_a_server_error, openapi.status_code_conformance, openapi.content_type_conformance,
    openapi.response_schema_conformance, openapi.response_headers_conformance, openapi.unsupported_method,
]  # fmt: skip
PER_OPERATION = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Its jobs are few and tiny; most of what is asked is refused."""
    made = Server(tmp_path_factory.mktemp("openapi"), max_size=32, max_iterations=2, max_queue=4, min_free=0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def schema(server):
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


OPERATIONS = (
    ("POST", "/v1/jobs"), ("GET", "/v1/jobs"), ("GET", "/v1/jobs/{id}"), ("DELETE", "/v1/jobs/{id}"),
    ("GET", "/v1/jobs/{id}/events"), ("GET", "/v1/jobs/{id}/picture"), ("GET", "/v1/jobs/{id}/preview"),
    ("GET", "/v1/jobs/{id}/before"), ("GET", "/v1/networks"), ("GET", "/v1/tasks"), ("GET", "/healthz"),
    ("GET", "/metrics"),
)  # fmt: skip


def test_every_operation_is_asked(schema):
    assert {(made.ok().method.upper(), made.ok().path) for made in schema.get_all_operations()} == set(OPERATIONS)


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda value: value.strip("/"))
@pytest.mark.filterwarnings("ignore")  # Schemathesis' own
def test_an_operation(schema, server, method, path):
    operation = schema[path][method]
    count = PER_OPERATION if "{" in path or method == "POST" else 8

    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def ask(case):
        case.call_and_validate(base_url=server.url, checks=CHECKS, timeout=30)

    ask()
    assert server.client.get("/healthz").status_code == 200
