"""One server for this folder, a factory for tests that stop theirs, and fresh names."""

import itertools

import pytest

from server_fixtures import api, new_server, server

__all__ = ["api", "new_server", "server"]
numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"r-{next(numbers)}"
