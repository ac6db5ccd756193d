"""A model that is served for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.servers import Running, serving


@pytest.fixture(scope="session")
def running(trained: Path) -> Iterator[Running]:
    """The run of `trained`, behind a real socket."""
    with serving(trained, ["--max_mib", "4"]) as server:
        yield server
