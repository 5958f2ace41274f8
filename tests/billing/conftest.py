"""An account with billing of its own per test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An account and its billing."""
    one = World(tmp_path).open()
    yield one
    one.close()
