"""Every test of this package runs on uvloop, as the server does."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop
from hypothesis import settings

from serai.gateway.limits import Limits

from .world import Client, World

# How long one example takes says more about the machine than about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], uvloop.Loop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def limits() -> Limits:
    """Small enough to be reached in a test; a module may override it."""
    return Limits(tick=0.02)


@pytest.fixture
async def world(tmp_path: Path, limits: Limits) -> AsyncIterator[World]:
    world = World(tmp_path, limits)
    await world.start()
    yield world
    await world.stop()


@pytest.fixture
async def client(world: World) -> Client:
    return await world.client()
