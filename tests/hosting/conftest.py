"""Boxes on a real runtime, and servers whose workloads run in them."""

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from platform_server import Server
from serai.hosting.boxes import Boxes
from serai.kernel.lines import LogLine
from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.pool import Pool
from serai.runtime.privacy import own_mounts
from serai.runtime.roots.policy import Policy
from server_fixtures import api, new_server, server

__all__ = ["api", "new_server", "server"]
OWN_MOUNTS = own_mounts()


class Lines:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.kept: list[LogLine] = []

    def write(self, lines: Sequence[LogLine]) -> None:
        """See ``LineSink``."""
        self.kept += lines

    def texts(self, stream: str) -> list[str]:
        """The texts of one stream."""
        return [line.text for line in self.kept if line.stream == stream]


@pytest.fixture
def lines() -> Lines:
    """Where lines of boxes go."""
    return Lines()


@pytest.fixture(scope="session")
def box_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data directory for all tests of boxes: a second start is much faster."""
    return tmp_path_factory.mktemp("boxes") / "data"


@pytest.fixture
async def boxes(box_dir: Path, lines: Lines) -> AsyncIterator[Boxes]:
    """Boxes on the host's own files; all that are left at the end go."""
    pool = Pool(box_dir, own_mounts=OWN_MOUNTS)
    runtime = EmbeddedRuntime(box_dir, max_processes=80, pool=pool, policy=Policy(source="host"))
    await runtime.start()
    yield Boxes(runtime, lines)
    for box_id in await runtime.leftovers():
        await runtime.destroy(box_id, None)
    await runtime.close()


@pytest.fixture
def browser(server: Server) -> Iterator[httpx.Client]:
    """Somebody without any key."""
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def quick_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that loses patience soon."""
    folder = tmp_path_factory.mktemp("quick") / "data"
    seconds = {"SERAI_START_SECONDS": "3", "SERAI_STANDBY_SECONDS": "0.5"}
    one = Server(folder, SERAI_INSTANCE_STOP_SECONDS="1", SERAI_PRIVATE_CALLBACKS="1", **seconds)
    yield one.start()
    one.stop()


@pytest.fixture
def quick(quick_server: Server) -> httpx.Client:
    """An admin's client of that server."""
    return quick_server.client
