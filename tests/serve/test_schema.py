"""Requests that nobody would write, made from the server's own description by schemathesis."""

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from punctum.serve.app import create_app
from punctum.serve.limits import Limits
from punctum.serve.picture_header import MEDIA_TYPES
from punctum.serve.run import address_of, listen
from serve.engines import StubEngine
from serve.uploads import encoded, spot

schemathesis = pytest.importorskip("schemathesis", reason="pip install punctum[test]")

CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
    schemathesis.checks.response_headers_conformance,
]
PICTURES = {kind: encoded(spot(), kind) for kind in MEDIA_TYPES}
for _kind, _data in PICTURES.items():
    # Good ones, cut ones, and what was never a picture.
    schemathesis.openapi.media_type(
        _kind, st.one_of(st.just(_data), st.integers(0, len(_data)).map(lambda n, d=_data: d[:n]), st.binary())
    )


statuses: Counter[int] = Counter()


@pytest.fixture(scope="module")
def described() -> Iterator[Any]:
    """A server with small limits, so that they are met, in a thread of its own."""
    limits = Limits(body_bytes=5000, pixels=2000, pictures=3, instances=4, seconds=5.0)
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(StubEngine(), limits), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield schemathesis.openapi.from_url(f"{address_of(listener)}/openapi.json")
        server.should_exit = True
        thread.join()
    # A server that refuses everything would pass: the fuzz has to come through, too.
    assert statuses[200] >= 10
    assert {415, 422} <= set(statuses)


@pytest.mark.parametrize("path", ["/predict", "/health", "/model", "/metrics"])
def test_no_request_breaks_it(described: Any, path: str) -> None:
    operation = described[path]["post" if path == "/predict" else "get"]

    @settings(
        max_examples=80 if path == "/predict" else 3,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def fuzz(case: Any) -> None:
        response = case.call()
        statuses[response.status_code] += path == "/predict"
        # A status that the description names, in the form that it gives; never the server's own mistake.
        case.validate_response(response, checks=CHECKS)

    fuzz()
