"""Drivers under test. A second driver joins by another entry in ``DRIVERS``."""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.host import is_host_root
from serai.runtime.pool import Pool
from serai.runtime.port import Runtime, SandboxPlan
from serai.runtime.privacy import own_mounts
from serai.runtime.roots.policy import Policy

MakeRuntime = Callable[[Path], Runtime]
MakePlan = Callable[..., SandboxPlan]
OWN_MOUNTS = own_mounts()
"""Before any thread is started: what these tests mount goes away with them."""


def embedded(data_dir: Path) -> EmbeddedRuntime:
    pool = Pool(data_dir, own_mounts=OWN_MOUNTS)
    return EmbeddedRuntime(
        data_dir,
        entry="command_server",
        max_processes=80,
        pool=pool,
        policy=Policy(source="host"),
    )


DRIVERS: dict[str, MakeRuntime] = {"embedded": embedded}


@pytest.fixture(params=sorted(DRIVERS))
def make_runtime(request: pytest.FixtureRequest) -> MakeRuntime:
    return DRIVERS[request.param]


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests, each of which leaves it empty: a second start is much faster."""
    return tmp_path_factory.mktemp("runtime") / "data"


@pytest.fixture
async def runtime(make_runtime: MakeRuntime, data_dir: Path) -> AsyncIterator[Runtime]:
    """A started runtime; every sandbox of the test is destroyed at the end."""
    runtime = make_runtime(data_dir)
    await runtime.start()
    yield runtime
    for sandbox_id in await runtime.leftovers():
        await runtime.destroy(sandbox_id, None)
    await runtime.close()


@pytest.fixture
def corner() -> Iterator[Path]:
    """A directory below ``/usr`` that everyone may read."""
    if not is_host_root():
        pytest.skip("needs the host's root, to put files below /usr")
    folder = Path("/usr/local/share") / f"serai-test-{os.urandom(4).hex()}"
    folder.mkdir()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def directory_of(data_dir: Path, sandbox_id: str) -> Path:
    """Where a sandbox's files are: in the pool, or without one."""
    plain = data_dir / "sandboxes" / sandbox_id
    return plain if plain.exists() else data_dir / "pool" / "sandboxes" / sandbox_id


@pytest.fixture
def plan() -> MakePlan:
    """Makes plans with fresh ids and any field replaced."""

    def make(**fields: object) -> SandboxPlan:
        defaults: dict[str, object] = {
            "id": os.urandom(6).hex(),
            "hostname": "inn",
            "image": "blaxel/base-image:latest",
            "memory_mb": 512,
            "environment": {},
        }
        return SandboxPlan(**{**defaults, **fields})  # type: ignore[arg-type]

    return make
