"""One server for this folder, a factory for tests with settings of their own, and a provider."""

from collections.abc import Iterator

import pytest

from server_fixtures import api, new_server, server

from .provider import Provider

__all__ = ["api", "new_server", "server"]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """A server that speaks the OpenAI protocol, as far as these tests need it."""
    with Provider() as running:
        yield running
