"""One sandbox per test module."""

from collections.abc import Iterator

import pytest

from .client import Sandbox, running


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    options = ("--stop-grace", "0.5", "--keepalive", "0.3")
    with running(tmp_path_factory.mktemp("sandbox"), *options) as server:
        yield server
