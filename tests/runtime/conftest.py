"""Drivers under test. A second driver joins by another entry in ``DRIVERS``."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import engines

from serai.runtime.bubblewrap.runtime import BubblewrapRuntime
from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.engine.runtime import EngineRuntime
from serai.runtime.host import is_host_root
from serai.runtime.oci.program import PROGRAMS
from serai.runtime.oci.runtime import OciRuntime
from serai.runtime.pool import Pool
from serai.runtime.port import NotInstalled, Runtime, SandboxPlan
from serai.runtime.privacy import own_mounts
from serai.runtime.roots.policy import Policy

MakeRuntime = Callable[[Path], Runtime]
MakePlan = Callable[..., SandboxPlan]
OWN_MOUNTS = own_mounts()
"""Before any thread is started: what these tests mount goes away with them."""


def embedded(data_dir: Path) -> EmbeddedRuntime:
    return _common(EmbeddedRuntime, data_dir)


def _common(make: Callable[..., EmbeddedRuntime], data_dir: Path) -> EmbeddedRuntime:
    """A driver whose sandboxes run the shell server of these tests, on the host's files."""
    pool = Pool(data_dir, own_mounts=OWN_MOUNTS)
    policy = Policy(source="host")
    return make(data_dir, entry="command_server", max_processes=80, pool=pool, policy=policy)


DRIVERS: dict[str, MakeRuntime] = {
    "embedded": embedded,
    **{name: partial(_common, partial(OciRuntime, name)) for name in PROGRAMS},
    "bwrap": partial(_common, BubblewrapRuntime),
}
CHOSEN = os.environ.get("SERAI_TEST_DRIVERS", "embedded").split(",")
"""The drivers to test, by name; `make test-drivers` takes all of them."""


@pytest.fixture(scope="session")
def engine_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Starts engines on demand; each has the image that the tests use."""
    with contextlib.ExitStack() as stack:
        started: dict[str, str] = {}

        def socket_of(engine: str) -> str:
            if engine not in started:
                folder = tmp_path_factory.mktemp(engine)
                started[engine] = stack.enter_context(engines.ENGINES[engine](folder))
                asyncio.run(engines.provide_image(engine, started[engine]))
            return started[engine]

        yield socket_of


@pytest.fixture(params=CHOSEN)
def make_runtime(
    request: pytest.FixtureRequest, engine_socket: Callable[[str], str]
) -> MakeRuntime:
    """Skips with the reason that the driver itself gives when it is not here."""
    name = request.param
    if name in engines.ENGINES:
        socket = engine_socket(name)
        return lambda data_dir: EngineRuntime(
            name, data_dir, entry="command_server", max_processes=80, socket=socket
        )
    return DRIVERS[name]


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests, each of which leaves it empty: a second start is much faster."""
    return tmp_path_factory.mktemp("runtime") / "data"


@pytest.fixture
async def runtime(make_runtime: MakeRuntime, data_dir: Path) -> AsyncIterator[Runtime]:
    """A started runtime; every sandbox of the test is destroyed at the end."""
    runtime = make_runtime(data_dir)
    try:
        await runtime.start()
    except NotInstalled as problem:
        pytest.skip(str(problem))
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
