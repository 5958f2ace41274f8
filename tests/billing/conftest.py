"""An account with billing of its own per test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.world import World
from metering.conftest import postgres, usage_url

__all__ = ["postgres", "usage_url"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An account and its billing."""
    one = World(tmp_path).open()
    yield one
    one.close()


@pytest.fixture
def each_world(tmp_path: Path, usage_url: str | None) -> Iterator[World]:
    """The same with usage on each engine."""
    one = World(tmp_path, usage_url=usage_url).open()
    yield one
    one.close()
