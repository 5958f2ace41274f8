"""A server with a neighbour that must keep answering, and sandboxes for hostile programs."""

import asyncio
import os
from collections.abc import Callable, Iterator

import httpx
import pytest

from platform_server import Server
from runtime.engines import ENGINES, provide_image
from server_fixtures import api
from server_fixtures import new_server as plain_servers

from .attacker import Attacker
from .probe import Probe

__all__ = ["api", "plain_servers"]

DRIVER = {"SERAI_RUNTIME": driver} if (driver := os.environ.get("SERAI_TEST_DRIVER")) else {}
"""What makes the sandboxes that are attacked: `make test-redteam DRIVER=crun`."""
LONGEST_SECONDS = 15.0
"""What anybody may wait for an answer during an attack, on a machine that is busy anyway."""


OTHERWISE_IN_GVISOR = {
    "test_the_others_keep_their_share[locked]": "it locks no memory of the host",
    "test_no_process_left": "memory limits its processes, no number",
    "test_a_fork_bomb": "a bomb keeps its own API waiting",
    "test_zombies_are_collected": "its forks take too long for this test",
    "test_strange_trees": "its files take too long for this test",
    "test_files_of_the_host_are_not_there": "it has a command line of its own",
    "test_forged_marks_mean_nothing_in_copies": "it counts links otherwise",
    "test_bombs_take_themselves_away": "a bomb ends the whole sandbox, its kernel included",
    "test_folders_in_memory_are_small": "the sandbox's memory limits them",
}
"""What docs/explanation/isolation.md says of it, or what the tests count on and it does not do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here, so that ``make test-redteam`` finds it."""
    for item in items:
        if "redteam" in item.path.parts:
            item.add_marker(pytest.mark.redteam)
            item.add_marker(pytest.mark.sandbox)
            reason = OTHERWISE_IN_GVISOR.get(item.name)
            if reason and DRIVER.get("SERAI_RUNTIME") == "runsc":
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Docker or Podman, started for the tests, where that is the driver; how it is found."""
    name = DRIVER.get("SERAI_RUNTIME", "")
    if name not in ENGINES:
        yield {}
        return
    with ENGINES[name](tmp_path_factory.mktemp("engine")) as socket:
        asyncio.run(provide_image(name, socket))
        variable = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}[name]
        yield {variable: f"unix://{socket}"}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, engine: dict[str, str]) -> Iterator[Server]:
    """One for the tests that do not stop it, with the driver that is to be attacked."""
    shared = Server(tmp_path_factory.mktemp("serai") / "data", **DRIVER, **engine).start()
    yield shared
    shared.stop()


@pytest.fixture
def new_server(plain_servers: Callable[..., Server]) -> Callable[..., Server]:
    """Makes servers of a test's own, with the same driver."""
    return lambda *name, **environ: plain_servers(*name, **(DRIVER | environ))


@pytest.fixture(scope="session")
def probe(server: Server) -> Iterator[Probe]:
    """Calls the platform and a neighbour all the time."""
    with Probe(server) as running:
        yield running


@pytest.fixture(autouse=True)
def others_keep_working(probe: Probe) -> Iterator[None]:
    """What every attack here is about: nobody else notices."""
    with probe.watching() as seen:
        yield
    assert seen.failures == []
    assert seen.slowest < LONGEST_SECONDS


@pytest.fixture
def attacker(api: httpx.Client) -> Iterator[Callable[..., Attacker]]:
    """Makes sandboxes for hostile code, and ends them whatever became of them."""
    made: list[Attacker] = []

    def make(**runtime: object) -> Attacker:
        made.append(Attacker(api, f"evil-{os.urandom(4).hex()}", **runtime))
        return made[-1]

    yield make
    for one in made:
        one.delete()


@pytest.fixture
def evil(attacker: Callable[..., Attacker]) -> Attacker:
    """One of them."""
    return attacker()
