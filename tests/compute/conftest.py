"""A server for the tests that share one, a factory for those that stop theirs, and a sandbox."""

import itertools
from collections.abc import Iterator

import httpx
import pytest

from server_fixtures import api, new_server, server

__all__ = ["api", "new_server", "server"]
numbers = itertools.count()


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    """Somebody without any key."""
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def name(api: httpx.Client) -> Iterator[str]:
    """A fresh name whose sandbox goes away with the test."""
    fresh = f"part-{next(numbers)}"
    yield fresh
    api.delete(f"/v0/sandboxes/{fresh}")


@pytest.fixture
def box(api: httpx.Client, name: str) -> str:
    """A running sandbox."""
    create(api, name)
    return name


def create(api: httpx.Client, name: str, **query: str) -> dict[str, object]:
    """A new sandbox."""
    body = {"metadata": {"name": name}, "spec": {"runtime": {"memory": 512}}}
    response = api.post("/v0/sandboxes", json=body, params=query)
    assert response.status_code == 200, response.text
    made: dict[str, object] = response.json()
    return made
