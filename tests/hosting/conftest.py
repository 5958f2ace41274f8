"""Boxes on a real runtime, and servers whose workloads run in them."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

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
