"""One sandbox per test module."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from .client import Sandbox, running

# How long one example takes says more about the machine than about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    options = ("--stop-grace", "0.5", "--keepalive", "0.3")
    with running(tmp_path_factory.mktemp("sandbox"), *options) as server:
        yield server
